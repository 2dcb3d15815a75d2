// Writes test/vectors/v1/: one file for each success and each named failure of each decoder. Frozen once format 1 is
// released; until then run it anew when the format changes: node test/vectors/make.ts. With names of decoders it writes
// the files of those alone.
import { armor, Encrypter } from "age-encryption";
import { randomBytes } from "node:crypto";
import { globSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { buffer } from "node:stream/consumers";
import { zstdCompressSync } from "node:zlib";
import { pack as packTar } from "tar-stream";
import { SkepError } from "../../shared/errors.ts";
import { encryptAge, generateAgeIdentity, makeAgeHeader } from "../../shared/repository/age.ts";
import { PayloadSealer } from "../../shared/repository/age-sealer.ts";
import { digest as digestOf, keyedDigest } from "../../shared/repository/blake3.ts";
import { encodeChunkFrame, encodeRawFrame } from "../../shared/repository/chunk-frame.ts";
import { createRepository } from "../../shared/repository/create.ts";
import { encodeIdentityFile } from "../../shared/repository/identity-file.ts";
import { encodeKitList } from "../../shared/repository/kit-list.ts";
import { layout } from "../../shared/repository/layout.ts";
import { encodeChunkTable } from "../../shared/repository/pack-format.ts";
import { encodePackLine, type PackRef } from "../../shared/repository/refs.ts";
import { encodeRepositoryKey } from "../../shared/repository/repository-key.ts";
import { encodeRepositoryObject, type RepositoryObject } from "../../shared/repository/repository-object.ts";
import { signHandover } from "../../shared/repository/root-handover.ts";
import { seal } from "../../shared/repository/sealed.ts";
import { generateSigningKeyPair, signPayload } from "../../shared/repository/signature.ts";
import { archiveStream } from "../../shared/repository/archive-stream.ts";
import { runSchema, type Run } from "../../shared/repository/run.ts";
import { upkeepEntrySchema, type UpkeepEntry } from "../../shared/repository/upkeep-entry.ts";
import { storeOf } from "../shared/store/held-objects.ts";
import { makeFrozenRepository } from "./frozen-repository.ts";
import { decodeVector, type Vector } from "../shared/repository/vector-decoders.ts";

const folder = join(import.meta.dirname, "v1");
const base64 = (bytes: Uint8Array): string => Buffer.from(bytes).toString("base64");
const json = (value: unknown): Buffer => Buffer.from(JSON.stringify(value), "utf8");
const flipped = (bytes: Uint8Array, at: number): Buffer => {
  const changed = Buffer.from(bytes);
  const place = at < 0 ? changed.length + at : at;
  changed[place] = (changed[place] ?? 0) ^ 1;
  return changed;
};

/** By file name without the decoder's; the code it is refused with, or null. */
type Cases = Record<string, [title: string, input: Uint8Array, code: string | null, given?: Vector["with"]]>;

/** A sealed object that says of itself that it is of format 2. */
const newer = (sealed: Uint8Array): Buffer => Buffer.concat([sealed.subarray(0, 4), Buffer.of(2), sealed.subarray(5)]);

const wanted = process.argv.slice(2);

async function write(decoder: string, given: Vector["with"], cases: Cases): Promise<void> {
  if (wanted.length > 0 && !wanted.includes(decoder)) return;
  for (const old of globSync(`${decoder}-*.json`, { cwd: folder })) {
    const { decoder: ofOld } = JSON.parse(readFileSync(join(folder, old), "utf8")) as Vector;
    if (ofOld === decoder) rmSync(join(folder, old));
  }
  for (const [name, [title, input, code, changed = {}]] of Object.entries(cases)) {
    const vector: Vector = { title, decoder, input: base64(input), with: { ...given, ...changed }, outcome: { value: null } };
    try {
      vector.outcome = { value: await decodeVector(vector) };
    } catch (error) {
      if (!(error instanceof SkepError)) throw error;
      vector.outcome = { code: error.code };
    }
    const is = "code" in vector.outcome ? vector.outcome.code : null;
    if (is !== code) throw new Error(`${decoder}-${name} gave ${is ?? "a value"}, not ${code ?? "a value"}`);
    writeFileSync(join(folder, `${decoder}-${name}.json`), `${JSON.stringify(vector, null, 2)}\n`);
  }
}

mkdirSync(folder, { recursive: true });

const pair = await generateAgeIdentity();
const hybrid = await generateAgeIdentity("hybrid");
const file = await encryptAge(Buffer.from("the plaintext"), [pair.recipient]);
await write("age-file", { identity: pair.identity }, {
  "x25519": ["one recipient", file, null],
  "several-recipients": ["several recipients", await encryptAge(Buffer.from("x"), [(await generateAgeIdentity()).recipient, pair.recipient]), null],
  "hybrid": ["a post-quantum recipient", await encryptAge(Buffer.from("x"), [hybrid.recipient]), null, { identity: hybrid.identity }],
  "empty": ["no plaintext", await encryptAge(new Uint8Array(), [pair.recipient]), null],
  "two-pieces": ["65,537 bytes, two pieces", await encryptAge(Buffer.alloc(65_537, 7), [pair.recipient]), null],
  "other-identity": ["for somebody else", file, "SKEP_IDENTITY_DOES_NOT_FIT", { identity: (await generateAgeIdentity()).identity }],
  "flipped-payload": ["a flipped bit in the payload", flipped(file, -20), "SKEP_AGE_INVALID"],
  "flipped-mac": ["a flipped bit in the header's MAC", flipped(file, Buffer.from(file).indexOf("\n--- ") + 10), "SKEP_AGE_INVALID"],
  "cut-short": ["cut short", file.subarray(0, file.length - 5), "SKEP_AGE_INVALID"],
  "no-age": ["no age file", Buffer.from("a text"), "SKEP_AGE_INVALID"],
});

const key = randomBytes(32);
const repositoryId = "0123456789abcdef0123456789abcdef";
const header = { type: "refs", repositoryId, epoch: 3, writerId: "node1" } as const;
const sealed = seal(Buffer.from("sealed text"), header, key);
const ofVersion = Buffer.from(sealed);
ofVersion[4] = 2;
const critical = Buffer.from(sealed);
critical[6] = 1;
await write("sealed", { key: base64(key), type: "refs", repositoryId, writerId: "node1" }, {
  "refs": ["refs of a writer", sealed, null],
  "run": ["a run, by the controller", seal(Buffer.from("{}"), { ...header, type: "run", epoch: 0, writerId: "" }, key), null, { type: "run", writerId: "" }],
  "other-key": ["another key", sealed, "SKEP_SEALED_INVALID", { key: base64(randomBytes(32)) }],
  "other-type": ["another type", sealed, "SKEP_SEALED_INVALID", { type: "index" }],
  "other-writer": ["another writer's", sealed, "SKEP_SEALED_INVALID", { writerId: "node2" }],
  "other-repository": ["another repository's", sealed, "SKEP_SEALED_INVALID", { repositoryId: "ff".repeat(16) }],
  "flipped-header": ["a flipped bit in the epoch", flipped(sealed, 27), "SKEP_SEALED_INVALID"],
  "flipped-content": ["a flipped bit in the content", flipped(sealed, -20), "SKEP_SEALED_INVALID"],
  "cut-short": ["cut short", sealed.subarray(0, 60), "SKEP_SEALED_INVALID"],
  "newer-version": ["a newer format version", ofVersion, "SKEP_REPOSITORY_FORMAT_NEWER"],
  "critical-flag": ["a critical flag that nobody knows", critical, "SKEP_REPOSITORY_FORMAT_NEWER"],
});

const table = encodeChunkTable([
  { name: new Uint8Array(32).fill(1), frameBytes: 20, plainBytes: 30 },
  { name: new Uint8Array(32).fill(2), frameBytes: 40, plainBytes: 4_194_304 },
]);
const changedTable = (at: number, value: number): Buffer => {
  const changed = Buffer.from(table);
  changed.writeUInt32LE(value, at < 0 ? changed.length + at : at);
  return changed;
};
await write("chunk-table", {}, {
  "two-chunks": ["two chunks", table, null],
  "behind-frames": ["behind the frames of a pack", Buffer.concat([randomBytes(60), table]), null],
  "no-trailer": ["another trailer", flipped(table, -1), "SKEP_PACK_INVALID"],
  "too-many-chunks": ["more chunks than it has room for", changedTable(-16, 9), "SKEP_PACK_INVALID"],
  "no-skippable-frame": ["no skippable frame", flipped(table, 0), "SKEP_PACK_INVALID"],
  "chunk-too-large": ["a chunk beyond 4 MiB", changedTable(8 + 36, 5_000_000), "SKEP_PACK_INVALID"],
  "newer-version": ["a newer version of the table", changedTable(-12, 2), "SKEP_REPOSITORY_FORMAT_NEWER"],
});

const chunk = Buffer.from("a chunk of text ".repeat(20));
const name = keyedDigest(key, chunk);
await write("chunk-frame", { key: base64(key), name, plainBytes: chunk.length }, {
  "compressed": ["compressed", encodeChunkFrame(chunk), null],
  "raw": ["in raw blocks", encodeRawFrame(chunk), null],
  "other-content": ["another content than its name says", encodeChunkFrame(Buffer.from("b".repeat(chunk.length))), "SKEP_CHUNK_DAMAGED"],
  "other-length": ["another length than the refs say", encodeChunkFrame(chunk), "SKEP_CHUNK_DAMAGED", { plainBytes: chunk.length + 1 }],
  "longer": ["longer than the refs say", encodeChunkFrame(Buffer.concat([chunk, chunk])), "SKEP_CHUNK_DAMAGED"],
  "no-zstd": ["no zstd frame", Buffer.from("not compressed at all"), "SKEP_CHUNK_DAMAGED"],
});

const digest = "ab".repeat(32);
const pack: PackRef = { pack: digest, sizeBytes: 1000, headerBytes: 200, epoch: 1, chunks: [[digest, 0, 100, 300]] };
const line = encodePackLine(pack);
const refsHeader = { format: 1, repositoryId, runId: "20261121-030000-abcdef", writerId: "node1", packs: 1, chunks: 1, plainBytes: 300, pages: [] };
const refs = (head: unknown, lines: string): Buffer => Buffer.from(`${JSON.stringify(head)}\n${lines}`);
const pages = [{ object: "cd".repeat(16), sizeBytes: 5, digest }];
await write("refs", {}, {
  "inline": ["its lines follow", refs(refsHeader, line), null],
  "pages": ["its lines are in pages", refs({ ...refsHeader, pages }, ""), null],
  "pages-and-lines": ["both pages and lines", refs({ ...refsHeader, pages }, line), "SKEP_REFS_INVALID"],
  "unknown-field": ["a field that nobody knows", refs({ ...refsHeader, more: 1 }, line), "SKEP_REFS_INVALID"],
  "newer-format": ["another format number", refs({ ...refsHeader, format: 2 }, line), "SKEP_REFS_INVALID"],
  "no-json": ["no JSON", Buffer.from("refs"), "SKEP_REFS_INVALID"],
});
await write("pack-lines", {}, {
  "two": ["two packs", Buffer.from(line + line), null],
  "none": ["no pack", Buffer.from(""), null],
  "bad-name": ["a chunk name that is none", Buffer.from(line.replaceAll(digest, "AB".repeat(32))), "SKEP_REFS_INVALID"],
  "no-chunks": ["a pack without a chunk", Buffer.from(encodePackLine({ ...pack, chunks: [] })), "SKEP_REFS_INVALID"],
});

const entry = { path: "etc/hosts", type: "file", mode: 0o4755, uid: 0, gid: 4_294_967_295, mtimeNs: "1700000000123456789", sizeBytes: 7, extents: [[digest, 5, 3], [null, 0, 4]] };
await write("manifest-entry", {}, {
  "file": ["a file with a hole", json(entry), null],
  "symlink": ["a symlink", json({ path: "l", type: "symlink", mode: 0o777, uid: 1, gid: 1, mtimeNs: "-1", linkTarget: "x" }), null],
  "name-of-bytes": ["a name that is no UTF-8", json({ pathBase64: base64(Buffer.from([0xff])), type: "fifo", mode: 0o600, uid: 1, gid: 1, mtimeNs: "0" }), null],
  "device-and-xattrs": ["a device with an attribute", json({ path: "d", type: "block-device", mode: 0o600, uid: 1, gid: 1, mtimeNs: "0", device: [8, 1], xattrs: { "user.a": "AP8=" } }), null],
  "unknown-field": ["a field that nobody knows", json({ ...entry, more: 1 }), "SKEP_MANIFEST_INVALID"],
  "unknown-type": ["a type that nobody knows", json({ ...entry, type: "socket" }), "SKEP_MANIFEST_INVALID"],
  "negative-offset": ["an extent at a negative offset", json({ ...entry, extents: [[digest, -1, 3]] }), "SKEP_MANIFEST_INVALID"],
  "no-json": ["no JSON", Buffer.from("{"), "SKEP_MANIFEST_INVALID"],
});
await write("manifest-continuation", {}, {
  "extents": ["further extents", json({ extents: [[digest, 0, 9]] }), null],
  "none": ["no extent", json({ extents: [] }), "SKEP_MANIFEST_INVALID"],
});

await write("repository-key", {}, {
  "right": ["a key", encodeRepositoryKey(key), null],
  "short": ["a short key", Buffer.from("AAAA\n"), "SKEP_REPOSITORY_INVALID"],
  "no-line-end": ["no line end", encodeRepositoryKey(key).subarray(0, 44), "SKEP_REPOSITORY_INVALID"],
});

const root = generateSigningKeyPair();
const formerRoot = generateSigningKeyPair();
const handover = { repositoryId, from: formerRoot.publicKey, to: root.publicKey, firstVersion: 2 };
const object: RepositoryObject = {
  format: 1,
  repositoryId,
  version: 2,
  createdAt: "2026-11-21T03:00:00.000Z",
  incarnation: 1,
  rootPublicKey: root.publicKey,
  rootHandovers: [signHandover(handover, formerRoot.privateKey)],
  controllerPublicKey: generateSigningKeyPair().publicKey,
  recipients: [{ name: "anna", recipient: pair.recipient, holdsRootKey: true }],
  epoch: { number: 2, recipient: pair.recipient },
  repositoryKeyVersion: 2,
  repositoryKeyCheck: digest,
  epochKeyVersion: 1,
  formerEpochs: [{ number: 1, recipient: hybrid.recipient, keyVersion: 2 }],
  formerControllerKeys: [{ publicKey: generateSigningKeyPair().publicKey, lastSequence: 9 }],
  revokedControllerKeys: [],
  revokedWriters: [{ writerId: "node9", at: "2026-11-21T03:00:00.000Z" }],
};
const signed = (value: unknown, by = root.privateKey): Buffer => json(signPayload("skep/v1 repository", JSON.stringify(value), by));
await write("repository-object", { rootPublicKey: root.publicKey }, {
  "right": ["two epochs, two controller keys", encodeRepositoryObject(object, root.privateKey), null],
  "other-signer": ["signed by another key", signed(object, generateSigningKeyPair().privateKey), "SKEP_SIGNATURE_INVALID"],
  "other-context": ["signed as a run", json(signPayload("skep/v1 run", JSON.stringify(object), root.privateKey)), "SKEP_SIGNATURE_INVALID"],
  "other-root": ["names another root key", signed({ ...object, rootPublicKey: object.controllerPublicKey }), "SKEP_REPOSITORY_INVALID"],
  "unknown-field": ["a field that nobody knows", signed({ ...object, more: 1 }), "SKEP_REPOSITORY_INVALID"],
  "newer-format": ["a newer format", signed({ format: 2 }), "SKEP_REPOSITORY_FORMAT_NEWER"],
  "unsigned": ["not signed", json(object), "SKEP_REPOSITORY_INVALID"],
  "handed-over": ["pinned before the root key was handed over", encodeRepositoryObject(object, root.privateKey), null, { rootPublicKey: formerRoot.publicKey }],
  "former-root": ["signed by the root key that handed over", signed(object, formerRoot.privateKey), "SKEP_SIGNATURE_INVALID", { rootPublicKey: formerRoot.publicKey }],
  "handover-of-another": ["a handover that another key signed", signed({ ...object, rootHandovers: [signHandover(handover, root.privateKey)] }), "SKEP_SIGNATURE_INVALID", { rootPublicKey: formerRoot.publicKey }],
  "handover-of-another-repository": ["a handover of another repository", signed({ ...object, rootHandovers: [signHandover({ ...handover, repositoryId: "ff".repeat(16) }, formerRoot.privateKey)] }), "SKEP_REPOSITORY_INVALID", { rootPublicKey: formerRoot.publicKey }],
  "handover-to-come": ["a handover that begins with a later version", signed({ ...object, rootHandovers: [signHandover({ ...handover, firstVersion: 3 }, formerRoot.privateKey)] }), "SKEP_REPOSITORY_INVALID", { rootPublicKey: formerRoot.publicKey }],
});

const identityFile = { repositoryId, name: "anna", createdAt: object.createdAt, ...pair, rootPrivateKey: root.privateKey, rootPublicKey: root.publicKey };
const identityText = encodeIdentityFile(identityFile);
await write("identity-file", {}, {
  "with-root-key": ["of an operator who changes keys", Buffer.from(identityText), null],
  "opens-only": ["of an operator who only opens", Buffer.from(encodeIdentityFile({ ...identityFile, rootPrivateKey: null })), null],
  "hybrid": ["post-quantum", Buffer.from(encodeIdentityFile({ ...identityFile, ...hybrid })), null],
  "two-keys": ["two keys", Buffer.from(`${identityText}${hybrid.identity}\n`), "SKEP_IDENTITY_INVALID"],
  "no-root": ["no root public key", Buffer.from(identityText.replace("# root public key", "# something else")), "SKEP_IDENTITY_INVALID"],
  "root-of-33-bytes": ["a root public key of 33 bytes", Buffer.from(encodeIdentityFile({ ...identityFile, rootPrivateKey: null, rootPublicKey: base64(Buffer.alloc(33, 1)) })), "SKEP_IDENTITY_INVALID"],
  "other-root": ["another root public key", Buffer.from(encodeIdentityFile({ ...identityFile, rootPublicKey: object.controllerPublicKey })), "SKEP_IDENTITY_INVALID"],
});

const controller = generateSigningKeyPair();
const time = object.createdAt;
const stored = { key: `refs/20261121-030000-abcdef/${"cd".repeat(16)}`, sizeBytes: 500, digest, versionId: "v1" };
const run: Run = runSchema.parse({
  format: 1, id: "20261121-030000-abcdef", repositoryId, incarnation: 1, sequence: 7, previousDigest: digest, upkeepSequence: 3,
  status: "partial", trigger: "schedule", schedule: "nightly", policyVersion: 2, startedAt: time, endedAt: time, skepVersion: "0.1.0",
  clusterId: "cluster1", nodes: [{ id: "node1", hostname: "host1", role: "manager", availability: "active", state: "ready", address: "10.0.0.1" }],
  parts: [
    { kind: "volume", name: "host1/data", nodeId: "node1", hostname: "host1", status: "done", startedAt: time, endedAt: time, attempt: 1, warnings: [], warningsLeftOut: 0, epoch: 1,
      manifest: { ...stored, key: `manifests/20261121-030000-abcdef/${"ef".repeat(16)}.age` }, refs: stored,
      volume: { name: "data", driver: "local", options: {}, labels: {}, scope: "local" }, consistency: "not-atomic" },
    { kind: "raft", name: "raft", nodeId: "node1", hostname: "host1", status: "failed", startedAt: time, endedAt: time, attempt: 3, warnings: [], warningsLeftOut: 0,
      error: { code: "SKEP_RAFT_TORN", message: "why", permanent: false } },
  ],
  notCovered: [{ kind: "volume", name: "host2/x", hostname: "host2", reason: "node-down", message: "host2 is down" }], warnings: [],
});
const upkeep: UpkeepEntry = upkeepEntrySchema.parse({
  format: 1, repositoryId, incarnation: 1, sequence: 7, previousDigest: digest, writtenAt: time, skepVersion: "0.1.0",
  forgotten: [{ first: 1, last: 2, digest, previousDigest: null }], forgottenRuns: [{ id: run.id, sequence: 2, forgottenAt: time }], fencedBefore: "20261120-030000",
  retired: [{ writerId: "node1", since: time, packs: [digest] }], doomed: [{ writerId: "", since: time, packs: ["cd".repeat(32)] }],
  movedRefs: [{ from: stored.key, to: stored, since: time }],
});
const entryOf = (kind: "run" | "upkeep", value: unknown, by = controller.privateKey, context = kind): Buffer =>
  Buffer.from(seal(json(signPayload(`skep/v1 ${context}`, JSON.stringify(value), by)), { type: kind, repositoryId, epoch: 0, writerId: "" }, key));
await write("chain-entry", { key: base64(key), repositoryId, controllerPublicKey: controller.publicKey, sequence: 7 }, {
  "run": ["a run with parts, a failure and a gap", entryOf("run", run), null],
  "upkeep": ["an upkeep entry that says all it can", entryOf("upkeep", upkeep), null],
  "other-signer": ["signed by another controller", entryOf("run", run, root.privateKey), "SKEP_SIGNATURE_INVALID"],
  "other-context": ["an upkeep entry signed as a run", entryOf("upkeep", upkeep, controller.privateKey, "run"), "SKEP_SIGNATURE_INVALID"],
  "other-number": ["copied to another number", entryOf("run", run), "SKEP_RUN_INVALID", { sequence: 8 }],
  "other-repository": ["signed for another repository", entryOf("run", { ...run, repositoryId: "ff".repeat(16) }), "SKEP_RUN_INVALID"],
  "unknown-field": ["a field that nobody knows", entryOf("run", { ...run, more: 1 }), "SKEP_RUN_INVALID"],
  "upkeep-unknown-field": ["a field of an upkeep entry that nobody knows", entryOf("upkeep", { ...upkeep, more: 1 }), "SKEP_RUN_INVALID"],
  "unsigned": ["not signed", Buffer.from(seal(json(run), { type: "run", repositoryId, epoch: 0, writerId: "" }, key)), "SKEP_RUN_INVALID"],
  "other-key": ["sealed by another key", entryOf("run", run), "SKEP_SEALED_INVALID", { key: base64(randomBytes(32)) }],
  "newer-version": ["a newer format version", newer(entryOf("run", run)), "SKEP_REPOSITORY_FORMAT_NEWER"],
});

const documentOf = (type: "policy" | "enrolment" | "protection", at: string, content: unknown): Buffer =>
  Buffer.from(seal(json({ key: at, content }), { type, repositoryId, epoch: 0, writerId: "" }, key));
const protection = { format: 1, writtenAt: time, lockDays: 30, fault: null, runs: [{ id: run.id, refs: digest, until: time, fault: null }] };
const documents = { key: base64(key), repositoryId, controllerPublicKey: controller.publicKey, version: 3 };
await write("document", { ...documents, kind: "policy" }, {
  "policy": ["a policy", documentOf("policy", "policy/0000000003", { createdAt: time, policy: { version: 1 } }), null],
  "enrolment": ["an enrolment", documentOf("enrolment", "agents/node1/0000000003", { nodeId: "node1" }), null, { kind: "enrolment" }],
  "protection": ["which runs are locked", documentOf("protection", "protection/0000000003", protection), null, { kind: "protection" }],
  "other-version": ["an old policy as a new one", documentOf("policy", "policy/0000000002", {}), "SKEP_DOCUMENT_INVALID"],
  "other-writer": ["another writer's enrolment", documentOf("enrolment", "agents/node2/0000000003", {}), "SKEP_DOCUMENT_INVALID", { kind: "enrolment" }],
  "other-type": ["an enrolment as a policy", documentOf("enrolment", "policy/0000000003", {}), "SKEP_SEALED_INVALID"],
  "newer-version": ["a newer format version", newer(documentOf("policy", "policy/0000000003", {})), "SKEP_REPOSITORY_FORMAT_NEWER"],
  "no-key": ["without the key of its object", Buffer.from(seal(json({ content: {} }), { type: "policy", repositoryId, epoch: 0, writerId: "" }, key)), "SKEP_DOCUMENT_INVALID"],
  "unknown-field": ["a field that nobody knows", documentOf("protection", "protection/0000000003", { ...protection, more: 1 }), "SKEP_DOCUMENT_INVALID", { kind: "protection" }],
});

async function* contentOf(text: string): AsyncGenerator<Uint8Array> {
  yield await Promise.resolve(Buffer.from(text));
}
const archiveFiles = [
  { path: "raft/wal/0", mode: 0o600, mtimeMs: 1_700_000_000_000, sizeBytes: 5, content: contentOf("bytes") },
  { path: `definitions/${"n".repeat(150)}.json`, mode: 0o644, mtimeMs: 0, sizeBytes: 0, content: contentOf("") },
];
const archived = Buffer.concat(await Array.fromAsync(archiveStream({ age: await makeAgeHeader([pair.recipient]), files: archiveFiles })));
async function tarOf(entry: Parameters<ReturnType<typeof packTar>["entry"]>[0]): Promise<Uint8Array> {
  const tar = packTar();
  tar.entry(entry, "");
  tar.finalize();
  return await encryptAge(zstdCompressSync(await buffer(tar)), [pair.recipient]);
}
await write("archive", { identity: pair.identity }, {
  "two-files": ["two files, one with a long name", archived, null],
  "other-identity": ["for somebody else", archived, "SKEP_IDENTITY_DOES_NOT_FIT", { identity: (await generateAgeIdentity()).identity }],
  "cut-short": ["cut short", archived.subarray(0, archived.length - 20), "SKEP_AGE_INVALID"],
  "flipped": ["a flipped bit", flipped(archived, -20), "SKEP_AGE_INVALID"],
  "no-zstd": ["no zstd within", Buffer.from(await encryptAge(Buffer.from("a text"), [pair.recipient])), "SKEP_ARCHIVE_INVALID"],
  "outside": ["a path that leads out", await tarOf({ name: "../etc/passwd" }), "SKEP_ARCHIVE_INVALID"],
  "symlink": ["a symlink", await tarOf({ name: "raft", type: "symlink", linkname: "/etc" }), "SKEP_ARCHIVE_INVALID"],
});

const index = seal(Buffer.from(line), { ...header, type: "index" }, key);
await write("index", { key: base64(key), repositoryId, writerId: "node1" }, {
  "one-pack": ["one pack", index, null],
  "other-type": ["refs in its place", seal(Buffer.from(line), header, key), "SKEP_SEALED_INVALID"],
  "newer-version": ["a newer format version", newer(index), "SKEP_REPOSITORY_FORMAT_NEWER"],
  "no-lines": ["no lines of packs", seal(Buffer.from("{}"), { ...header, type: "index" }, key), "SKEP_REFS_INVALID"],
});

const age = await makeAgeHeader([pair.recipient]);
const ageOf = (plain: Uint8Array): Buffer => {
  const pieces: Uint8Array[] = [age.header];
  const sealer = new PayloadSealer(age.fileKey, (piece) => pieces.push(Buffer.from(piece)));
  sealer.write(plain);
  sealer.finish();
  return Buffer.concat(pieces);
};
const manifestRoot = { format: 1, repositoryId, runId: run.id, writerId: "node1", volume: "data", createdAt: time, entries: 1, extents: [[digest, 0, 100]], linesDigest: digest };
const rootOf = (value: unknown): Buffer => ageOf(zstdCompressSync(json(value)));
const rootRefs = base64(seal(refs(refsHeader, line), header, key));
await write("manifest-root", { repositoryId, writerId: "node1", runId: run.id, fileKey: base64(age.fileKey), key: base64(key), pack: digest, refs: rootRefs }, {
  "right": ["a root", rootOf(manifestRoot), null],
  "other-writer": ["another writer's", rootOf({ ...manifestRoot, writerId: "node2" }), "SKEP_MANIFEST_INVALID"],
  "other-repository": ["another repository's", rootOf({ ...manifestRoot, repositoryId: "ff".repeat(16) }), "SKEP_MANIFEST_INVALID"],
  "other-run": ["of another run than its refs", rootOf({ ...manifestRoot, runId: "20261122-030000-abcdef" }), "SKEP_MANIFEST_INVALID"],
  "unknown-field": ["a field that nobody knows", rootOf({ ...manifestRoot, more: 1 }), "SKEP_MANIFEST_INVALID"],
  "no-zstd": ["not compressed", ageOf(json(manifestRoot)), "SKEP_MANIFEST_INVALID"],
  "flipped": ["a flipped bit", flipped(rootOf(manifestRoot), -20), "SKEP_AGE_INVALID"],
});

const content = Buffer.from("the bytes of an object");
await write("object", { isThere: "yes", sizeBytes: content.length, digest: digestOf(content) }, {
  "right": ["what the run names", content, null],
  "flipped": ["a flipped bit", flipped(content, 3), "SKEP_OBJECT_DAMAGED"],
  "cut-short": ["cut short", content.subarray(0, 10), "SKEP_OBJECT_DAMAGED"],
  "gone": ["not there", content, "SKEP_OBJECT_MISSING", { isThere: "no" }],
});

const storedKit = { architecture: "x64" as const, skepVersion: "0.1.0", sha256: digest, sizeBytes: 500, pieces: [{ ...stored, key: `kits/${digest}/0000` }] };
const kitList = { format: 1 as const, repositoryId, version: 1, createdAt: time, kits: [storedKit] };
const kitsOf = (value: unknown): Buffer => json(signPayload("skep/v1 kits", JSON.stringify(value), root.privateKey));
await write("kit-list", { rootPublicKey: root.publicKey }, {
  "one-kit": ["one kit", encodeKitList(kitList, root.privateKey), null],
  "other-signer": ["signed by another key", encodeKitList(kitList, formerRoot.privateKey), "SKEP_SIGNATURE_INVALID"],
  "unsigned": ["not signed", json(kitList), "SKEP_KIT_LIST_INVALID"],
  "unknown-field": ["a field that nobody knows", kitsOf({ ...kitList, more: 1 }), "SKEP_KIT_LIST_INVALID"],
  "two-of-a-kind-too-many": ["more kits than architectures", kitsOf({ ...kitList, kits: [storedKit, storedKit, storedKit] }), "SKEP_KIT_LIST_INVALID"],
});

const controllerKey = { format: 1, repositoryId, rootPublicKey: root.publicKey, repositoryKey: base64(key), signingKey: controller.privateKey };
await write("controller-key", {}, {
  "right": ["a controller key", json(controllerKey), null],
  "no-json": ["no JSON", Buffer.from("a text"), "SKEP_CONTROLLER_KEY_INVALID"],
  "unknown-field": ["a field that nobody knows", json({ ...controllerKey, more: 1 }), "SKEP_CONTROLLER_KEY_INVALID"],
  "no-signing-key": ["base64 that is no signing key", json({ ...controllerKey, signingKey: base64(key) }), "SKEP_CONTROLLER_KEY_INVALID"],
  "root-of-33-bytes": ["a root public key of 33 bytes", json({ ...controllerKey, rootPublicKey: base64(Buffer.alloc(33, 1)) }), "SKEP_CONTROLLER_KEY_INVALID"],
});

const encrypter = new Encrypter();
encrypter.setScryptWorkFactor(2);
encrypter.setPassphrase("the passphrase");
const locked = await encrypter.encrypt("the plaintext");
await write("passphrase-file", { passphrase: "the passphrase" }, {
  "right": ["locked by a passphrase", locked, null],
  "armoured": ["armoured", Buffer.from(armor.encode(locked)), null],
  "other-passphrase": ["another passphrase", locked, "SKEP_PASSPHRASE_WRONG", { passphrase: "another" }],
  "flipped-mac": ["a flipped bit in the header's MAC", flipped(locked, Buffer.from(locked).indexOf("\n--- ") + 10), "SKEP_AGE_INVALID"],
  "flipped-payload": ["a flipped bit in the payload", flipped(locked, -5), "SKEP_AGE_INVALID"],
});

const keyObjects = new Map<string, Uint8Array>();
const made = await createRepository({ store: storeOf(keyObjects), operatorName: "anna", now: Date.parse(time) });
const heldAt = (at: string): Uint8Array => keyObjects.get(at) ?? new Uint8Array();
const toAnna = (text: Uint8Array | string): Promise<Uint8Array> => encryptAge(Buffer.from(text), [made.identityFile.recipient]);
const keyGiven = { of: "repository", identityFile: encodeIdentityFile(made.identityFile), repositoryObject: base64(heldAt(layout.repository(1))), repositoryKeyFile: base64(heldAt(layout.repositoryKey(1))) };
await write("key-file", keyGiven, {
  "repository-key": ["the repository key", heldAt(layout.repositoryKey(1)), null],
  "other-repository-key": ["another key than the check value names", await toAnna(encodeRepositoryKey(key)), "SKEP_KEY_MISSING"],
  "no-repository-key": ["no key within", await toAnna("a text"), "SKEP_REPOSITORY_INVALID"],
  "other-operator": ["for another operator", await encryptAge(encodeRepositoryKey(key), [pair.recipient]), "SKEP_IDENTITY_DOES_NOT_FIT"],
  "flipped": ["a flipped bit", flipped(heldAt(layout.repositoryKey(1)), -5), "SKEP_AGE_INVALID"],
  "epoch": ["an epoch's identity", heldAt(layout.epochKey(1, 1)), null, { of: "epoch" }],
  "other-epoch": ["the identity of another epoch", await toAnna(`${pair.identity}\n`), "SKEP_KEY_MISSING", { of: "epoch" }],
  "no-identity": ["no identity within", await toAnna("a text"), "SKEP_KEY_MISSING", { of: "epoch" }],
});

if (wanted.length === 0) await makeFrozenRepository(join(import.meta.dirname, "repository-v1"));
