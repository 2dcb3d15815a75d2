// One volume made quiet, and proven so by its node's agent: on a real engine, without a controller.
import { randomBytes } from "node:crypto";
import { writeFile } from "node:fs/promises";
import { expect } from "chai";
import type { AgentContext, Attempt, QuietTools } from "../../agent/context.ts";
import type { Docker } from "../../agent/docker.ts";
import type { Journal } from "../../agent/journal.ts";
import { letGoDue } from "../../agent/quiesce/let-go.ts";
import { pause, unpause } from "../../agent/quiesce/pause.ts";
import { readPauses } from "../../agent/quiesce/pause-record.ts";
import type { Watches } from "../../agent/quiesce/watches.ts";
import { volumeUsers } from "../../agent/volume-use.ts";
import type { TaskOf } from "../../shared/contract/job.ts";
import type { Part } from "../../shared/repository/run.ts";
import type { LabNode } from "../lab/node.ts";
import { beforeEachPut } from "../shared/store/before-put.ts";
import { failureOf, until, volumeTask } from "./agent-rig.ts";
import { cacheImage, CacheNode, patient } from "./cache-node.ts";

const newId = (): string => randomBytes(6).toString("hex");

describe("a volume that is made quiet", function () {
  this.timeout(240_000);
  let cache: CacheNode;
  let node: LabNode;
  let engine: Docker;
  let journal: Journal;
  let tools: QuietTools;
  let context: AgentContext;

  before(async () => {
    cache = await CacheNode.up();
    ({ node, engine, journal, tools, context } = cache);
  });
  after(() => cache.down());

  const docker = (...argv: string[]): Promise<string> => cache.docker(...argv);
  const take: CacheNode["take"] = (...given) => cache.take(...given);
  const state = (): Promise<string> => docker("inspect", "--format", "{{.State.Status}}", "cache");
  const orderFor = (more: Partial<TaskOf<"pause">> = {}): TaskOf<"pause"> => ({
    ...{ kind: "pause", pauseId: newId(), volumes: ["data"], before: [] },
    deadlineAt: new Date(Date.now() + 60_000).toISOString(),
    ...more,
  });
  /** Names of containers that went on. */
  const unpauseOverdue = async (now: number): Promise<string[]> => {
    const { wentOn, faults } = await letGoDue(engine, journal, now);
    expect(faults).to.deep.equal([]);
    return wentOn;
  };
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
    // The walk waits for the disturbance, so that it comes before the last byte.
    const slow = async (by: string[]): Promise<Part> => {
      let disturbed: Promise<unknown> | null = null;
      const store = beforeEachPut(context.store, () => (disturbed ??= node.run(["docker", ...by])));
      await writeFile(node.hostPath("/var/lib/docker/volumes/data/_data/noise"), randomBytes(40_000_000));
      return take(quietTask("pause", order.pauseId), { store });
    };
    const other = await slow(["run", "-d", "--name", "other", "-v", "data:/data", cacheImage.tag, "sleep", "1000"]);
    expect(other).to.include({ status: "partial", consistency: "not-atomic" });
    expect(other.error?.message).to.contain("other");
    await docker("rm", "--force", "other");
    const awake = await slow(["unpause", "cache"]);
    expect(awake.error?.message).to.contain("cache");
    await unpause({ kind: "unpause", pauseId: order.pauseId, after: [] }, engine, journal, patient);
    expect(await state()).to.equal("running");
  });

  it("is used also by what binds its folder from the host: that stands still with the others, and breaks the quiet", async () => {
    const binds = (name: string, folder: string, options = ""): string[] => [
      ...["run", "-d", "--name", name, "--stop-timeout", "0"],
      ...["-v", `/var/lib/docker/volumes/data/_data${folder}:/d${options}`, cacheImage.tag, "sleep", "1000"],
    ];
    await docker(...binds("binds", "/below"));
    await docker(...binds("looks", "", ":ro"));
    const order = orderFor();
    expect((await pause(order, context, tools, patient)).paused.sort()).to.deep.equal(["binds", "cache"]);
    expect(await take(quietTask("pause", order.pauseId))).to.include({ status: "done", consistency: "quiet" });
    // As where another node reads it.
    const { pauseId: watchId, deadlineAt } = order;
    const prove = (): ReturnType<Watches["prove"]> => tools.watches.prove({ kind: "prove", watchId }, patient);
    const volumes = [{ volume: "data", how: "pause" as const }];
    const begin = (): ReturnType<Watches["begin"]> =>
      tools.watches.begin({ kind: "watch", watchId, volumes, deadlineAt }, engine, journal);
    await begin();
    try {
      await docker("run", "--rm", cacheImage.tag, "sleep", "2");
      expect((await prove()).broken, "by one that has nothing to do with it").to.deep.equal([]);
      await begin();
      await docker(...binds("late", ""));
      expect((await volumeUsers(engine, "data")).map(({ container }) => container)).to.include.members([
        "binds",
        "late",
      ]);
      await docker("rm", "--force", "late");
      expect((await prove()).broken[0]?.why).to.contain("began to use it");
    } finally {
      tools.watches.close(watchId);
    }
    expect(await failureOf(prove())).to.include({ code: "SKEP_QUIET_BROKEN", permanent: true });
    await unpause({ kind: "unpause", pauseId: order.pauseId, after: [] }, engine, journal, patient);
    expect((await take(quietTask("stop", newId()))).error?.message).to.match(/(binds|cache) uses it and runs/);
    const stops = orderFor({ volumes: [], stops: ["data"] });
    expect((await pause(stops, context, tools, patient)).stopped.sort()).to.deep.equal(["binds", "cache"]);
    await unpause({ kind: "unpause", pauseId: stops.pauseId, after: [] }, engine, journal, patient);
    await docker("rm", "--force", "binds", "looks");
  });

  it("goes on while the store still takes what was read, and was quiet all the same", async () => {
    await writeFile(node.hostPath("/var/lib/docker/volumes/data/_data/noise"), randomBytes(1_000_000));
    const order = orderFor();
    await pause(order, context, tools, patient);
    const slow = Promise.withResolvers<undefined>();
    const store = beforeEachPut(context.store, () => slow.promise);
    const released: ReturnType<typeof unpause>[] = [];
    const onProgress: Attempt["onProgress"] = ({ phase }) => {
      // As the controller does.
      if (phase !== "storing" || released.length > 0) return;
      released.push(unpause({ kind: "unpause", pauseId: order.pauseId, after: [] }, engine, journal, patient));
    };
    const ended = { is: false };
    const taking = take(quietTask("pause", order.pauseId), { store, onProgress }).finally(() => (ended.is = true));
    try {
      await until(async () => (await state()) === "running");
      expect(await docker("exec", "cache", "redis-cli", "set", "word", "kept")).to.equal("OK");
      expect(ended.is).to.equal(false);
    } finally {
      slow.resolve(undefined);
    }
    expect(await taking)
      .to.include({ status: "done", consistency: "quiet" })
      .and.not.have.property("moment");
    expect((await released[0])?.quiet.map(({ name, how }) => `${name} ${how}`)).to.deep.equal(["cache pause"]);
  });

  it("goes on after its deadline, and whenever the agent starts", async () => {
    await pause(orderFor(), context, tools, patient);
    expect(await unpauseOverdue(Date.now())).to.deep.equal([]);
    expect(await unpauseOverdue(Date.now() + 60_001)).to.deep.equal(["cache"]);
    await pause(orderFor(), context, tools, patient);
    expect(await unpauseOverdue(Infinity)).to.deep.equal(["cache"]);
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
      cacheImage.tag,
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

      const gone = await docker("run", "-d", "-v", "data:/data", cacheImage.tag, "redis-server", "--port", "7000");
      const removed = stop();
      await pause(removed, context, tools, patient);
      await docker("rm", gone);
      const { quiet } = await letGo(removed.pauseId);
      expect(quiet).to.have.length(2);
      expect(await state()).to.equal("running");
    });

    it("is not stopped where the engine would remove it, nor anything else then", async () => {
      const one = ["run", "-d", "--rm", "--name", "once", "-v", "data:/data", "--stop-timeout", "0"];
      await docker(...one, cacheImage.tag, "sleep", "1000");
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
      expect(await unpauseOverdue(Date.now())).to.deep.equal([]);
      expect(await unpauseOverdue(Date.now() + 60_001)).to.deep.equal(["cache"]);

      const server = ["redis-server", "--appendonly", "no"];
      await docker("run", "-d", "--name", "port", "-p", "7777:6379", "-v", "data:/data", cacheImage.tag, ...server);
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
        cacheImage.tag,
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
      expect(await unpauseOverdue(Date.now() + 60_001)).to.deep.equal(["port"]);
      expect(readPauses(journal)).to.deep.equal([]);
      await docker("rm", "--force", "port");
    });
  });

  it("is not paused where a hook before fails, and says what the hook wrote, without secrets", async () => {
    const command = { volume: "data", container: null, user: null, timeoutSeconds: 2, onError: "fail" as const };
    const argv = ["/bin/sh", "-c", "echo password=hunter2 is wrong; exit 4"];
    const first = { ...command, argv: ["/bin/sh", "-c", "redis-cli config get maxmemory >&2"] };
    const order = orderFor({ before: [first, { ...command, argv }] });
    const { fault, commands, paused } = await pause(order, context, tools, patient);
    expect(paused).to.deep.equal([]);
    expect(fault).to.include({ code: "SKEP_COMMAND_FAILED", permanent: true });
    expect(fault?.message).to.contain("ended with 4").and.contain("is wrong").and.not.contain("hunter2");
    expect(commands.map(({ exitCode, stderr, stdout }) => [exitCode, stderr, stdout])).to.deep.equal([
      [0, "maxmemory\n0\n", undefined],
      [4, "", "password=[redacted] is wrong\n"],
    ]);
    const slow = orderFor({ before: [{ ...command, argv: ["sleep", "100"] }] });
    expect((await pause(slow, context, tools, patient)).fault?.message).to.contain("within 2 s");
    expect(await state()).to.equal("running");
    expect(readPauses(journal)).to.deep.equal([]);
  });

  it("runs hooks as the user that they name, and keeps what all said where one fails", async () => {
    const command = { volume: "data", container: null, timeoutSeconds: 20, onError: "fail" as const };
    const who = { ...command, user: "1234:5678", argv: ["/bin/sh", "-c", "grep '^[UG]id' /proc/self/status >&2"] };
    const order = orderFor({ before: [who, { ...who, user: null }] });
    const { commands } = await pause(order, context, tools, patient);
    expect(commands.map(({ stderr }) => stderr.match(/\d+/g)?.slice(0, 5))).to.deep.equal([
      ["1234", "1234", "1234", "1234", "5678"],
      ["0", "0", "0", "0", "0"],
    ]);
    const failing = { ...command, user: null, argv: ["/bin/sh", "-c", "exit 5"] };
    const task = { kind: "unpause", pauseId: order.pauseId, after: [who, failing, who] } as const;
    const after = await unpause({ ...task, after: [...task.after] }, engine, journal, patient);
    expect(after.quiet.map(({ name }) => name)).to.deep.equal(["cache"]);
    expect(after.commands.map(({ exitCode }) => exitCode)).to.deep.equal([0, 5]);
    expect(after.fault).to.include({ code: "SKEP_COMMAND_FAILED" });
  });
});
