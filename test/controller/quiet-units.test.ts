import { expect } from "chai";
import fc from "fast-check";
import {
  childrenOf,
  nextOfUnits,
  planUnits,
  unitOrder,
  volumeTask,
  type QuietUnit,
  type UnitOrder,
} from "../../controller/quiet-units.ts";
import { mostMoments } from "../../shared/contract/job.ts";
import { childId, type VolumeJob } from "../../controller/run-plan.ts";
import type { VolumeWords } from "../../controller/volume-words.ts";

const runId = "20261121-030000-abc123";
const quiet = { now: Date.parse("2026-11-21T03:00:00.000Z"), deadlineAt: "2026-11-21T03:30:00.000Z" };

function job(nodeId: string, name: string, words: VolumeWords, users: string[] = []): [string, VolumeJob] {
  const volume = { name, driver: "local", options: {}, labels: {}, scope: "local" as const };
  const found = users.map((serviceId) => ({ nodeId, container: `${serviceId}.1`, serviceId, uses: "all" as const }));
  const views = [{ nodeId, hostname: nodeId, name }];
  const rest = { faults: [], speakers: {}, users: found, missing: [], isShared: false, views, unasked: [] };
  return [childId(runId, "volume", nodeId, name), { nodeId, hostname: nodeId, volume, words, ...rest }];
}
const members = (units: QuietUnit[], jobs: Map<string, VolumeJob>): string[][] =>
  units.map((unit) => unit.members.map((id) => jobs.get(id)?.volume.name ?? "").sort()).sort();

describe("the units of quiet in a run", () => {
  it("are the volumes of a group, and those that a service which is made quiet shares", () => {
    const jobs = new Map([
      job("n1", "a", { group: "g", quiesce: "pause" }, ["s1"]),
      job("n2", "b", { group: "g" }),
      job("n1", "c", { quiesce: "stop" }, ["s2"]),
      job("n2", "d", { quiesce: "stop" }, ["s2", "s3"]),
      job("n3", "e", { quiesce: "pause" }, ["s3"]),
      job("n3", "plain", {}, ["s3"]),
      job("n3", "dump", { quiesce: "stop", dump: { command: ["x"] } }, ["s4"]),
    ]);
    const units = planUnits(runId, jobs);
    expect(members(units, jobs)).to.deep.equal([
      ["a", "b"],
      ["c", "d", "e"],
    ]);
    const wide = units.find(({ hold }) => hold !== null);
    expect(wide?.hold?.serviceIds).to.deep.equal(["s2", "s3"]);
    expect(wide?.nodes.map(({ nodeId, volumes }) => [nodeId, volumes])).to.deep.equal([["n3", ["e"]]]);
  });

  it("stop containers of no service on their node, and services on a manager", () => {
    const jobs = new Map([
      job("n1", "a", { quiesce: "stop", group: "g" }),
      job("n2", "b", { quiesce: "stop" }, ["s1"]),
    ]);
    const plain = jobs.get(childId(runId, "volume", "n1", "a"));
    plain?.users.push({ nodeId: "n1", container: "db", serviceId: null, uses: "all" });
    const units = planUnits(runId, jobs);
    expect(members(units, jobs)).to.deep.equal([["a"], ["b"]]);
    const told = units.flatMap((unit) =>
      childrenOf(unit).map(({ id }) => {
        const order = unitOrder(units, id, quiet, [], []);
        return [order?.nodeId ?? "managers", order?.task.kind, order?.task.kind === "pause" ? order.task.stops : null];
      }),
    );
    expect(told).to.have.deep.members([
      ["n1", "pause", ["a"]],
      ["n1", "unpause", null],
      ["managers", "hold", null],
      ["managers", "release", null],
    ]);
  });

  it("run a hook where the label is that says it, and a dump and its load too", () => {
    const dump = { command: ["dump"] };
    const [id, plain] = job("n1", "a", { hook: { pre: { command: ["x"] } }, dump, load: dump }, ["web", "db"]);
    const db = { name: "db", nodeIds: ["n2"] };
    const views = ["n1", "n2"].map((nodeId) => ({ nodeId, hostname: nodeId, name: "a" }));
    const said: VolumeJob = { ...plain, views, speakers: { hook: db, dump: db, load: db } };
    const [unit] = planUnits(runId, new Map([[id, said]]));
    expect(unit?.nodes.map(({ nodeId, before }) => [nodeId, before[0]?.saidBy])).to.deep.equal([["n2", "db"]]);
    const taskOf = (of: VolumeJob) => volumeTask(of, null, [], { runId, maxBytesPerSecond: 0, absentPacks: [] });
    expect(taskOf(said)).to.deep.include.keys("command", "load");
    const places = (of: VolumeJob): (string | null | undefined)[] => {
      const task = taskOf(of);
      return task.kind === "dump" ? [task.command.saidBy, task.load?.saidBy, task.command.container] : [];
    };
    expect(places(said)).to.deep.equal(["db", "db", null]);
    const named = { ...said, words: { ...said.words, dump: { ...dump, container: "tools" } } };
    expect(places(named)).to.deep.equal([undefined, "db", "tools"]);
    const alone = { ...said, users: [{ nodeId: "n2", container: "db", serviceId: null, uses: "all" as const }] };
    expect(places(alone), "one that may be called otherwise by the day of the restore").to.deep.equal([
      "db",
      undefined,
      null,
    ]);
  });

  it("stop a service that should run and does not, too", () => {
    const [id, restarting] = job("n1", "a", { quiesce: "stop" });
    const missing = [{ serviceId: "s1", name: "db" }];
    const jobs = new Map([[id, { ...restarting, missing }], job("n2", "b", { quiesce: "stop" }, ["s1"])]);
    const units = planUnits(runId, jobs);
    expect(members(units, jobs)).to.deep.equal([["a", "b"]]);
    expect(units[0]?.hold?.serviceIds).to.deep.equal(["s1"]);
  });

  it("are quiet on all nodes that share a volume, and prepare a program where it runs", () => {
    const [id, one] = job("n1", "media", { quiesce: "pause", hook: { pre: { command: ["x"] } } });
    const shared: VolumeJob = {
      ...one,
      isShared: true,
      views: ["n1", "n2", "n3"].map((nodeId) => ({
        nodeId,
        hostname: nodeId,
        name: nodeId === "n2" ? "films" : "media",
      })),
      users: [
        { nodeId: "n2", container: "db", serviceId: null, uses: "all" },
        { nodeId: "n3", container: "web.1", serviceId: "s1", uses: "all" },
      ],
    };
    const [pausing] = planUnits(runId, new Map([[id, shared]]));
    expect(pausing?.nodes.map(({ nodeId, volumes, before }) => [nodeId, ...volumes, before.length])).to.deep.equal([
      ["n1", "media", 0],
      ["n2", "films", 1],
      ["n3", "media", 0],
    ]);
    expect(pausing?.nodes.flatMap(({ moments }) => moments)).to.deep.equal([]);
    expect(pausing?.watches.map(({ nodeId, volumes }) => [nodeId, volumes])).to.deep.equal([
      ["n2", [{ volume: "films", how: "pause" }]],
      ["n3", [{ volume: "media", how: "pause" }]],
    ]);
    const [stopping] = planUnits(runId, new Map([[id, { ...shared, words: { quiesce: "stop" } }]]));
    expect(stopping?.nodes.map(({ nodeId, stops }) => [nodeId, ...stops])).to.deep.equal([["n2", "films"]]);
    expect(stopping?.hold?.serviceIds).to.deep.equal(["s1"]);
  });

  it("run the hook of a service once, though it has two volumes, and the same one of another service too", () => {
    const hook = { pre: { command: ["x"] } };
    const jobs = new Map([
      job("n1", "a", { group: "g", hook }, ["s1"]),
      job("n1", "b", { group: "g", hook }, ["s1"]),
      job("n1", "c", { group: "g", hook }, ["s2"]),
    ]);
    const [unit] = planUnits(runId, jobs);
    const [first, second, ...more] = unit?.nodes[0]?.before.map(({ volume }) => volume) ?? [];
    expect(["a", "b"]).to.include(first === "c" ? second : first);
    expect([first, second]).to.include("c");
    expect(more).to.deep.equal([]);
  });

  it("run the hooks after a stop of services once those were told to start, and give them time to be back", () => {
    const hook = { pre: { command: ["x"] }, post: { command: ["y"], timeout: 30 } };
    const jobs = new Map([
      job("n1", "stopped", { group: "g", quiesce: "stop", hook }, ["s1"]),
      job("n2", "paused", { group: "g", quiesce: "pause", hook }, ["s2"]),
      job("n3", "alone", { quiesce: "pause", hook }, ["s3"]),
    ]);
    const units = planUnits(runId, jobs);
    const held = new Set([...units.flatMap((unit) => unit.members), ...units.flatMap(childrenOf).map(({ id }) => id)]);
    const open = new Set(held);
    const rounds: string[][] = [];
    while (open.size > 0) {
      const nodeOf = (id: string): string => jobs.get(id)?.nodeId ?? "";
      const view = { held, open, read: new Set<string>(), nodeOf, out: new Map(), nodesAtOnce: 9, jobsPerNode: 9 };
      const { now } = nextOfUnits(units, view);
      rounds.push(
        now.map((id) => {
          const order = unitOrder(units, id, quiet, [], []);
          const { task } = order ?? {};
          if (task?.kind !== "unpause") return `${order?.nodeId ?? "managers"} ${task?.kind ?? "volume"}`;
          return `${order?.nodeId} unpause, ${task.after.length} after, ${task.backSeconds ?? 0} s`;
        }),
      );
      for (const id of now) for (const set of [held, open]) set.delete(id);
    }
    expect(rounds.flatMap((round, at) => round.map((told) => `${at} ${told}`))).to.have.members([
      ...["0 n1 pause", "0 n2 pause", "1 managers hold", "2 managers volume", "2 managers volume"],
      ...["3 managers release", "3 n1 unpause, 0 after, 0 s", "3 n2 unpause, 0 after, 0 s"],
      ...["4 n1 unpause, 1 after, 300 s", "4 n2 unpause, 1 after, 300 s"],
      ...["0 n3 pause", "1 managers volume", "2 n3 unpause, 1 after, 0 s"],
    ]);
    const after = units
      .flatMap((unit) => unit.nodes)
      .find(({ nodeId, afterId }) => nodeId === "n1" && afterId !== null);
    expect(unitOrder(units, after?.afterId ?? "", quiet, [], [])?.timeoutMs).to.equal((30 + 300 + 120) * 1000);
  });

  it("tell each of their children one thing", () => {
    const jobs = new Map([job("n1", "a", { quiesce: "pause" }, ["s1"]), job("n2", "b", { quiesce: "stop" }, ["s2"])]);
    const units = planUnits(runId, jobs);
    const kinds = units.flatMap((unit) =>
      childrenOf(unit).map(({ id }) => unitOrder(units, id, quiet, [], [])?.task.kind),
    );
    expect(kinds.sort()).to.deep.equal(["hold", "pause", "release", "unpause"]);
    expect(unitOrder(units, "other", quiet, [], [])).to.equal(null);
  });

  it("want moments of no more volumes than are taken at once, and give a pause time for them until the quiet ends", () => {
    const pauseOf = (volumes: number, minutes: number): UnitOrder | null => {
      const names = Array.from({ length: volumes }, (_, i) => `v${i}`);
      const units = planUnits(runId, new Map(names.map((name) => job("n1", name, { quiesce: "pause" }, ["s1"]))));
      const deadlineAt = new Date(quiet.now + minutes * 60_000).toISOString();
      return unitOrder(units, units[0]?.nodes[0]?.pauseId ?? "", { ...quiet, deadlineAt }, [], []);
    };
    expect(pauseOf(mostMoments, 30)?.task).to.have.property("moments").with.length(mostMoments);
    expect(pauseOf(mostMoments, 30)?.timeoutMs).to.equal(22 * 60_000);
    expect(pauseOf(1, 10)?.timeoutMs).to.equal(10 * 60_000);
    expect(pauseOf(1, 1)?.timeoutMs).to.equal(2 * 60_000);
    expect(pauseOf(mostMoments + 1, 30)?.task).to.not.have.property("moments");
    expect(pauseOf(mostMoments + 1, 30)?.timeoutMs).to.equal(2 * 60_000);
  });

  it("go out in their order, end whatever fails or is slow, and never read before they are quiet", () => {
    const node = fc.constantFrom("n1", "n2", "n3");
    const words = fc.record(
      { quiesce: fc.constantFrom("none", "pause", "stop"), group: fc.constantFrom("g", "h") },
      { requiredKeys: [] },
    );
    const service = fc.constantFrom("s1", "s2", "s3");
    const users = fc.array(service, { maxLength: 2 });
    const jobsOf = fc.array(fc.tuple(node, words, users, fc.boolean()), { maxLength: 8 });
    fc.assert(
      fc.property(jobsOf, fc.infiniteStream(fc.nat(99)), (given, dice) => {
        const jobs = new Map(
          given.map(([nodeId, each, users, isShared], at) => {
            const [id, one] = job(nodeId, `v${at}`, each, users);
            const nodes = isShared ? ["n1", "n2", "n3"] : [nodeId];
            const views = nodes.map((on) => ({ nodeId: on, hostname: on, name: `v${at}` }));
            return [id, { ...one, isShared, views }];
          }),
        );
        const units = planUnits(runId, jobs);
        const own = units.flatMap(childrenOf);
        const inUnits = units.flatMap((unit) => unit.members);
        expect(new Set(inUnits).size).to.equal(inUnits.length);
        const held = new Set([...inUnits, ...own.map(({ id }) => id)]);
        const open = new Set(held);
        const read = new Set<string>();
        const ended = (ids: string[]): boolean => ids.every((id) => !open.has(id));
        const nodeOf = (id: string): string => jobs.get(id)?.nodeId ?? "";
        for (let turn = 0; open.size > 0; turn++) {
          expect(turn).to.be.below(500);
          const out = new Map<string, number>();
          for (const id of open) if (!held.has(id)) out.set(nodeOf(id), (out.get(nodeOf(id)) ?? 0) + 1);
          const { now } = nextOfUnits(units, { held, open, read, nodeOf, out, nodesAtOnce: 2, jobsPerNode: 2 });
          for (const id of now) {
            held.delete(id);
            for (const unit of units) {
              const begun = [
                ...unit.nodes.map(({ pauseId }) => pauseId),
                ...(unit.hold === null ? [] : [unit.hold.holdId]),
                ...unit.watches.map(({ watchId }) => watchId),
              ];
              if (unit.members.includes(id)) expect(ended(begun)).to.equal(true);
              const isEnd = id === unit.hold?.releaseId || unit.nodes.some(({ unpauseId }) => unpauseId === id);
              if (isEnd) expect(ended(unit.watches.map(({ proveId }) => proveId))).to.equal(true);
              if (isEnd) expect(unit.members.every((member) => !open.has(member) || read.has(member))).to.equal(true);
            }
          }
          for (const id of [...open].filter((each) => !held.has(each))) {
            const die = dice.next().value as number;
            if (die < 40) open.delete(id);
            else if (die < 60 && jobs.has(id)) read.add(id);
          }
        }
      }),
      { numRuns: 200 },
    );
  });
});
