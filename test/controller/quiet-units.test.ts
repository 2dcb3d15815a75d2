import { expect } from "chai";
import fc from "fast-check";
import {
  childrenOf,
  nextOfUnits,
  planUnits,
  unitOrder,
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
  const found = users.map((serviceId) => ({ container: `${serviceId}.1`, serviceId, labels: {} }));
  return [
    childId(runId, "volume", nodeId, name),
    { nodeId, hostname: nodeId, volume, words, faults: [], users: found, isShared: false },
  ];
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
    plain?.users.push({ container: "db", serviceId: null, labels: {} });
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

  it("run the hook of a service once, though it has two volumes", () => {
    const hook = { pre: { command: ["x"] } };
    const jobs = new Map([job("n1", "a", { group: "g", hook }), job("n1", "b", { group: "g", hook })]);
    const [unit] = planUnits(runId, jobs);
    expect(unit?.nodes[0]?.before).to.have.length(1);
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
    const jobsOf = fc.array(fc.tuple(node, words, fc.array(service, { maxLength: 2 })), { maxLength: 8 });
    fc.assert(
      fc.property(jobsOf, fc.infiniteStream(fc.nat(99)), (given, dice) => {
        const jobs = new Map(
          given.map(([nodeId, each, users], at) => job(nodeId, `v${at}`, each as VolumeWords, users)),
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
              ];
              if (unit.members.includes(id)) expect(ended(begun)).to.equal(true);
              const isEnd = id === unit.hold?.releaseId || unit.nodes.some(({ unpauseId }) => unpauseId === id);
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
