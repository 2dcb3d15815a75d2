import { expect } from "chai";
import { UnitTaking } from "../../../../controller/cli/standalone/take-unit.ts";
import type { WorkOptions } from "../../../../controller/cli/standalone/host.ts";
import type { QuietUnit } from "../../../../controller/quiet-units.ts";
import type { TaskKind, TaskOf } from "../../../../shared/contract/job.ts";
import type { TaskResultOf } from "../../../../shared/contract/task-result.ts";
import { SkepError, toErrorRecord } from "../../../../shared/errors.ts";

const unit: QuietUnit = {
  id: "0123456789ab",
  members: ["a", "b"],
  nodes: [
    {
      ...{ nodeId: "n1", pauseId: "run-pause", unpauseId: "run-unpause", volumes: ["a"], stops: ["b"] },
      ...{ afterId: null, before: [], after: [], moments: [] },
    },
  ],
  hold: null,
  watches: [],
};
const passing = new SkepError({ code: "SKEP_START_FAILED", message: "not now", permanent: false });
const lasting = new SkepError({ code: "SKEP_STOP_REFUSED", message: "never", permanent: true });

/** Takes the unit; what was ordered, in order. */
async function take(
  given: {
    pause?: Error;
    unpause?: Error[];
    read?: boolean;
    interrupt?: boolean;
    isManager?: boolean;
    unit?: QuietUnit;
  } = {},
): Promise<{ said: string[]; orders: TaskOf<"hold">[]; taking: UnitTaking; error: unknown }> {
  const said: string[] = [];
  const orders: TaskOf<"hold">[] = [];
  const stop = new AbortController();
  const slow = Promise.withResolvers<undefined>();
  const taking = new UnitTaking({
    ...{ nodeId: "n1", isManager: given.isManager ?? false, sharedVolumes: ["nfs"], quietMs: 60_000 },
    ...{ excludePaths: [], signal: stop.signal, warn: () => undefined },
    work: <K extends TaskKind>(kind: K, task: TaskOf<K>): Promise<TaskResultOf<K>> => {
      if (kind === "hold") orders.push(task as TaskOf<"hold">);
      said.push(kind === "pause" ? `pause ${JSON.stringify((task as TaskOf<"pause">).stops)}` : kind);
      const fault = kind === "pause" ? given.pause : given.unpause?.shift();
      if (kind === "unpause" && fault === undefined) slow.resolve(undefined);
      if (fault !== undefined) return Promise.reject(fault);
      const result =
        kind === "pause" ? { kind, paused: [], stopped: [], commands: [] } : { kind, quiet: [], commands: [] };
      return Promise.resolve(result as unknown as TaskResultOf<K>);
    },
    takeVolume: async (id, onRead) => {
      said.push(`take ${id}`);
      await Promise.resolve();
      if (given.interrupt === true && id === "a") throw stop.signal.reason ?? new Error("interrupted");
      if (given.read === true) {
        said.push(`read ${id}`);
        onRead();
        await slow.promise;
      }
      said.push(`stored ${id}`);
      const failure = { error: toErrorRecord(lasting), attempts: 1, startedAt: "", endedAt: "", nodeId: "n1" };
      return { state: "failed", failure };
    },
  });
  try {
    await taking.take(given.unit ?? unit);
    return { said, orders, taking, error: null };
  } catch (error) {
    return { said, orders, taking, error };
  }
}

describe("a unit that a standalone run takes", () => {
  it("is quiet before its first volume, and goes on once all are read, though not all is stored", async () => {
    const { said, taking } = await take({ read: true });
    expect(said[0]).to.equal('pause ["b"]');
    expect(said.slice(1, 6)).to.have.members(["take a", "take b", "read a", "read b", "unpause"]);
    expect(said[5]).to.equal("unpause");
    expect(said.slice(6)).to.have.members(["stored a", "stored b"]);
    expect(taking.open("run-pause", "pause", "n1")?.state).to.equal("done");
    expect(taking.open("run-pause", "unpause", "n1"), "of another kind").to.equal(null);
    expect([...taking.volumes.keys()]).to.have.members(["a", "b"]);
  });

  it("has its services stopped on a manager alone, after the pause, and told to run again before anything else", async () => {
    const hold = { holdId: "run-hold", releaseId: "run-release", serviceIds: ["db"] };
    const held = { ...unit, hold };
    const { said, orders, taking } = await take({ isManager: true, unit: held });
    expect(said.slice(0, 2)).to.deep.equal(['pause ["b"]', "hold"]);
    expect(said.slice(-2)).to.deep.equal(["release", "unpause"]);
    expect(orders[0]).to.deep.include({
      holdId: unit.id,
      serviceIds: ["db"],
      sharedVolumes: ["nfs"],
      allOrNone: false,
    });
    expect(taking.open("run-release", "release", null)?.state).to.equal("done");
    expect((await take({ unit: held })).said)
      .to.not.include("hold")
      .and.not.include("release");
    const { said: broken, error } = await take({ isManager: true, unit: held, interrupt: true });
    expect(error).to.be.instanceOf(Error);
    expect(broken).to.include("release");
  });

  it("is taken as it is where it can't be made quiet, and let go all the same", async () => {
    const { said, taking, error } = await take({ pause: lasting });
    expect(error).to.equal(null);
    expect(said.at(-1)).to.equal("unpause");
    const pause = taking.open("run-pause", "pause", "n1");
    expect(pause?.state === "failed" && pause.failure.error.code).to.equal("SKEP_STOP_REFUSED");
  });

  it("is let go again where that failed and may succeed, and says so where it does not", async () => {
    const { said } = await take({ unpause: [passing] });
    expect(said.filter((each) => each === "unpause")).to.have.length(2);
    const { taking } = await take({ unpause: [lasting] });
    expect(taking.open("run-unpause", "unpause", "n1")?.state).to.equal("failed");
  });

  it("is let go before an interruption is passed on", async () => {
    const { said, error } = await take({ interrupt: true });
    expect(error).to.be.instanceOf(Error);
    expect(said).to.include("unpause").and.include("stored b");
  });

  it("has its hooks' counterparts run when it is interrupted, during the pause or later", async () => {
    for (const at of ["pause", "volume"]) {
      const stop = new AbortController();
      const said: string[] = [];
      const hook = { container: "1", argv: ["sh"], onError: "fail", timeoutSeconds: 1 };
      const after = [hook] as unknown as QuietUnit["nodes"][number]["after"];
      const taking = new UnitTaking({
        ...{
          nodeId: "n1",
          isManager: false,
          sharedVolumes: [],
          quietMs: 60_000,
          excludePaths: [],
          signal: stop.signal,
          warn: () => undefined,
        },
        work: <K extends TaskKind>(kind: K, _task: TaskOf<K>, { signal }: WorkOptions): Promise<TaskResultOf<K>> => {
          said.push(kind);
          if (at === "pause") stop.abort(lasting);
          signal?.throwIfAborted();
          return Promise.resolve({ kind } as unknown as TaskResultOf<K>);
        },
        takeVolume: () => {
          said.push("take");
          stop.abort(lasting);
          return Promise.reject(lasting);
        },
      });
      const nodes = unit.nodes.map((node) => ({ ...node, after }));
      const error: unknown = await taking.take({ ...unit, nodes }).catch((thrown: unknown) => thrown);
      expect(error).to.equal(lasting);
      expect(said).to.deep.equal(at === "pause" ? ["pause", "unpause"] : ["pause", "take", "take", "unpause"]);
    }
  });

  describe("with hooks after, interrupted while its services are awaited gone", () => {
    const hook = { volume: "data", container: "1", argv: ["sh"], onError: "fail", timeoutSeconds: 1 };
    const after = [hook] as unknown as QuietUnit["nodes"][number]["after"];
    const held: QuietUnit = {
      ...unit,
      nodes: unit.nodes.map((node) => ({ ...node, after, afterId: "run-after" })),
      hold: { holdId: "run-hold", releaseId: "run-release", serviceIds: ["db"] },
    };
    /** `answer`: of an order by its kind, or "after"; null: none ever. */
    const interrupted = async (
      answer: (order: string) => unknown,
    ): Promise<{ said: string[]; warned: string[]; error: unknown }> => {
      const stop = new AbortController();
      const said: string[] = [];
      const warned: string[] = [];
      const taking = new UnitTaking({
        ...{ nodeId: "n1", isManager: true, sharedVolumes: [], quietMs: 60_000, excludePaths: [], graceMs: 200 },
        signal: stop.signal,
        warn: (text) => warned.push(text),
        work: async <K extends TaskKind>(
          kind: K,
          task: TaskOf<K>,
          { signal }: WorkOptions,
        ): Promise<TaskResultOf<K>> => {
          const isAfter = kind === "unpause" && (task as TaskOf<"unpause">).after.length > 0;
          const order = isAfter ? "after" : kind;
          said.push(order);
          if (kind === "hold") stop.abort(lasting);
          const given = kind === "hold" ? null : answer(order);
          if (given !== null) return given as TaskResultOf<K>;
          const { promise, reject } = Promise.withResolvers<never>();
          const end = (): void => {
            reject(signal?.reason as Error);
          };
          if (signal?.aborted === true) end();
          signal?.addEventListener("abort", end);
          return await promise;
        },
        takeVolume: () => Promise.reject(new Error("nothing is to be read")),
      });
      const error: unknown = await taking.take(held).catch((thrown: unknown) => thrown);
      return { said, warned, error };
    };
    const ended = { kind: "unpause", quiet: [], commands: [] };

    it("has them run though the release took all of its own time", async () => {
      const { said, warned, error } = await interrupted((order) => (order === "release" ? null : { ...ended }));
      expect(said).to.deep.equal(["pause", "hold", "release", "unpause", "after"]);
      expect(error).to.equal(lasting);
      expect(warned).to.have.length(1);
      expect(warned[0]).to.contain("hooks after of data run first");
    });

    it("says what was not run, and why", async () => {
      const fault = { code: "SKEP_COMMAND_NOT_BACK", message: "db is starting", permanent: true };
      const failing = await interrupted((order) => (order === "after" ? { ...ended, fault } : { ...ended }));
      expect(failing.warned[1]).to.match(/^hooks after of data, .*SKEP_COMMAND_NOT_BACK: db is starting/);
      const refused = await interrupted((order) => (order === "after" ? Promise.reject(lasting) : { ...ended }));
      expect(refused.warned[1]).to.match(/^hooks after of data, .*SKEP_STOP_REFUSED: never/);
      expect(refused.error).to.equal(lasting);
    });
  });
});
