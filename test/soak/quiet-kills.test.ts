// Agents, controller and Redis are killed, and nodes lose their power, at random moments of runs that make volumes quiet.
// However a run ends: no service is left stopped, paused or scaled wrong. SKEP_SOAK_ROUNDS says how many rounds (50),
// SKEP_SOAK_SEED repeats a sequence.
import { randomInt } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { expect } from "chai";
import type { BackupDocument } from "../../controller/cli/documents.ts";
import { until } from "../e2e/agent-rig.ts";
import { Cluster } from "../e2e/cluster.ts";
import { QuietEstate, type QuietService } from "./quiet-estate.ts";

const rounds = Number(process.env["SKEP_SOAK_ROUNDS"] ?? 50);
const seed = Number(process.env["SKEP_SOAK_SEED"] ?? randomInt(2 ** 31));
/** Each volume: read in a second or two, so that there is a quiet to be killed in. */
const volumeBytes = 3_000_000;
const policy = `version: 1
select:
  volumes:
    include: ["quiet-*"]
limits:
  bytesPerSecondPerNode: 3000000
  quietMinutes: 1
`;
/** A node without power is switched on again after at most this. */
const longestDarkMs = 8000;
const services: readonly QuietService[] = [
  { name: "stopped", nodes: ["node2"], options: ["--replicas", "2"], labels: ["skep.quiesce=stop"] },
  {
    name: "everywhere",
    nodes: ["node1", "node2", "node3"],
    options: ["--mode", "global"],
    labels: ["skep.quiesce=stop"],
  },
  { name: "paused", nodes: ["node1"], options: [], labels: ["skep.quiesce=pause"] },
  { name: "left", nodes: ["node1"], options: [], labels: ["skep.group=pair", "skep.quiesce=stop"] },
  { name: "right", nodes: ["node3"], options: [], labels: ["skep.group=pair", "skep.quiesce=pause"] },
];

describe("a run that makes volumes quiet, killed at random", function () {
  this.timeout(rounds * 480_000 + 300_000);
  let cluster: Cluster;
  let estate: QuietEstate;
  /** How long a run takes that nobody disturbs. */
  let runMs = 0;

  before(async () => {
    const stack = { SKEP_REDIS_PLACEMENT: "node.hostname == node1" };
    cluster = await Cluster.up({ nodes: 3, managers: 3, policy, stack });
    await cluster.deploy();
    await cluster.ready();
    estate = await QuietEstate.make(cluster, services, { plain: { plain: "node2" }, volumeBytes });
    const startedMs = performance.now();
    const { run } = await cluster.skepJson<BackupDocument>(["backup", "--wait"]);
    runMs = performance.now() - startedMs;
    expect(run?.parts.filter(({ status }) => status !== "done")).to.deep.equal([]);
    await estate.untilAsBefore();
  });
  after(() => cluster.down());

  it(`leaves no service stopped, paused or scaled wrong in ${rounds} rounds`, async () => {
    console.log(`      SKEP_SOAK_SEED=${seed}; an undisturbed run takes ${Math.round(runMs)} ms`);
    const random = randomFrom(seed);
    const ends: Record<string, number> = {};
    for (let round = 1; round <= rounds; round++) {
      await estate.renewVolumes();
      const runId = await estate.begin();
      const delayMs = Math.floor(random() * runMs);
      await sleep(delayMs);
      const parts = ["controller", "redis", "agent on node1", "agent on node2", "agent on node3"];
      const victims = [...parts, "power on node1", "power on node2", "power on node3"];
      const victim = victims[Math.floor(random() * victims.length)] ?? "controller";
      await kill(victim, Math.floor(random() * longestDarkMs));
      const { status } = await estate.endOf(runId);
      const what = `round ${round}: ${victim} killed after ${delayMs} ms, run ${status}`;
      await estate.untilAsBefore().catch((error: unknown) => {
        throw new Error(`${what}: ${(error as Error).message}`, { cause: error });
      });
      console.log(`      ${what}`);
      ends[`${victim}, ${status}`] = (ends[`${victim}, ${status}`] ?? 0) + 1;
      await cluster.ready();
    }
    console.log(`      ${JSON.stringify(ends)}`);
  });

  async function kill(victim: string, darkMs: number): Promise<void> {
    const [name = "", place] = victim.split(" on ");
    if (name === "power") {
      const node = cluster.lab.node(place ?? "");
      await node.crash();
      await sleep(darkMs);
      await node.start();
      return;
    }
    const which = name as "controller" | "redis" | "agent";
    await until(async () => {
      const node = which === "agent" ? cluster.lab.node(place ?? "") : await cluster.nodeOf(which);
      if (node === null || (await cluster.containerOn(node, which)) === null) return false;
      await cluster.kill(node, which);
      return true;
    });
  }
});

/** Numbers from 0 to below 1, the same for the same seed (mulberry32). */
function randomFrom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
