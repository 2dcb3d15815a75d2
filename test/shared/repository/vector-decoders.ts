// What a vector's `decoder` stands for: the decoder of the format, and how its outcome is written down.
import { z } from "zod";
import {
  readEnrolment,
  readPolicyVersion,
  readProtection,
  type Catalogue,
} from "../../../shared/repository/catalogue.ts";
import { readEntry } from "../../../shared/repository/chain.ts";
import { digest } from "../../../shared/repository/blake3.ts";
import { decodeControllerKey } from "../../../shared/repository/controller-key.ts";
import { decodeIdentityFile } from "../../../shared/repository/identity-file.ts";
import { getIndex } from "../../../shared/repository/index-object.ts";
import { decodeKitList } from "../../../shared/repository/kit-list.ts";
import { decodeContinuationLine, decodeEntryLine } from "../../../shared/repository/manifest-lines.ts";
import { layout } from "../../../shared/repository/layout.ts";
import { openAgeStream } from "../../../shared/repository/open/age-stream.ts";
import { decryptAge, decryptWithPassphrase, openAgeHeader } from "../../../shared/repository/open/age.ts";
import { unpackArchive } from "../../../shared/repository/open/archive-reader.ts";
import { openAsOperator } from "../../../shared/repository/open/operator.ts";
import { openChunkFrame } from "../../../shared/repository/open/sealed-window.ts";
import { openSnapshot } from "../../../shared/repository/open/snapshot-reader.ts";
import { decodeChunkTable } from "../../../shared/repository/pack-format.ts";
import { decodePackLines, decodeRefs } from "../../../shared/repository/refs.ts";
import { decodeRepositoryKey } from "../../../shared/repository/repository-key.ts";
import { decodeRepositoryObject } from "../../../shared/repository/repository-object.ts";
import { open, type SealedType } from "../../../shared/repository/sealed.ts";
import type { StoredObject } from "../../../shared/repository/run.ts";
import { getChecked } from "../../../shared/repository/stored-object.ts";
import type { Store } from "../../../shared/store/store.ts";
import { storeOf } from "../store/held-objects.ts";

export const vectorSchema = z.strictObject({
  /** A sentence: what is right or wrong with it. */
  title: z.string(),
  decoder: z.string(),
  /** Base64. */
  input: z.base64(),
  /** Keys and expectations, as the decoder takes them; bytes in base64. */
  with: z.record(z.string(), z.union([z.string(), z.number()])),
  /** What comes out (bytes in base64), or the code that it is refused with. */
  outcome: z.union([z.strictObject({ value: z.unknown() }), z.strictObject({ code: z.string().startsWith("SKEP_") })]),
});
export type Vector = z.infer<typeof vectorSchema>;

const base64 = (bytes: Uint8Array): string => Buffer.from(bytes).toString("base64");
const place = "the vector";

type Decode = (input: Buffer, given: (name: string) => string) => unknown;

export const vectorDecoders: Record<string, Decode> = {
  "age-file": async (input, given) => base64(await decryptAge(input, [given("identity")], place)),
  sealed: (input, given) => {
    const [repositoryId, writerId] = [given("repositoryId"), given("writerId")];
    const expected = { type: given("type") as SealedType, repositoryId, writerId };
    return base64(open(input, expected, Buffer.from(given("key"), "base64"), place));
  },
  "chunk-table": (input) =>
    decodeChunkTable(input, place).map(({ name, ...row }) => ({ name: Buffer.from(name).toString("hex"), ...row })),
  "chunk-frame": (input, given) => {
    const chunk = { name: given("name"), start: 0, frameBytes: input.length, plainBytes: Number(given("plainBytes")) };
    return base64(openChunkFrame(input, chunk, Buffer.from(given("key"), "base64"), place));
  },
  refs: (input) => decodeRefs(input, place),
  "pack-lines": (input) => decodePackLines(input, place),
  "manifest-entry": (input) => decodeEntryLine(input.toString("utf8"), place),
  "manifest-continuation": (input) => decodeContinuationLine(input.toString("utf8"), place),
  "chain-entry": async (input, given) => {
    const entry = await readEntry(catalogueOf(input, given), Number(given("sequence")));
    return entry?.kind === "upkeep" ? entry.upkeep : entry?.run;
  },
  document: async (input, given) => {
    const catalogue = catalogueOf(input, given);
    if (given("kind") === "policy")
      return (await readPolicyVersion(catalogue, z.unknown(), Number(given("version"))))?.content;
    return given("kind") === "protection"
      ? await readProtection(catalogue)
      : (await readEnrolment(catalogue, "node1", z.unknown()))?.content;
  },
  archive: async (input, given) => {
    const unlock = (header: Uint8Array): Promise<Uint8Array> => openAgeHeader(header, [given("identity")], place);
    const files: unknown[] = [];
    for await (const file of unpackArchive(openAgeStream(slices(input), unlock, place), place)) {
      const { path, mode, mtimeMs, content } = file;
      files.push({ path, mode, mtimeMs, content: base64(Buffer.concat(await Array.fromAsync(content))) });
    }
    return files;
  },
  index: (input, given) => {
    const [repositoryId, writerId] = [given("repositoryId"), given("writerId")];
    const at = { repositoryId, writerId, sealKey: Buffer.from(given("key"), "base64") };
    const store = storeOf(new Map([[layout.index(writerId, objectId), input]]));
    return getIndex({ ...at, store }, objectId, new AbortController().signal);
  },
  "manifest-root": async (input, given) => {
    const manifest = objectOf(`manifests/${given("runId")}/${objectId}.age`, input);
    const refs = objectOf(layout.refs(given("runId"), objectId), Buffer.from(given("refs"), "base64"));
    const { fileKey, key } = { fileKey: given("fileKey"), key: given("key") };
    const snapshot = await openSnapshot({
      store: storeOf(new Map([manifest.stored, refs.stored])),
      ...{ repositoryId: given("repositoryId"), writerId: given("writerId") },
      ...{ manifest: manifest.object, refs: refs.object },
      keys: { manifest: fileKey, packs: { [given("pack")]: fileKey }, chunkNameKey: key, sealKey: key },
    });
    snapshot.close();
    return snapshot.root;
  },
  object: async (input, given) => {
    const { object, stored } = objectOf("index/node1/x", input);
    const store = storeOf(new Map(given("isThere") === "yes" ? [stored] : []));
    const named = { sizeBytes: Number(given("sizeBytes")), digest: given("digest") };
    return base64(await getChecked(store, { ...object, ...named }, 1000));
  },
  "kit-list": (input, given) => decodeKitList(input, given("rootPublicKey"), place),
  "controller-key": (input) => decodeControllerKey(input.toString("utf8"), place),
  "passphrase-file": async (input, given) => base64(await decryptWithPassphrase(input, given("passphrase"), place)),
  "key-file": async (input, given) => {
    const objects = new Map<string, Uint8Array>([
      [layout.repository(1), Buffer.from(given("repositoryObject"), "base64")],
      [layout.repositoryKey(1), Buffer.from(given("repositoryKeyFile"), "base64")],
    ]);
    objects.set(given("of") === "epoch" ? layout.epochKey(1, 1) : layout.repositoryKey(1), input);
    const operator = await openAsOperator(storeOf(objects), decodeIdentityFile(given("identityFile"), place));
    return given("of") === "epoch" ? await operator.epochIdentity(1) : base64(operator.repositoryKey);
  },
  "repository-key": (input) => base64(decodeRepositoryKey(input, place)),
  "repository-object": (input, given) => decodeRepositoryObject(input, given("rootPublicKey"), place),
  "identity-file": (input) => decodeIdentityFile(input.toString("utf8"), place),
};

/**
 * The files of shared/repository/ whose codes a decoder throws: what they refuse, they refuse one vector each at least. Codes of
 * what else is in them come after a `-`.
 */
export const vectorSources: Record<string, readonly string[]> = {
  "age-file": ["open/payload-opener.ts", "open/age.ts", "-SKEP_IDENTITY_INVALID"],
  sealed: ["sealed.ts"],
  "chunk-table": ["pack-format.ts"],
  "chunk-frame": ["open/sealed-window.ts"],
  refs: ["refs.ts"],
  "pack-lines": ["refs.ts"],
  "manifest-entry": ["manifest-lines.ts"],
  "manifest-continuation": ["manifest-lines.ts"],
  "chain-entry": [
    "chain.ts",
    "signature.ts",
    "-SKEP_REPOSITORY_FENCED",
    "-SKEP_UPKEEP_MISSING",
    "-SKEP_STORE_TOO_LARGE",
  ],
  document: ["catalogue.ts", "-SKEP_STORE_TOO_LARGE"],
  archive: ["open/archive-reader.ts", "open/payload-opener.ts"],
  index: ["sealed.ts", "refs.ts"],
  "manifest-root": ["manifest-lines.ts", "open/payload-opener.ts"],
  object: ["stored-object.ts"],
  "kit-list": ["kit-list.ts", "signature.ts"],
  "controller-key": ["controller-key.ts"],
  "passphrase-file": ["passphrase.ts"],
  "key-file": ["open/operator.ts", "repository-key.ts", "open/payload-opener.ts", "-SKEP_SIGNATURE_INVALID"],
  "repository-key": ["repository-key.ts"],
  "repository-object": ["repository-object.ts", "root-handover.ts", "signature.ts", "-SKEP_ROOT_KEY_REPLACED"],
  "identity-file": ["identity-file.ts"],
};

const objectId = "cd".repeat(16);

function objectOf(key: string, bytes: Uint8Array): { object: StoredObject; stored: [string, Uint8Array] } {
  const object = { key, sizeBytes: bytes.length, digest: digest(bytes), versionId: null };
  return { object, stored: [key, bytes] };
}

/** A catalogue of a store in which every key of interest has the vector's bytes. */
function catalogueOf(input: Buffer, given: (name: string) => string): Catalogue {
  const info = { sizeBytes: input.length, storedAt: "2026-11-21T03:00:00.000Z" };
  const keys: Record<string, string> = {
    protection: layout.protection(Number(given("version"))),
    enrolment: layout.agent("node1", Number(given("version"))),
  };
  const store: Pick<Store, "address" | "get" | "list" | "listVersions"> = {
    address: "a vector",
    get: () => Promise.resolve(input),
    async *list() {
      const key = keys[given("kind")];
      if (key !== undefined) yield await Promise.resolve({ key, ...info });
    },
    async *listVersions() {
      // It keeps none.
    },
  };
  return {
    store: store as Store,
    repositoryId: given("repositoryId"),
    catalogueKey: Buffer.from(given("key"), "base64"),
    controllerPublicKey: given("controllerPublicKey"),
    formerControllerKeys: [],
  };
}

async function* slices(bytes: Buffer): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += 100) yield await Promise.resolve(bytes.subarray(at, at + 100));
}

/** The outcome as a vector has it. Throws what is no SkepError. */
export async function decodeVector({ decoder, input, with: given }: Vector): Promise<unknown> {
  const decode = vectorDecoders[decoder];
  if (decode === undefined) throw new TypeError(`no decoder is called ${decoder}`);
  return await decode(Buffer.from(input, "base64"), (name) => String(given[name]));
}
