// What lies in the store: anybody who may put an object there chose its bytes. What is below a seal or a signature is tried with
// the right one, as a stolen agent, or a controller of another version, could write it.
import { createHash, randomBytes } from "node:crypto";
import { zstdCompressSync } from "node:zlib";
import { z } from "zod";
import { encryptAge, generateAgeIdentity, makeAgeHeader } from "../../shared/repository/age.ts";
import { PayloadSealer } from "../../shared/repository/age-sealer.ts";
import { digest, keyedDigest } from "../../shared/repository/blake3.ts";
import { readEnrolments, readPolicy, readProtection, type Catalogue } from "../../shared/repository/catalogue.ts";
import { readEntry } from "../../shared/repository/chain.ts";
import { encodeChunkFrame } from "../../shared/repository/chunk-frame.ts";
import { createRepository } from "../../shared/repository/create.ts";
import { getIndex } from "../../shared/repository/index-object.ts";
import { decodeKitList, encodeKitList } from "../../shared/repository/kit-list.ts";
import { layout } from "../../shared/repository/layout.ts";
import { decodeContinuationLine, decodeEntryLine } from "../../shared/repository/manifest-lines.ts";
import { decryptAge, openAgePayload } from "../../shared/repository/open/age.ts";
import { openAsOperator } from "../../shared/repository/open/operator.ts";
import { readRefs } from "../../shared/repository/open/refs-reader.ts";
import { openChunkFrame } from "../../shared/repository/open/sealed-window.ts";
import { openSnapshot } from "../../shared/repository/open/snapshot-reader.ts";
import { decodeChunkTable, encodeChunkTable } from "../../shared/repository/pack-format.ts";
import { decodePackLines, decodeRefs, encodePackLine } from "../../shared/repository/refs.ts";
import { decodeRepositoryKey, encodeRepositoryKey } from "../../shared/repository/repository-key.ts";
import { decodeRepositoryObject } from "../../shared/repository/repository-object.ts";
import { signHandover } from "../../shared/repository/root-handover.ts";
import type { StoredObject } from "../../shared/repository/run.ts";
import { open, seal, type SealedType } from "../../shared/repository/sealed.ts";
import { generateSigningKeyPair, signPayload, type SignatureContext } from "../../shared/repository/signature.ts";
import { openRefs } from "../../shared/repository/upkeep/refs-lines.ts";
import { archiveDecoders } from "./archive-decoders.ts";
import { json, textOf, utf8, type Decoder } from "./decoder.ts";
import { storeOf } from "../shared/store/held-objects.ts";
import { sampleProtection, sampleRunObject, sampleUpkeep } from "./samples.ts";

const place = "the input";
const repositoryId = "0123456789abcdef0123456789abcdef";
const runId = "20261121-030000-abcdef";
const writerId = "node1";
const name = "ab".repeat(32);
const time = "2026-11-21T03:00:00.000Z";

const key = randomBytes(32);
const root = generateSigningKeyPair();
const formerRoot = generateSigningKeyPair();
const controller = generateSigningKeyPair();

const sealedAs = (type: SealedType, by: string) => (plain: Uint8Array) =>
  seal(plain, { type, repositoryId, epoch: 1, writerId: by }, key);
const signedAs = (context: SignatureContext, by: string) => (payload: Uint8Array) =>
  json(signPayload(context, textOf(payload), by));
const objectOf = (objectKey: string, bytes: Uint8Array): StoredObject => {
  return { key: objectKey, sizeBytes: bytes.length, digest: digest(bytes), versionId: null };
};

export async function storeDecoders(): Promise<Decoder[]> {
  return [
    ...(await layers()),
    ...refsDecoders(),
    ...catalogueDecoders(),
    ...(await keyDecoders()),
    ...(await archiveDecoders()),
  ];
}

/** Of packs and manifests. */
async function layers(): Promise<Decoder[]> {
  const { identity, recipient } = await generateAgeIdentity();
  const { header, fileKey } = await makeAgeHeader([recipient]);
  const ageOf = (plain: Uint8Array): Uint8Array => {
    const pieces: Uint8Array[] = [];
    const sealer = new PayloadSealer(fileKey, (sealed) => pieces.push(Buffer.from(sealed)));
    sealer.write(plain);
    sealer.finish();
    return Buffer.concat(pieces);
  };
  const chunk = Buffer.from("a chunk ".repeat(100));
  const frame = { name: keyedDigest(key, chunk), start: 0, frameBytes: 0, plainBytes: chunk.length };
  const expected = { type: "refs", repositoryId, writerId } as const;
  const entry = {
    path: "etc/hosts",
    type: "file",
    mode: 0o4755,
    uid: 0,
    gid: 0,
    mtimeNs: "1700000000123456789",
    sizeBytes: 7,
    extents: [
      [name, 5, 3],
      [null, 0, 4],
    ],
    xattrs: { "user.a": "AP8=" },
  };
  const manifestRoot = {
    ...{ format: 1, repositoryId, runId, writerId, volume: "data", createdAt: time, entries: 1 },
    ...{ extents: [[name, 0, 200]], linesDigest: name },
  };
  const keys = {
    manifest: Buffer.from(fileKey).toString("base64"),
    packs: { [name]: Buffer.from(fileKey).toString("base64") },
    chunkNameKey: key.toString("base64"),
    sealKey: key.toString("base64"),
  };
  const refs = sealedAs("refs", writerId)(refsText());
  const refsObject = objectOf(`refs/${runId}/${"cd".repeat(16)}`, refs);
  const openManifest = async (file: Uint8Array): Promise<unknown> => {
    const manifest = objectOf(`manifests/${runId}/${"ef".repeat(16)}.age`, file);
    const store = storeOf(
      new Map([
        [manifest.key, file],
        [refsObject.key, refs],
      ]),
    );
    const snapshot = await openSnapshot({ store, repositoryId, writerId, manifest, refs: refsObject, keys });
    snapshot.close();
    return snapshot.root;
  };
  const bomb = zstdCompressSync(Buffer.alloc(256 * 1024 * 1024));
  return [
    { name: "age file", sample: await encryptAge(chunk, [recipient]), decode: (b) => decryptAge(b, [identity], place) },
    { name: "age payload", sample: ageOf(randomBytes(70_000)), decode: (b) => openAgePayload(b, fileKey, place) },
    {
      name: "sealed object",
      sample: sealedAs("refs", writerId)(chunk),
      decode: (b) => open(b, expected, key, place, 1e6),
    },
    {
      name: "chunk table",
      sample: encodeChunkTable([{ name: randomBytes(32), frameBytes: 1, plainBytes: 2 }]),
      decode: (b) => decodeChunkTable(b, place),
    },
    {
      name: "chunk frame",
      sample: encodeChunkFrame(chunk),
      decode: (b) => openChunkFrame(b, frame, key, place),
      hostile: [bomb],
    },
    { name: "manifest line", sample: json(entry), decode: (b) => decodeEntryLine(textOf(b), place) },
    {
      name: "continuation line",
      sample: json({ extents: [[null, 0, 9]] }),
      decode: (b) => decodeContinuationLine(textOf(b), place),
    },
    {
      name: "manifest file",
      sample: Buffer.concat([header, ageOf(zstdCompressSync(json(manifestRoot)))]),
      decode: openManifest,
    },
    {
      name: "manifest's compressed root",
      sample: zstdCompressSync(json(manifestRoot)),
      wrap: (inner) => Buffer.concat([header, ageOf(inner)]),
      decode: openManifest,
    },
    {
      name: "manifest's root",
      sample: json(manifestRoot),
      wrap: (inner) => Buffer.concat([header, ageOf(zstdCompressSync(inner))]),
      decode: openManifest,
    },
  ];
}

const pack = { pack: name, sizeBytes: 1000, headerBytes: 200, epoch: 1, chunks: [[name, 0, 100, 300]] };
const packLine = encodePackLine(pack as Parameters<typeof encodePackLine>[0]);
const refsHeader = { format: 1, repositoryId, runId, writerId, packs: 1, chunks: 1, plainBytes: 300, pages: [] };

function refsText(): Uint8Array {
  return utf8(`${JSON.stringify(refsHeader)}\n${packLine}`);
}

function refsDecoders(): Decoder[] {
  const at = { key: `refs/${runId}/${"cd".repeat(16)}`, page: `refs/${runId}/${"01".repeat(16)}` };
  /** As a restore reads them, and as check and prune do. */
  const readAll = async (objects: Map<string, Uint8Array>): Promise<unknown> => {
    const store = storeOf(objects);
    const refs = objectOf(at.key, objects.get(at.key) ?? new Uint8Array());
    const { packs } = await readRefs({ store, repositoryId, writerId, sealKey: key }, refs);
    await Array.fromAsync(packs);
    const { lines } = await openRefs({ store, repositoryId, sealKeyOf: () => key }, { runId, writerId, refs });
    return await Array.fromAsync(lines);
  };
  const paged = (page: Uint8Array): Promise<unknown> => {
    const sealed = sealedAs("refs", writerId)(page);
    const { sizeBytes, digest } = objectOf(at.page, sealed);
    const header = { ...refsHeader, pages: [{ object: "01".repeat(16), sizeBytes, digest }] };
    const objects = new Map([
      [at.key, sealedAs("refs", writerId)(json(header))],
      [at.page, sealed],
    ]);
    return readAll(objects);
  };
  const indexed = (sealed: Uint8Array): Promise<unknown> => {
    const store = storeOf(new Map([[layout.index(writerId, "01".repeat(16)), sealed]]));
    const { signal } = new AbortController();
    return getIndex({ store, repositoryId, writerId, sealKey: key }, "01".repeat(16), signal);
  };
  return [
    { name: "pack lines", sample: utf8(packLine), decode: (b) => decodePackLines(b, place) },
    { name: "refs", sample: refsText(), decode: (b) => decodeRefs(b, place) },
    {
      name: "refs object",
      sample: refsText(),
      wrap: sealedAs("refs", writerId),
      decode: (b) => readAll(new Map([[at.key, b]])),
    },
    { name: "page of refs", sample: utf8(packLine), decode: paged },
    { name: "index object", sample: utf8(packLine), wrap: sealedAs("index", writerId), decode: indexed },
  ];
}

function catalogueDecoders(): Decoder[] {
  const catalogueOf = (objectKey: string, bytes: Uint8Array): Catalogue => ({
    store: storeOf(new Map([[objectKey, bytes]])),
    repositoryId,
    catalogueKey: key,
    controllerPublicKey: controller.publicKey,
    formerControllerKeys: [],
  });
  const entry = (bytes: Uint8Array) => readEntry(catalogueOf(layout.run(7), bytes), 7);
  const chain = (kind: "run" | "upkeep", content: object): Decoder[] => {
    const sign = signedAs(`skep/v1 ${kind}`, controller.privateKey);
    const sealed = sealedAs(kind, "");
    return [
      { name: `${kind} object`, sample: sealed(sign(json(content))), decode: entry },
      { name: `${kind} object within its seal`, sample: sign(json(content)), wrap: sealed, decode: entry },
      {
        name: `${kind} object's payload`,
        sample: json(content),
        wrap: (payload) => sealed(sign(payload)),
        decode: entry,
      },
    ];
  };
  const policyKey = layout.policy(3);
  const agentKey = layout.agent(writerId, 3);
  const protectionKey = layout.protection(3);
  return [
    ...chain("run", sampleRunObject(repositoryId, runId)),
    ...chain("upkeep", sampleUpkeep(repositoryId, runId)),
    {
      name: "policy document",
      sample: json({ key: policyKey, content: { format: 1, policy: { version: 1 } } }),
      wrap: sealedAs("policy", ""),
      decode: (b) => readPolicy(catalogueOf(policyKey, b), z.looseObject({ format: z.literal(1) })),
    },
    {
      name: "enrolment document",
      sample: json({ key: agentKey, content: { format: 1, nodeId: writerId } }),
      wrap: sealedAs("enrolment", ""),
      decode: (b) => readEnrolments(catalogueOf(agentKey, b), z.looseObject({ format: z.literal(1) })),
    },
    {
      name: "protection document",
      sample: json({ key: protectionKey, content: sampleProtection(runId) }),
      wrap: sealedAs("protection", ""),
      decode: (b) => readProtection(catalogueOf(protectionKey, b)),
    },
  ];
}

/** What the root key signs, and what only operators open. */
async function keyDecoders(): Promise<Decoder[]> {
  const objects = new Map<string, Uint8Array>();
  const made = await createRepository({ store: storeOf(objects), operatorName: "anna", now: Date.parse(time) });
  const keyFile = (objectKey: string) => async (file: Uint8Array) => {
    const store = storeOf(new Map([...objects, [objectKey, file]]));
    return await (await openAsOperator(store, made.identityFile)).epochIdentity(1);
  };
  const toOperator = (plain: Uint8Array) => encryptAge(plain, [made.identityFile.recipient]);
  const plainOf = (objectKey: string) =>
    decryptAge(objects.get(objectKey) ?? new Uint8Array(), [made.identityFile.identity], place);
  const { rootPublicKey: to } = made.repositoryObject;
  const handover = {
    repositoryId: made.repositoryObject.repositoryId,
    from: formerRoot.publicKey,
    to,
    firstVersion: 2,
  };
  const object = {
    ...made.repositoryObject,
    version: 2,
    rootHandovers: [signHandover(handover, formerRoot.privateKey)],
    formerControllerKeys: [{ publicKey: controller.publicKey, lastSequence: 9 }],
    revokedWriters: [{ writerId: "node9", at: time }],
  };
  const signObject = signedAs("skep/v1 repository", made.identityFile.rootPrivateKey);
  const decodeObject = (bytes: Uint8Array) => decodeRepositoryObject(bytes, formerRoot.publicKey, place);
  const sha256 = createHash("sha256").update("").digest("hex");
  const pieces = [objectOf(layout.kitPiece(sha256, 0), randomBytes(10))];
  const kit = { architecture: "x64" as const, skepVersion: "0.1.0", sha256, sizeBytes: 10, pieces };
  const kits = { format: 1 as const, repositoryId, version: 1, createdAt: time, kits: [kit] };
  const decodeKits = (bytes: Uint8Array) => decodeKitList(bytes, root.publicKey, place);
  return [
    { name: "repository key", sample: encodeRepositoryKey(key), decode: (b) => decodeRepositoryKey(b, place) },
    { name: "repository object", sample: signObject(json(object)), decode: decodeObject },
    { name: "repository object's payload", sample: json(object), wrap: signObject, decode: decodeObject },
    {
      name: "handover of the root key",
      sample: json(handover),
      wrap: (payload) => {
        const signed = signPayload("skep/v1 root", textOf(payload), formerRoot.privateKey);
        return signObject(json({ ...object, rootHandovers: [signed] }));
      },
      decode: decodeObject,
    },
    { name: "list of kits", sample: encodeKitList(kits, root.privateKey), decode: decodeKits },
    {
      name: "list of kits' payload",
      sample: json(kits),
      wrap: signedAs("skep/v1 kits", root.privateKey),
      decode: decodeKits,
    },
    {
      name: "file of the repository key",
      sample: await plainOf(layout.repositoryKey(1)),
      wrap: toOperator,
      decode: keyFile(layout.repositoryKey(1)),
    },
    {
      name: "file of an epoch's key",
      sample: await plainOf(layout.epochKey(1, 1)),
      wrap: toOperator,
      decode: keyFile(layout.epochKey(1, 1)),
    },
  ];
}
