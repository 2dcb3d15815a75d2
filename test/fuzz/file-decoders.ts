// What lies in files: people's, the kit's, and Skep's own that a crash, a full disk or a restored machine left in any state.
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { randomBytes } from "node:crypto";
import { buffer } from "node:stream/consumers";
import { pack } from "tar-stream";
import { indexImageTar } from "../../agent/image-tar.ts";
import { decodePolicy } from "../../controller/policy.ts";
import { decodeInventory } from "../../controller/recovery/inventory.ts";
import { Journal, type JournalHead } from "../../controller/recovery/journal.ts";
import { knownHostsFor } from "../../controller/recovery/known-hosts.ts";
import { parseSettings } from "../../controller/recovery/engine-setup/stored-setup.ts";
import { decodeClusterFile } from "../../shared/contract/cluster-file.ts";
import { parseJsonText } from "../../shared/json-text.ts";
import { generateAgeIdentity } from "../../shared/repository/age.ts";
import { decodeControllerKey } from "../../shared/repository/controller-key.ts";
import { ExtentList, isReadableExtents, toManifestExtents } from "../../shared/repository/extent-records.ts";
import { extentSchema } from "../../shared/repository/manifest.ts";
import { decodeIdentityFile, encodeIdentityFile } from "../../shared/repository/identity-file.ts";
import { generateSigningKeyPair, publicKeyOf, verifyPayload } from "../../shared/repository/signature.ts";
import { decodeCredentials, parseLocation } from "../../shared/store/location.ts";
import { json, textOf, utf8, type Decoder } from "./decoder.ts";

const place = "the input";
const repositoryId = "0123456789abcdef0123456789abcdef";
const time = "2026-11-21T03:00:00.000Z";
const root = generateSigningKeyPair();

/** The caller ends it: it keeps files. */
export async function fileDecoders(): Promise<{ decoders: Decoder[]; end: () => Promise<void> }> {
  const folder = await mkdtemp(join(tmpdir(), "skep-fuzz-files-"));
  const decoders = [
    ...(await keyDecoders()),
    ...yamlDecoders(),
    ...storeDecoders(),
    ...stateDecoders(folder, await smallTar()),
  ];
  return { decoders, end: () => rm(folder, { recursive: true }) };
}

async function smallTar(): Promise<Uint8Array> {
  const tar = pack();
  tar.entry({ name: "blobs/sha256/ab" }, "layer");
  tar.entry({ name: "manifest.json" }, "[]");
  tar.finalize();
  return await buffer(tar);
}

/** A key that was taken must be one: what uses it later knows no refusal. */
async function keyDecoders(): Promise<Decoder[]> {
  const pair = await generateAgeIdentity();
  const identity = encodeIdentityFile({
    ...{ repositoryId, name: "anna", createdAt: time, ...pair },
    ...{ rootPrivateKey: root.privateKey, rootPublicKey: root.publicKey },
  });
  const opensOnly = identity.replace(/# root signing key: .*\n/, "");
  const controller = {
    ...{ format: 1, repositoryId, rootPublicKey: root.publicKey },
    ...{ repositoryKey: randomBytes(32).toString("base64"), signingKey: generateSigningKeyPair().privateKey },
  };
  const unsigned = { payload: "", signature: Buffer.alloc(64).toString("base64") };
  const usable = (publicKey: string): void => {
    try {
      verifyPayload("skep/v1 job", unsigned, publicKey, place);
    } catch (error) {
      if ((error as { code?: unknown }).code !== "SKEP_SIGNATURE_INVALID") throw error;
    }
  };
  const decodeIdentity = (bytes: Uint8Array): unknown => {
    const file = decodeIdentityFile(textOf(bytes), place);
    usable(file.rootPublicKey);
    return file;
  };
  return [
    { name: "identity file", sample: utf8(identity), decode: decodeIdentity },
    { name: "identity file that opens only", sample: utf8(opensOnly), decode: decodeIdentity },
    {
      name: "controller key",
      sample: json(controller),
      decode: (b) => {
        const key = decodeControllerKey(textOf(b), place);
        usable(key.rootPublicKey);
        return publicKeyOf(key.signingKey);
      },
    },
  ];
}

function yamlDecoders(): Decoder[] {
  const store = { url: "s3://backups/swarm1", endpoint: "https://s3.example.com" };
  const cluster = { repository: repositoryId, rootPublicKey: root.publicKey, store, policy: { version: 1 } };
  const policy = {
    version: 1,
    schedules: [{ name: "nightly", cron: "0 3 * * *", timeZone: "Europe/Zurich", jitterSeconds: 5 }],
    select: { volumes: { include: ["*"], exclude: ["cache-*"] }, excludePaths: ["**/tmp/**"] },
    volumes: [{ match: "node1/pg*", quiesce: "stop", dump: { command: "pg_dumpall" } }],
    images: "unpullable",
    limits: { nodesAtOnce: 10, quietMinutes: 30 },
    retention: { daily: 7, lockDays: 30, timeZone: "UTC" },
  };
  const machine = { address: "192.0.2.11", role: "manager", port: 2222, jump: { address: "jump.example" } };
  const inventory = {
    version: 1,
    ssh: { user: "operator", key: "id_ed25519", sudo: true },
    registries: { "docker.io": { user: "anna", passwordFile: "password" } },
    machines: { m1: machine },
    nodes: { node1: "m1", node2: "gone" },
  };
  const asText = "version: 1\nschedules:\n  - name: nightly\n    cron: 0 3 * * *\n    timeZone: UTC\n";
  const machines = "version: 1\nmachines:\n  m1: { address: 192.0.2.11, role: manager }\nnodes:\n  node1: m1\n";
  const file = `repository: ${repositoryId}\nrootPublicKey: ${root.publicKey}\nstore:\n  url: file:///srv\npolicy:\n  version: 1\n`;
  const decodeCluster = (b: Uint8Array) => decodeClusterFile(textOf(b), place);
  return [
    { name: "skep.yaml", sample: utf8(file), decode: decodeCluster },
    { name: "skep.yaml as JSON", sample: json(cluster), decode: decodeCluster },
    { name: "policy", sample: utf8(asText), decode: (b) => decodePolicy(textOf(b), place) },
    { name: "policy as JSON", sample: json(policy), decode: (b) => decodePolicy(textOf(b), place) },
    {
      name: "policy of skep.yaml",
      sample: utf8(file),
      decode: (b) => decodePolicy(textOf(b), place, ["policy"]),
    },
    { name: "inventory", sample: utf8(machines), decode: (b) => decodeInventory(textOf(b), place) },
    { name: "inventory as JSON", sample: json(inventory), decode: (b) => decodeInventory(textOf(b), place) },
  ];
}

function storeDecoders(): Decoder[] {
  const s3 = {
    ...{ url: "s3://backups/swarm1", endpoint: "https://s3.example.com:9000", region: "eu-1", pathStyle: true },
    ...{ storageClass: "STANDARD", encryption: { type: "aws:kms", keyId: "key" }, parallel: 8 },
  };
  const credentials = { accessKeyId: "a", secretAccessKey: "b", customerKey: randomBytes(32).toString("base64") };
  const location = (b: Uint8Array) => parseLocation(parseJsonText(b));
  return [
    { name: "address of a bucket", sample: json(s3), decode: location },
    { name: "address of a folder", sample: json({ url: "file:///srv/backups" }), decode: location },
    { name: "credentials", sample: json(credentials), decode: (b) => decodeCredentials(textOf(b)) },
  ];
}

function stateDecoders(folder: string, imageTar: Uint8Array): Decoder[] {
  const head: JournalHead = {
    ...{ format: 1, mode: "raft", recoveryId: "recovery0001", repositoryId, runId: "20261121-030000-abcdef" },
    ...{ inventoryDigest: "ab".repeat(32), startedAt: time },
  };
  const events = [
    { at: time, step: "fence", event: "started" },
    { at: time, step: "fence", event: "done", result: { a: 1 } },
    { at: time, step: "join", event: "failed", error: { code: "SKEP_X", message: "why", permanent: true } },
  ];
  const extents = new ExtentList();
  extents.add(randomBytes(32), 0, 3);
  extents.add(null, 0, 9);
  return [
    {
      name: "journal of a recovery",
      sample: utf8([head, ...events].map((line) => `${JSON.stringify(line)}\n`).join("")),
      decode: async (b) => {
        await writeFile(join(folder, "journal.jsonl"), b);
        Journal.headIn(folder);
        Journal.eventsIn(folder);
        const journal = await Journal.open(folder, head);
        journal.close();
        return journal.events;
      },
    },
    {
      name: "tar of an image",
      sample: imageTar,
      decode: (b) => indexImageTar((from, to) => Promise.resolve(Buffer.from(b.subarray(from, to))), b.length),
    },
    {
      name: "extents in the cache",
      sample: extents.take(),
      decode: (b) => isReadableExtents(b, 12) && toManifestExtents(b).map((extent) => extentSchema.parse(extent)),
    },
    {
      name: "known_hosts",
      sample: utf8("host.example ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA==\n"),
      decode: (b) => knownHostsFor(textOf(b), "host.example", 22),
    },
    { name: "daemon.json of a node", sample: json({ labels: ["a=b"] }), decode: (b) => parseSettings(b, place) },
  ];
}
