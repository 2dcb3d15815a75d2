import { expect } from "chai";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { restoreDocument, restoreEndDocument } from "../../../controller/cli/restore-documents.ts";
import {
  restoreKeysRequestSchema,
  startRestoreSchema,
  type Agent,
  type Restore,
} from "../../../controller/api/schemas.ts";
import { restoreKeysSchema } from "../../../shared/contract/job.ts";
import type { TaskResult, TaskResultOf } from "../../../shared/contract/task-result.ts";
import { sealResult, type SealedResult } from "../../../shared/contract/signed-job.ts";
import { generateAgeIdentity, type AgeIdentity } from "../../../shared/repository/age.ts";
import { decodeControllerKey, type ControllerKey } from "../../../shared/repository/controller-key.ts";
import { deriveWriterKey, deriveWriterKeys, type WriterKeys } from "../../../shared/repository/keys.ts";
import { decryptAge } from "../../../shared/repository/open/age.ts";
import { openSnapshot } from "../../../shared/repository/open/snapshot-reader.ts";
import { readRepositoryObject } from "../../../shared/repository/repository-reader.ts";
import { appendRun } from "../../../shared/repository/run-chain.ts";
import type { SnapshotResult } from "../../../shared/repository/snapshot.ts";
import { openStore } from "../../../shared/store/open.ts";
import { backUp, writerId } from "../../shared/repository/snapshots.ts";
import { startApiServer, type Answer, type ApiServer, type Asked } from "./api-server.ts";
import { initKit } from "./init-kit.ts";
import { runCli, type CliResult } from "./run-cli.ts";
import { samplePart, sampleRun } from "./sample-run.ts";

const older = "20261120-030000-aaaaaa";
const newer = "20261121-030000-bbbbbb";
const restoreId = "abcdefghijkl";
const jobId = `restore-${restoreId}-prepare`;
const volumeFacts = { name: "pgdata", driver: "local", options: {}, labels: {}, scope: "local" } as const;

const agent: Agent = {
  nodeId: writerId,
  hostname: "host1",
  role: "manager",
  leader: true,
  fingerprint: `SHA256:${"a".repeat(43)}`,
  state: "enrolled",
  enrolledAt: null,
  lastSeenAt: new Date().toISOString(),
  skepVersion: "0.1.0",
  engineVersion: "26.1.5",
  problems: [],
};

// The controller's API plays its part here with an agent's real keys; the store, the snapshot, the identity and the
// CLI are real. The whole with a real controller and agent is an end-to-end test.
describe("skep restore, on a living swarm", () => {
  let folder: string;
  let server: ApiServer;
  let snapshot: SnapshotResult;
  let controllerKey: ControllerKey;
  let keys: WriterKeys;
  let oneTime: AgeIdentity;
  let prepared: TaskResultOf<"restore-prepare">;
  let seal: (result: TaskResult) => SealedResult;
  let restore: Restore;

  /** How often the agent is killed once it has the keys. */
  let restarts = 0;

  before(async function () {
    this.timeout(30_000);
    folder = mkdtempSync(join(tmpdir(), "skep-restore-"));
    const url = `file://${folder}/store`;
    await initKit(folder);
    controllerKey = decodeControllerKey(readFileSync(join(folder, "kit", "controller.key"), "utf8"), "key");
    const { repositoryId } = controllerKey;
    const repositoryKey = Buffer.from(controllerKey.repositoryKey, "base64");
    keys = deriveWriterKeys(deriveWriterKey(repositoryKey, repositoryId, writerId), repositoryId);
    const store = openStore({ url }, null);
    const source = join(folder, "source");
    mkdirSync(source);
    writeFileSync(join(source, "rows"), "one row\n".repeat(10_000));
    const repositoryObject = await readRepositoryObject(store, controllerKey.rootPublicKey);
    const place = {
      path: folder,
      storePath: join(folder, "store"),
      source,
      cachePath: join(folder, "cache.sqlite"),
      store,
    };
    const identityFile = null as never;
    snapshot = await backUp(
      { ...place, made: { repositoryObject, controllerKey, identityFile }, remove: () => Promise.resolve() },
      { runId: older, volume: "pgdata" },
    );
    const { manifest, refs, totals } = snapshot;
    const part = samplePart({
      kind: "volume",
      name: "host1/pgdata",
      nodeId: writerId,
      hostname: "host1",
      volume: volumeFacts,
    });
    const whole = { ...part, manifest, refs, totals, epoch: 1 };
    const error = { code: "SKEP_SOURCE_VOLUME_GONE" as const, message: "volume pgdata is gone", permanent: true };
    await appendRun(store, controllerKey, 1, sampleRun(older, { status: "done", parts: [whole] }));
    await appendRun(store, controllerKey, 1, sampleRun(newer, { parts: [{ ...part, status: "failed", error }] }));
    await store.close();
    server = await startApiServer(join(folder, "kit"), answer);
  });
  beforeEach(async () => {
    server.asked.length = 0;
    restarts = 0;
    oneTime = await generateAgeIdentity();
    prepared = {
      kind: "restore-prepare",
      recipient: oneTime.recipient,
      target: "exists",
      freeBytes: 1 << 30,
      usedBy: [],
    };
    seal = (result) => sealResult(jobId, result, writerId, keys.result);
    restore = {
      restoreId,
      state: "preparing",
      runId: older,
      nodeId: writerId,
      volume: "pgdata",
      toNodeId: writerId,
      targetName: "pgdata",
      stop: false,
      startedAt: "2026-11-21T08:00:00.000Z",
      endedAt: null,
      heldServices: [],
    };
  });
  after(async () => {
    await server.close();
    rmSync(folder, { recursive: true });
  });

  function answer({ method, path, body }: Asked): Answer {
    if (path === "/v1/agents") return { body: { agents: [agent] } };
    if (path === "/v1/restores") {
      restore = { ...restore, ...startRestoreSchema.parse(JSON.parse(body)), state: "preparing" };
      delete restore.error;
      return { status: 202, body: { restoreId } };
    }
    if (path.endsWith("/keys") && restarts-- > 0) restore = { ...restore, state: "failed", error: keysGone };
    else if (path.endsWith("/keys")) restore = { ...restore, state: "restoring" };
    else if (path.endsWith("/undo"))
      restore = { ...restore, state: "undone", result: { kind: "restore-undo", volume: "pgdata" } };
    else if (path.endsWith("/discard")) {
      restore = {
        ...restore,
        state: "discarded",
        result: { kind: "restore-discard", volume: "pgdata", freedBytes: 4096 },
      };
    } else if (method === "GET" && restore.state === "preparing") {
      restore = { ...restore, state: "prepared", prepared: { jobId, sealedResult: seal(prepared) } };
    } else if (method === "GET" && restore.state === "restoring") {
      const result = { files: 1, directories: 1, restoredBytes: 80_000, keptOld: true, warnings: [] };
      restore = { ...restore, state: "done", result: { kind: "restore-volume", ...result } };
    }
    return { body: restore };
  }
  const keysGone = {
    code: "SKEP_RESTORE_KEYS_GONE" as const,
    message: "the one-time key is not here: the agent was restarted",
    permanent: true,
    hint: "begin anew",
  };
  const cli = (...argv: string[]): Promise<CliResult> =>
    runCli(["restore", ...argv, "--kit", "kit", "--api", server.url], { cwd: folder });
  const postedKeys = (): Asked[] => server.asked.filter(({ path }) => path.endsWith("/keys"));

  it("hands credentials that may read to the agent, sealed with the keys and nowhere else", async () => {
    const credentials = { accessKeyId: "READER", secretAccessKey: "the-secret-of-the-reader" };
    writeFileSync(join(folder, "reader.json"), JSON.stringify(credentials));
    const { code, stdout, stderr } = await cli("volume", "host1/pgdata", "--yes", "--read-credentials", "reader.json");
    expect(code, stderr).to.equal(0);
    const { sealedKeys } = restoreKeysRequestSchema.parse(JSON.parse(postedKeys()[0]?.body ?? ""));
    const plain = await decryptAge(Buffer.from(sealedKeys, "base64"), [oneTime.identity], "keys");
    expect(restoreKeysSchema.parse(JSON.parse(plain.toString("utf8"))).readCredentials).to.deep.equal(credentials);
    const said = stdout + stderr + server.asked.map(({ body }) => body).join();
    expect(said).to.not.contain(credentials.secretAccessKey);
  });

  it("begins anew, and says so, when the agent was killed in the middle", async () => {
    restarts = 2;
    const { code, stdout, stderr } = await cli("volume", "host1/pgdata", "--yes");
    expect(code, stderr).to.equal(0);
    expect(postedKeys()).to.have.length(3);
    expect(stderr.match(/the agent of host1 was restarted.*beginning anew/g)).to.have.length(2);
    expect(stdout).to.contain(`host1/pgdata is as it was in run ${older}`);
  });

  it("gives up where the agent is killed every time", async () => {
    restarts = 99;
    const { code, stderr } = await cli("volume", "host1/pgdata", "--yes");
    expect(code).to.equal(1);
    expect(postedKeys()).to.have.length(3);
    expect(stderr).to.contain("SKEP_RESTORE_KEYS_GONE");
  });

  it("hands over just the keys that open this snapshot, sealed to the agent's one-time recipient", async () => {
    const { code, stdout, stderr } = await cli("volume", "host1/pgdata", "--yes");
    expect(code, stderr).to.equal(0);
    const [posted] = postedKeys();
    expect(posted?.path).to.equal(`/v1/restores/${restoreId}/keys`);
    const { sealedKeys } = restoreKeysRequestSchema.parse(JSON.parse(posted?.body ?? ""));
    const plain = await decryptAge(Buffer.from(sealedKeys, "base64"), [oneTime.identity], "keys");
    const restoreKeys = restoreKeysSchema.parse(JSON.parse(plain.toString("utf8")));
    const store = openStore({ url: `file://${folder}/store` }, null);
    const { manifest, refs } = snapshot;
    const place = { store, repositoryId: controllerKey.repositoryId, writerId, manifest, refs, keys: restoreKeys };
    const opened = await openSnapshot(place);
    const paths: (string | undefined)[] = [];
    for await (const { path } of opened.entries()) paths.push(path);
    opened.close();
    await store.close();
    expect(paths).to.deep.equal(["", "rows"]);
    expect(stdout).to.contain(`host1/pgdata is as it was in run ${older}`);
    expect(stderr).to.contain(`skep restore undo ${restoreId}`).and.contain(`skep restore discard ${restoreId}`);
    for (const secret of [...Object.values(restoreKeys.packs), restoreKeys.manifest, restoreKeys.sealKey]) {
      expect(stdout + stderr + server.asked.map(({ body }) => body).join()).to.not.contain(secret);
    }
  });

  it("takes the newest run that has the volume, and says which it passed over", async () => {
    const { stdout, stderr } = await cli("volume", "host1/pgdata", "--yes", "--json");
    const { plan, result } = restoreDocument.parse(JSON.parse(stdout));
    expect(plan.runId).to.equal(older);
    expect(plan.source).to.deep.equal({ nodeId: writerId, hostname: "host1", volume: "pgdata" });
    expect(result).to.include({ kind: "restore-volume", restoredBytes: 80_000 });
    expect(stderr).to.contain(`run ${newer} is newer, but has no snapshot of host1/pgdata`);
    const exact = await cli("volume", "host1/pgdata", "--yes", "--run", newer);
    expect(exact.code).to.equal(1);
    expect(exact.stderr).to.contain("SKEP_RESTORE_NO_SNAPSHOT").and.contain("volume pgdata is gone");
    expect((await cli("volume", "host1/nope", "--yes")).stderr).to.contain("SKEP_RESTORE_NO_SNAPSHOT");
  });

  it("shows the plan before it asks, and does nothing where nobody can be asked", async () => {
    prepared = { ...prepared, target: "missing" };
    const { code, stderr } = await cli("volume", "host1/pgdata", "--as", "pgdata-old");
    expect(code).to.equal(1);
    expect(stderr).to.contain("SKEP_CLI_UNCONFIRMED").and.contain("--yes");
    expect(stderr)
      .to.match(/restore +host1\/pgdata\n/)
      .and.match(/to +volume pgdata-old on host1\n/);
    expect(stderr)
      .to.match(/from +run 20261120-030000-aaaaaa, taken/)
      .and.match(/size +78\.1 KiB in 1 file; 1 GiB are free/);
    expect(postedKeys()).to.deep.equal([]);
  });

  it("gives no key to a recipient that the agent did not make", async () => {
    const forger = await generateAgeIdentity();
    const forged = sealResult(jobId, { ...prepared, recipient: forger.recipient }, writerId, Buffer.alloc(32));
    const otherNode = deriveWriterKeys(
      deriveWriterKey(Buffer.from(controllerKey.repositoryKey, "base64"), controllerKey.repositoryId, "node2"),
      controllerKey.repositoryId,
    );
    const attempts: ((result: TaskResult) => SealedResult)[] = [
      () => forged,
      // Another agent, with its own right key, that answers in this one's place.
      (result) => sealResult(jobId, result, "node2", otherNode.result),
      // A former answer of the right agent, put here by who owns the queue.
      (result) => sealResult("restore-zzzzzzzzzzzz-prepare", result, writerId, keys.result),
    ];
    for (const forge of attempts) {
      restore = { ...restore, state: "preparing" };
      seal = forge;
      const { code, stderr } = await cli("volume", "host1/pgdata", "--yes");
      expect(code).to.equal(1);
      expect(stderr).to.match(/SKEP_RESULT_INVALID|SKEP_API_ANSWER_INVALID/);
      expect(postedKeys()).to.deep.equal([]);
    }
  });

  it("refuses while the volume is used, and holds services only with --stop", async () => {
    prepared = { ...prepared, usedBy: [{ container: "db.1.xyz", serviceId: "svc1" }] };
    const refused = await cli("volume", "host1/pgdata", "--yes");
    expect(refused.code).to.equal(1);
    expect(refused.stderr).to.contain("SKEP_RESTORE_VOLUME_IN_USE").and.contain("db.1.xyz").and.contain("--stop");
    expect(server.asked.at(-1), "it stands in nobody's way").to.include({ path: `/v1/restores/${restoreId}/discard` });
    restore = { ...restore, state: "preparing" };
    const held = await cli("volume", "host1/pgdata", "--yes", "--stop");
    expect(held.code, held.stderr).to.equal(0);
    restore = { ...restore, state: "preparing" };
    prepared = { ...prepared, usedBy: [{ container: "by-hand", serviceId: null }] };
    server.asked.length = 0;
    const plain = await cli("volume", "host1/pgdata", "--yes", "--stop");
    expect(plain.code).to.equal(1);
    expect(plain.stderr).to.contain("by-hand").and.contain("stop these containers");
    expect(postedKeys()).to.deep.equal([]);
  });

  it("needs the identity itself: the kit's controller key opens no data", async () => {
    const { code, stderr } = await cli("volume", "host1/pgdata", "--yes", "--identity", "offline.txt");
    expect(code).to.equal(1);
    expect(stderr).to.contain("SKEP_CLI_FILE_UNREADABLE").and.contain("identity file");
    expect(postedKeys()).to.deep.equal([]);
  });

  it("undoes and discards, once told to", async () => {
    restore = { ...restore, state: "done" };
    const asked = await cli("discard", restoreId);
    expect(asked.stderr).to.contain("SKEP_CLI_UNCONFIRMED");
    const undone = await cli("undo", restoreId, "--yes", "--json");
    expect(undone.code, undone.stderr).to.equal(0);
    expect(restoreEndDocument.parse(JSON.parse(undone.stdout))).to.include({ volume: "pgdata", state: "undone" });
    const discarded = await cli("discard", restoreId, "--yes");
    expect(discarded.stdout).to.contain("4 KiB freed");
    expect((await cli("undo", "../x", "--yes")).stderr).to.contain("is no restore's id");
  });
});
