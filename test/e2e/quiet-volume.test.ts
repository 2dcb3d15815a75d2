// One volume made quiet, dumped, and proven so by its node's agent: on a real engine, without a controller.
import { createHash, randomBytes } from "node:crypto";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect } from "chai";
import { backup } from "../../agent/backup.ts";
import type { AgentContext, Attempt, QuietTools } from "../../agent/context.ts";
import { connectDocker, type Docker } from "../../agent/docker.ts";
import { Journal } from "../../agent/journal.ts";
import { Moments } from "../../agent/moment/moments.ts";
import { pause, unpause, unpauseOverdue } from "../../agent/quiesce/pause.ts";
import { readPauses } from "../../agent/quiesce/pause-record.ts";
import { RestoreKeyring } from "../../agent/restore-keys.ts";
import { loadDump } from "../../agent/restore-load.ts";
import type { TaskOf } from "../../shared/contract/job.ts";
import { SkepError } from "../../shared/errors.ts";
import { deriveWriterKeys } from "../../shared/repository/keys.ts";
import type { Part } from "../../shared/repository/run.ts";
import { nodeImage, redisImage } from "../lab/image.ts";
import { Lab } from "../lab/lab.ts";
import type { LabNode } from "../lab/node.ts";
import { failureOf, newRun, restoreTask, Rig, until, volumeTask } from "./agent-rig.ts";

const patient = new AbortController().signal;
const newId = (): string => randomBytes(6).toString("hex");
const image = redisImage();

describe("a volume that is made quiet", function () {
  this.timeout(240_000);
  let lab: Lab;
  let node: LabNode;
  let engine: Docker;
  let rig: Rig;
  let journal: Journal;
  let tools: QuietTools;
  let context: AgentContext;
  let dumped: { part: Part; sha256: string } | null = null;

  before(async () => {
    lab = await Lab.up({ nodes: 1, managers: 1, images: [nodeImage(), image] });
    node = lab.node("node1");
    engine = connectDocker(node.dockerSocketPath);
    rig = await Rig.make();
    journal = new Journal(join(rig.folder, "journal.sqlite"));
    tools = { journal, moments: new Moments(journal) };
    const writerId = await rig.nodeId(node);
    const { repositoryId, epoch } = rig.repository.repositoryObject;
    const writerKey = rig.writerKey(writerId);
    context = {
      ...{ docker: engine, dockerSocket: node.dockerSocketPath, hostRoot: rig.hostRoot(node), stateDir: rig.folder },
      ...{ store: rig.store, storeLocation: rig.location, credentials: rig.credentials, repositoryId, incarnation: 1 },
      ...{ writerId, writerKey, writerKeys: deriveWriterKeys(writerKey, repositoryId), epoch, mountedAt: null },
    };
    await docker("run", "-d", "--name", "cache", "-v", "data:/data", image.tag, "redis-server", "--appendonly", "yes");
    await until(async () =>
      (await node.exec(["docker", "exec", "cache", "redis-cli", "ping"])).stdout.includes("PONG"),
    );
    await docker("exec", "cache", "redis-cli", "set", "word", "kept");
  });
  after(async () => {
    journal.close();
    await lab.down();
    await rig.down();
  });

  const docker = async (...argv: string[]): Promise<string> => (await node.run(["docker", ...argv])).trim();
  const state = (): Promise<string> => docker("inspect", "--format", "{{.State.Status}}", "cache");
  const orderFor = (more: Partial<TaskOf<"pause">> = {}): TaskOf<"pause"> => ({
    ...{ kind: "pause", pauseId: newId(), volumes: ["data"], before: [] },
    deadlineAt: new Date(Date.now() + 60_000).toISOString(),
    ...more,
  });
  async function take(
    task: TaskOf<"volume"> | TaskOf<"dump">,
    onProgress: Attempt["onProgress"] = () => undefined,
  ): Promise<Part> {
    const job = rig.job(task, { kind: "node", nodeId: context.writerId });
    const attempt = { jobId: job.id, number: 1, signal: patient, onProgress };
    const result = await backup(job, task, context, tools, attempt);
    if (!("part" in result)) throw new Error(result.kind);
    return result.part;
  }
  const quietTask = (how: "pause" | "stop", id: string): TaskOf<"volume"> => ({
    ...volumeTask("data"),
    quiet: { how, id },
  });

  it("stands still while it is read, and goes on afterwards", async () => {
    const order = orderFor();
    expect((await pause(order, context, tools, patient)).paused).to.deep.equal(["cache"]);
    expect(await state()).to.equal("paused");
    const part = await take(quietTask("pause", order.pauseId));
    expect(part).to.include({ status: "done", consistency: "quiet" });
    const { quiet } = await unpause({ kind: "unpause", pauseId: order.pauseId, after: [] }, engine, journal, patient);
    expect(quiet[0]?.quietMs).to.be.above(0);
    expect(await state()).to.equal("running");
    expect(readPauses(journal)).to.deep.equal([]);
  });

  it("is partial where it was not quiet to begin with, went on meanwhile, or was used by somebody else", async () => {
    expect((await take(quietTask("pause", newId()))).error?.code).to.equal("SKEP_QUIET_BROKEN");
    expect((await take(quietTask("stop", newId()))).error?.message).to.contain("cache uses it and runs");

    const order = orderFor();
    await pause(order, context, tools, patient);
    let disturbed: Promise<unknown> | null = null;
    const disturb = (by: string[]) => (): void => {
      disturbed ??= node.run(["docker", ...by]);
    };
    // The walk waits for the disturbance, so that it comes before the last byte.
    const slow = async (by: string[]): Promise<Part> => {
      disturbed = null;
      const store = new Proxy(context.store, {
        get: (target, name): unknown => {
          const value: unknown = Reflect.get(target, name);
          if (typeof value !== "function") return value;
          if (name !== "put") return (value as (...all: unknown[]) => unknown).bind(target);
          return async (...given: unknown[]): Promise<unknown> => {
            disturb(by)();
            await disturbed;
            return (value as (...all: unknown[]) => unknown).apply(target, given);
          };
        },
      });
      const task = quietTask("pause", order.pauseId);
      await writeFile(node.hostPath("/var/lib/docker/volumes/data/_data/noise"), randomBytes(40_000_000));
      const job = rig.job(task, { kind: "node", nodeId: context.writerId });
      const attempt = { jobId: job.id, number: 1, signal: patient, onProgress: () => undefined };
      const result = await backup(job, task, { ...context, store }, tools, attempt);
      return "part" in result ? result.part : expect.fail(result.kind);
    };
    const other = await slow(["run", "-d", "--name", "other", "-v", "data:/data", image.tag, "sleep", "1000"]);
    expect(other).to.include({ status: "partial", consistency: "not-atomic" });
    expect(other.error?.message).to.contain("other");
    await docker("rm", "--force", "other");
    const awake = await slow(["unpause", "cache"]);
    expect(awake.error?.message).to.contain("cache");
    await unpause({ kind: "unpause", pauseId: order.pauseId, after: [] }, engine, journal, patient);
    expect(await state()).to.equal("running");
  });

  it("goes on after its deadline, and whenever the agent starts", async () => {
    await pause(orderFor(), context, tools, patient);
    expect(await unpauseOverdue(engine, journal, Date.now())).to.deep.equal([]);
    expect(await unpauseOverdue(engine, journal, Date.now() + 60_001)).to.deep.equal(["cache"]);
    await pause(orderFor(), context, tools, patient);
    expect(await unpauseOverdue(engine, journal, Infinity)).to.deep.equal(["cache"]);
    expect(await state()).to.equal("running");
    const late = orderFor({ deadlineAt: new Date(0).toISOString() });
    expect(await failureOf(pause(late, context, tools, patient))).to.include({ code: "SKEP_PAUSE_OVER" });
  });

  describe("of a container that is stopped", () => {
    const stop = (more: Partial<TaskOf<"pause">> = {}): TaskOf<"pause"> =>
      orderFor({ volumes: [], stops: ["data"], ...more });
    const letGo = (pauseId: string): ReturnType<typeof unpause> =>
      unpause({ kind: "unpause", pauseId, after: [] }, engine, journal, patient);
    const lives = (): Promise<string> => docker("inspect", "--format", "{{.State.StartedAt}}", "cache");
    const beside = [
      "--name",
      "beside",
      "--network",
      "container:cache",
      "--stop-timeout",
      "0",
      image.tag,
      "sleep",
      "1000",
    ];

    it("is read while nothing runs on it, and runs again with all that shares its network", async () => {
      await docker("run", "-d", ...beside);
      const before = await lives();
      const order = stop();
      expect(await pause(order, context, tools, patient)).to.deep.include({ paused: [], stopped: ["beside", "cache"] });
      expect(await state()).to.equal("exited");
      expect(readPauses(journal)[0]?.stops.every(({ sentAt }) => sentAt !== undefined)).to.equal(true);
      const part = await take(quietTask("stop", order.pauseId));
      expect(part).to.include({ status: "done", consistency: "quiet" });
      const { quiet } = await letGo(order.pauseId);
      expect(quiet.map(({ name, how }) => `${name} ${how}`)).to.deep.equal(["beside stop", "cache stop"]);
      expect(quiet.every(({ quietMs }) => quietMs > 0 && quietMs < 60_000)).to.equal(true);
      console.log(`      stopped for ${quiet.map(({ quietMs }) => `${quietMs} ms`).join(", ")}`);
      expect(await state()).to.equal("running");
      expect(await lives()).to.not.equal(before);
      expect(await docker("exec", "beside", "redis-cli", "get", "word")).to.equal("kept");
      expect(readPauses(journal)).to.deep.equal([]);
    });

    it("stays as its owner wants it, who started, removed or retired it meanwhile", async () => {
      await docker("rm", "--force", "beside");
      const started = stop();
      await pause(started, context, tools, patient);
      await docker("start", "cache");
      const by = await lives();
      expect((await take(quietTask("stop", started.pauseId))).error?.code).to.equal("SKEP_QUIET_BROKEN");
      await letGo(started.pauseId);
      expect(await lives(), "not started anew").to.equal(by);

      await docker("update", "--restart", "always", "cache");
      const retired = stop();
      await pause(retired, context, tools, patient);
      await docker("update", "--restart", "no", "cache");
      await letGo(retired.pauseId);
      expect(await state()).to.equal("exited");
      await docker("start", "cache");

      const gone = await docker("run", "-d", "-v", "data:/data", image.tag, "redis-server", "--port", "7000");
      const removed = stop();
      await pause(removed, context, tools, patient);
      await docker("rm", gone);
      const { quiet } = await letGo(removed.pauseId);
      expect(quiet).to.have.length(2);
      expect(await state()).to.equal("running");
    });

    it("is not stopped where the engine would remove it, nor anything else then", async () => {
      const one = ["run", "-d", "--rm", "--name", "once", "-v", "data:/data", "--stop-timeout", "0"];
      await docker(...one, image.tag, "sleep", "1000");
      const error = await failureOf(pause(stop(), context, tools, patient));
      expect(error).to.include({ code: "SKEP_STOP_REFUSED", permanent: true });
      expect(error.message).to.contain("container once").and.contain("--rm");
      expect(error.hint).to.contain("skep.quiesce=pause");
      expect(await state()).to.equal("running");
      expect(readPauses(journal)).to.deep.equal([]);
      await docker("rm", "--force", "once");
    });

    it("starts after the deadline, and once what was in its way is gone", async () => {
      await pause(stop(), context, tools, patient);
      expect(await unpauseOverdue(engine, journal, Date.now())).to.deep.equal([]);
      expect(await unpauseOverdue(engine, journal, Date.now() + 60_001)).to.deep.equal(["cache"]);

      const server = ["redis-server", "--appendonly", "no"];
      await docker("run", "-d", "--name", "port", "-p", "7777:6379", "-v", "data:/data", image.tag, ...server);
      const order = stop();
      await pause(order, context, tools, patient);
      await docker(
        "run",
        "-d",
        "--name",
        "taker",
        "-p",
        "7777:6379",
        "--stop-timeout",
        "0",
        image.tag,
        "sleep",
        "1000",
      );
      const error = await failureOf(letGo(order.pauseId));
      expect(error).to.include({ code: "SKEP_START_FAILED", permanent: false });
      expect(error.message).to.contain("container port").and.contain("7777");
      expect(await state(), "one does not keep the other down").to.equal("running");
      const [left] = readPauses(journal);
      expect(Date.parse(left?.deadlineAt ?? "") - Date.now()).to.be.within(1000, 60_000);
      await docker("rm", "--force", "taker");
      expect(await unpauseOverdue(engine, journal, Date.now() + 60_001)).to.deep.equal(["port"]);
      expect(readPauses(journal)).to.deep.equal([]);
      await docker("rm", "--force", "port");
    });
  });

  it("is not paused where a hook before fails, and says what the hook wrote, without secrets", async () => {
    const command = { volume: "data", container: null, user: null, timeoutSeconds: 2, onError: "fail" as const };
    const argv = ["/bin/sh", "-c", "echo password=hunter2 is wrong; exit 4"];
    const error = await failureOf(pause(orderFor({ before: [{ ...command, argv }] }), context, tools, patient));
    expect(error).to.include({ code: "SKEP_COMMAND_FAILED", permanent: true });
    expect(error.message).to.contain("ended with 4").and.contain("is wrong").and.not.contain("hunter2");
    const slow = orderFor({ before: [{ ...command, argv: ["sleep", "100"] }] });
    expect((await failureOf(pause(slow, context, tools, patient))).message).to.contain("within 2 s");
    expect(await state()).to.equal("running");
  });

  it("is dumped straight into the store, and counts only where the command ended with 0", async () => {
    const dump = (script: string): TaskOf<"dump"> => ({
      ...{ kind: "dump", runId: newRun(), load: null, maxBytesPerSecond: 0 },
      command: { volume: "data", argv: ["/bin/sh", "-c", script], container: "cache", user: null, timeoutSeconds: 60 },
    });
    const failed = await take(dump("head -c 20000000 /dev/urandom; echo no such table >&2; exit 3"));
    expect(failed).to.include({ status: "failed", stderr: "no such table\n" });
    expect(failed.manifest).to.equal(undefined);
    const part = await take(dump("redis-cli --rdb - 2>/dev/null; head -c 30000000 /dev/zero"));
    expect(part).to.include({ kind: "dump", status: "done" });
    const restored = restoreTask(part, newId(), "dump-copy");
    await rig.once(node, restored, { identityKeys: await rig.restoreKeys(part) });
    const bytes = await readFile(node.hostPath("/var/lib/docker/volumes/dump-copy/_data/dump"));
    expect(bytes.length).to.equal(part.totals?.sourceBytes).and.to.be.above(30_000_000);
    expect(bytes.subarray(0, 5).toString()).to.equal("REDIS");
    expect(bytes.includes("kept")).to.equal(true);
    dumped = { part, sha256: createHash("sha256").update(bytes).digest("hex") };
  });

  it("takes its dump back by a command, which counts only where it took all and ended with 0", async () => {
    const { part, sha256 } = dumped ?? expect.fail("no dump was taken");
    const identityKeys = await rig.restoreKeys(part);
    const { manifest, refs, nodeId: writerId, totals } = part;
    if (manifest === undefined || refs === undefined) throw new Error("no snapshot");
    const load = (script: string, more: Partial<TaskOf<"restore-load">["command"]> = {}): TaskOf<"restore-load"> => ({
      ...{ kind: "restore-load", restoreId: newId(), manifest, refs, writerId, sealedKeys: "" },
      sourceBytes: totals?.sourceBytes ?? 0,
      command: {
        ...{ volume: "data", argv: ["/bin/sh", "-c", script], container: null, user: null, timeoutSeconds: 60 },
        ...more,
      },
    });
    const refused = (task: TaskOf<"restore-load">): Promise<SkepError> =>
      failureOf(rig.once(node, task, { identityKeys }));

    const loaded = await rig.once(node, load("sha256sum > /data/loaded; echo there is more >&2"), { identityKeys });
    expect(loaded.command).to.deep.include({
      step: "load",
      container: "cache",
      exitCode: 0,
      stderr: "there is more\n",
    });
    expect(loaded.loadedBytes).to.equal(totals?.sourceBytes);
    expect(await docker("exec", "cache", "cat", "/data/loaded")).to.equal(`${sha256}  -`);

    const failed = await refused(load("cat > /dev/null; echo password=hunter2 no such table >&2; exit 3"));
    expect(failed).to.include({ code: "SKEP_LOAD_FAILED", permanent: true });
    expect(failed.message).to.contain("load in cache ended with 3").and.contain("no such table");
    expect(failed.message).to.not.contain("hunter2").and.not.contain("took only");
    const early = await refused(load("head -c 1000 > /dev/null"));
    expect(early).to.include({ code: "SKEP_LOAD_FAILED" });
    expect(early.message).to.match(/ended with 0 and took only \d+ of \d+ bytes/);
    expect((await refused(load("sleep 100", { timeoutSeconds: 2 }))).message).to.contain("did not end within 2 s");
    expect(await refused(load("true", { container: "nowhere" }))).to.include({ code: "SKEP_COMMAND_NO_CONTAINER" });
    // By an agent that was restarted since it made its one-time key.
    expect(await failureOf(rig.once(node, load("touch /data/begun")))).to.include({ code: "SKEP_LOAD_TORN" });

    // A store that gives nothing changes nothing.
    const gone = new SkepError({ code: "SKEP_STORE_UNREACHABLE", message: "the store is gone", permanent: false });
    const store = new Proxy(context.store, {
      get: (target, name): unknown => {
        const value: unknown = Reflect.get(target, name);
        if (name === "get") return () => Promise.reject(gone);
        return typeof value === "function" ? (value as (...all: unknown[]) => unknown).bind(target) : value;
      },
    });
    const byHand = (script: string, given: AgentContext, stop = new AbortController()): Promise<unknown> => {
      const onProgress = (): void => {
        stop.abort(new Error("it was stopped"));
      };
      const attempt = { jobId: "job", number: 1, signal: stop.signal, onProgress };
      return loadDump(load(script), given, { keyring: new RestoreKeyring(), identityKeys }, attempt);
    };
    expect(await failureOf(byHand("touch /data/begun", { ...context, store }))).to.include({ code: gone.code });
    // Stopped after the first bytes: what the command saw was no end of the dump.
    const torn = await failureOf(byHand("cat > /data/half", context));
    expect(torn).to.include({ code: "SKEP_LOAD_TORN", permanent: true });
    expect(torn.message).to.contain("it was stopped");
    expect(await docker("exec", "cache", "sh", "-c", "ls /data/begun 2>/dev/null || echo never")).to.equal("never");
  });

  it("is dumped by another attempt where the engine went while the command ran", async () => {
    const task = (script: string): TaskOf<"dump"> => ({
      ...{ kind: "dump", runId: newRun(), load: null, maxBytesPerSecond: 0 },
      command: { volume: "data", argv: ["/bin/sh", "-c", script], container: null, user: null, timeoutSeconds: 60 },
    });
    const broken = failureOf(take(task("head -c 3000000 /dev/zero; touch /data/dumping; sleep 100")));
    await until(async () => (await node.exec(["docker", "exec", "cache", "ls", "/data/dumping"])).code === 0);
    await node.run(["systemctl", "kill", "--kill-who=main", "--signal=KILL", "docker.service"]);
    const error = await broken;
    expect(error).to.include({ code: "SKEP_COMMAND_FAILED", permanent: false });
    expect(error.message).to.contain("dump in cache could not be run");
    await until(async () => (await node.exec(["docker", "start", "cache"])).code === 0, 60_000);
    const part = await take(task("cat /data/dumping; echo whole"));
    expect(part).to.include({ kind: "dump", status: "done" });
    expect(part.totals?.sourceBytes).to.equal(6);
  });
});
