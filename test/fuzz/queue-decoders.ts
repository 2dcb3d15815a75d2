// What stands in Redis: whoever gets at it chose the bytes. What is below a signature or a MAC is tried with the right one.
import type { Redis } from "ioredis";
import { createHmac, randomBytes } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Enrolment } from "../../agent/enrolment.ts";
import { RestoreKeyring } from "../../agent/restore-keys.ts";
import { Agents } from "../../controller/agents.ts";
import { Enrolments } from "../../controller/enrolments.ts";
import { decodeFailure } from "../../controller/flow.ts";
import { RedisSide } from "../../controller/redis.ts";
import { Repository } from "../../controller/repository.ts";
import { openRestoreOrder } from "../../controller/restore-order.ts";
import { expiryOf } from "../../controller/watch.ts";
import { openJob, openResult, signJob } from "../../shared/contract/signed-job.ts";
import type { Job } from "../../shared/contract/job.ts";
import { decodeErrorMessage, encodeErrorMessage, SkepError } from "../../shared/errors.ts";
import { parseJsonText } from "../../shared/json-text.ts";
import { makeLogger } from "../../shared/log.ts";
import { encryptAge, generateAgeIdentity } from "../../shared/repository/age.ts";
import { createRepository } from "../../shared/repository/create.ts";
import { publicKeyOf, signPayload } from "../../shared/repository/signature.ts";
import { json, textOf, utf8, type Decoder } from "./decoder.ts";
import { storeOf } from "../shared/store/held-objects.ts";
import { samplePart } from "./samples.ts";

const time = "2026-11-21T03:00:00.000Z";
const now = Date.parse(time);
const runId = "20261121-030000-abcdef";
const restoreId = "restore00001";
const node = { nodeId: "node1", hostname: "host1", role: "worker", engineVersion: "28" } as const;
const command = { volume: "data", argv: ["psql"], container: null, user: null, timeoutSeconds: 60 };

/** The caller ends it: it keeps files. */
export async function queueDecoders(): Promise<{ decoders: Decoder[]; end: () => Promise<void> }> {
  const folder = await mkdtemp(join(tmpdir(), "skep-fuzz-queue-"));
  const store = storeOf(new Map());
  const made = await createRepository({ store, operatorName: "anna", now });
  const repository = await Repository.open(store, made.controllerKey);
  const decoders = [
    ...jobDecoders(repository),
    ...resultDecoders(),
    ...(await enrolmentDecoders(repository, folder)),
    ...(await restoreDecoders(repository)),
    ...plainDecoders(),
  ];
  return { decoders, end: () => rm(folder, { recursive: true }) };
}

function jobDecoders({ key, incarnation }: Repository): Decoder[] {
  const job: Job = {
    version: 1,
    id: "20261121-030000-abcdef-dump",
    repositoryId: key.repositoryId,
    incarnation,
    repositoryVersion: 1,
    target: { kind: "node", nodeId: node.nodeId },
    issuedAt: time,
    expiresAt: "2026-11-21T04:00:00.000Z",
    maxAttempts: 3,
    task: { kind: "dump", runId, command, load: command, maxBytesPerSecond: 0, absentPacks: ["0123456789abcdef"] },
  };
  const controllerPublicKey = publicKeyOf(key.signingKey);
  const expected = { controllerPublicKey, repositoryId: key.repositoryId, incarnation, nodeId: node.nodeId };
  const decode = (bytes: Uint8Array) => openJob(parseJsonText(bytes), { ...expected, isManager: false, now });
  const signed = signJob(job, key.signingKey);
  return [
    { name: "job", sample: json(signed), decode },
    {
      name: "job's payload",
      sample: json(job),
      wrap: (payload) => json(signPayload("skep/v1 job", textOf(payload), key.signingKey)),
      decode,
    },
    { name: "expiry of a job", sample: json(signed), decode: (b) => expiryOf(parseJsonText(b)) },
  ];
}

function resultDecoders(): Decoder[] {
  const key = randomBytes(32);
  const result = { kind: "volume", part: samplePart(runId) };
  const sealed = (payload: Uint8Array): Uint8Array => {
    const mac = createHmac("sha256", key)
      .update(`skep/v1 result\0node1\0${textOf(payload)}`, "utf8")
      .digest("base64");
    return json({ payload: textOf(payload), mac, writerId: "node1" });
  };
  const decode = (bytes: Uint8Array) => openResult(parseJsonText(bytes), "job-1", () => key);
  const payload = json({ jobId: "job-1", result });
  return [
    { name: "result", sample: sealed(payload), decode },
    { name: "result's payload", sample: payload, wrap: sealed, decode },
  ];
}

async function enrolmentDecoders(repository: Repository, folder: string): Promise<Decoder[]> {
  const { recipient } = await generateAgeIdentity();
  const enrolments = new Enrolments(repository, new Agents(1000), makeLogger("test", "silent"));
  const { repositoryId, rootPublicKey } = repository.key;
  const agent = await Enrolment.open({ stateDir: folder, node, repositoryId, rootPublicKey });
  const answer = await enrolments.answer(agent.request(), now);
  const accept = (bytes: Uint8Array) => agent.accept(parseJsonText(bytes));
  return [
    {
      name: "request for enrolment",
      sample: json({ nodeId: "node2", hostname: "host2", recipient, skepVersion: "0.1.0" }),
      decode: (b) => enrolments.answer(parseJsonText(b), now),
    },
    { name: "answer to an enrolment", sample: json(answer), decode: accept },
    {
      name: "grant of an enrolment",
      sample: utf8(answer.grant.payload),
      wrap: (payload) => {
        const grant = signPayload("skep/v1 job", textOf(payload), repository.key.signingKey);
        return json({ ...answer, grant });
      },
      decode: accept,
    },
  ];
}

async function restoreDecoders(repository: Repository): Promise<Decoder[]> {
  const keyring = new RestoreKeyring();
  const recipient = await keyring.recipient(restoreId, now);
  const keys = {
    manifest: randomBytes(16).toString("base64"),
    packs: { ["ab".repeat(32)]: randomBytes(16).toString("base64") },
    chunkNameKey: randomBytes(32).toString("base64"),
    sealKey: randomBytes(32).toString("base64"),
    readCredentials: { accessKeyId: "a", secretAccessKey: "b" },
  };
  const object = { key: "refs/x", sizeBytes: 1, digest: "ab".repeat(32), versionId: null };
  const order = {
    ...{ kind: "restore", restoreId, runId, nodeId: "node1", toNodeId: "node1", targetName: "data", stop: true },
    volume: { name: "data", driver: "local", options: {}, labels: {}, scope: "local" },
    ...{ startedAt: time, sourceBytes: 5, manifest: object, refs: object, load: command },
  };
  const openKeys = (sealed: Uint8Array) => keyring.open(restoreId, Buffer.from(sealed).toString("base64"));
  const openOrder = (bytes: Uint8Array) => openRestoreOrder(parseJsonText(bytes), repository);
  const sign = (payload: Uint8Array): Uint8Array =>
    json(signPayload("skep/v1 job", textOf(payload), repository.key.signingKey));
  return [
    { name: "sealed keys of a restore", sample: await encryptAge(json(keys), [recipient]), decode: openKeys },
    {
      name: "keys of a restore",
      sample: json(keys),
      wrap: (plain) => encryptAge(plain, [recipient]),
      decode: openKeys,
    },
    { name: "order of a restore", sample: sign(json(order)), decode: openOrder },
    { name: "order of a restore's payload", sample: json(order), wrap: sign, decode: openOrder },
  ];
}

function plainDecoders(): Decoder[] {
  const heartbeat = {
    ...{ nodeId: "node1", hostname: "host1", role: "manager", leader: true, skepVersion: "0.1.0" },
    ...{ engineVersion: "28.0", at: time, problems: ["none"] },
  };
  const failure = {
    error: { code: "SKEP_X", message: "why", permanent: false, hint: "now" },
    ...{ attempts: 1, startedAt: time, endedAt: time, nodeId: "node1" },
  };
  const heartbeats = async (bytes: Uint8Array): Promise<unknown> => {
    const redis = { mget: () => Promise.resolve([textOf(bytes)]) };
    return (await new RedisSide(redis as unknown as Redis).heartbeats(["node1"])).get("node1") ?? null;
  };
  const message = encodeErrorMessage(new SkepError({ code: "SKEP_X", message: "why", permanent: true }));
  return [
    { name: "heartbeat", sample: json(heartbeat), decode: heartbeats },
    { name: "failure of a job", sample: json(failure), decode: (b) => decodeFailure(textOf(b)) },
    { name: "message of a failed job", sample: utf8(message), decode: (b) => decodeErrorMessage(textOf(b)) },
  ];
}
