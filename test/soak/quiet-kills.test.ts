// Agents, controller and Redis are killed, and nodes lose their power, at random moments of runs that make volumes quiet.
// However a run ends: no service is left stopped, paused or scaled wrong. SKEP_SOAK_ROUNDS says how many rounds (50),
// SKEP_SOAK_SEED repeats a sequence.
import { randomBytes, randomInt } from "node:crypto";
import { writeFile } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { isDeepStrictEqual } from "node:util";
import { expect } from "chai";
import { connectDocker, type Docker } from "../../agent/docker.ts";
import type { SwarmService } from "../../agent/docker-objects.ts";
import { findRecords, newestOfEach } from "../../agent/quiesce/hold-book.ts";
import type { RunAnswer } from "../../controller/api/schemas.ts";
import type { BackupDocument } from "../../controller/cli/documents.ts";
import type { Run } from "../../shared/repository/run.ts";
import { until } from "../e2e/agent-rig.ts";
import { Cluster } from "../e2e/cluster.ts";
import { volumePath } from "../e2e/volumes.ts";

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
const program = "process.on('SIGTERM', () => process.exit()); setInterval(() => {}, 1e6)";

interface Service {
  name: string;
  nodes: readonly string[];
  options: readonly string[];
  labels: readonly string[];
}
const services: readonly Service[] = [
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
  let engine: Docker;
  const asBefore = new Map<string, SwarmService>();
  /** How long a run takes that nobody disturbs. */
  let runMs = 0;

  before(async () => {
    const stack = { SKEP_REDIS_PLACEMENT: "node.hostname == node1" };
    cluster = await Cluster.up({ nodes: 3, managers: 3, policy, stack });
    engine = connectDocker(cluster.manager.dockerSocketPath);
    await cluster.deploy();
    await cluster.ready();
    for (const { name, nodes, options, labels } of services) {
      const place = options.includes("global") ? [] : ["--constraint", `node.hostname==${nodes[0] ?? ""}`];
      await docker(
        ...["service", "create", "--detach", "--quiet", "--no-resolve-image", "--name", name, ...place, ...options],
        ...["--mount", `type=volume,source=quiet-${name},target=/data`, "--update-monitor", "100ms"],
        ...labels.flatMap((label) => ["--label", label]),
        ...["skep-lab/node:24", "node", "-e", program, "old"],
      );
      await until(() => runs(name));
      // So that there is a previous spec to be lost.
      await docker("service", "update", "--detach", "--quiet", "--args", `node -e "${program}" new`, name);
      await until(async () => (await service(name)).UpdateStatus?.State === "completed", 120_000);
      await until(() => runs(name));
    }
    for (const { name } of services) asBefore.set(name, await service(name));
    await renewVolumes();
    const startedMs = performance.now();
    const { run } = await cluster.skepJson<BackupDocument>(["backup", "--wait"]);
    runMs = performance.now() - startedMs;
    expect(run?.parts.filter(({ status }) => status !== "done")).to.deep.equal([]);
    await allAsBefore();
  });
  after(() => cluster.down());

  const docker = async (...argv: string[]): Promise<string> => (await cluster.manager.run(["docker", ...argv])).trim();
  const service = async (name: string): Promise<SwarmService> =>
    (await engine.service(name)) ?? expect.fail(`no service ${name}`);

  /** As many tasks as its spec says run, and no other. */
  async function runs(name: string): Promise<boolean> {
    const { Spec } = await service(name);
    const wanted = Spec.Mode.Global === undefined ? (Spec.Mode.Replicated?.Replicas ?? 1) : cluster.lab.nodes.length;
    const tasks = await engine.tasks({ service: [name], "desired-state": ["running"] });
    return tasks.length === wanted && tasks.every(({ Status }) => Status.State === "running");
  }

  async function renewVolumes(): Promise<void> {
    for (const { name, nodes } of services) {
      for (const node of nodes) {
        const path = volumePath(cluster.lab.node(node), `quiet-${name}`);
        await writeFile(`${path}/noise`, randomBytes(volumeBytes));
      }
    }
  }

  /** What is still wrong; empty when all is as it was before the first run. */
  async function wrongs(): Promise<string[]> {
    const found: string[] = [];
    const records = newestOfEach(await findRecords(engine));
    for (const [name, { ID, Spec, PreviousSpec, UpdateStatus }] of asBefore) {
      if (!isDeepStrictEqual((await service(name)).Spec, Spec)) found.push(`${name} has another spec`);
      if (!(await runs(name))) found.push(`${name} does not run`);
      const kept = records.find(({ record }) => record.serviceId === ID);
      if (kept === undefined) continue;
      if (kept.releasedAt === null) found.push(`${name} is held`);
      if (!isDeepStrictEqual(kept.record.previous, PreviousSpec ?? null))
        found.push(`the record of ${name} does not say what it was before its last update`);
      if (!isDeepStrictEqual(kept.record.updateStatus, UpdateStatus ?? null))
        found.push(`the record of ${name} does not say how its last update ended`);
    }
    for (const node of cluster.lab.nodes) {
      const paused = await node.run(["docker", "ps", "--filter", "status=paused", "--format", "{{.Names}}"]);
      if (paused.trim() !== "") found.push(`on ${node.name} is paused: ${paused.trim()}`);
    }
    return found;
  }

  async function allAsBefore(): Promise<void> {
    let found: string[] = [];
    // Longer than the deadline of a hold, and the minute after which somebody looks.
    const isAsBefore = async (): Promise<boolean> => {
      // Managers that have just lost one of them answer nothing for a while.
      found = await wrongs().catch((error: unknown) => [String(error)]);
      return found.length === 0;
    };
    await until(isAsBefore, 240_000).catch(() => {
      expect.fail(found.join("; "));
    });
  }

  async function endOf(runId: string): Promise<Run> {
    const ended: Run[] = [];
    await until(async () => {
      const result = await cluster.skep(["show", runId, "--json"], { tolerant: true });
      if (result.code !== 0 && result.code !== 3) return false;
      const answer = JSON.parse(result.stdout) as RunAnswer;
      if ("run" in answer) ended.push(answer.run);
      return ended.length > 0;
    }, 240_000);
    return ended[0] ?? expect.fail(`run ${runId} has no end`);
  }

  it(`leaves no service stopped, paused or scaled wrong in ${rounds} rounds`, async () => {
    console.log(`      SKEP_SOAK_SEED=${seed}; an undisturbed run takes ${Math.round(runMs)} ms`);
    const random = randomFrom(seed);
    const ends: Record<string, number> = {};
    for (let round = 1; round <= rounds; round++) {
      await renewVolumes();
      const runId = await begin();
      const delayMs = Math.floor(random() * runMs);
      await sleep(delayMs);
      const parts = ["controller", "redis", "agent on node1", "agent on node2", "agent on node3"];
      const victims = [...parts, "power on node1", "power on node2", "power on node3"];
      const victim = victims[Math.floor(random() * victims.length)] ?? "controller";
      await kill(victim, Math.floor(random() * longestDarkMs));
      const { status } = await endOf(runId);
      const what = `round ${round}: ${victim} killed after ${delayMs} ms, run ${status}`;
      await allAsBefore().catch((error: unknown) => {
        throw new Error(`${what}: ${(error as Error).message}`, { cause: error });
      });
      console.log(`      ${what}`);
      ends[`${victim}, ${status}`] = (ends[`${victim}, ${status}`] ?? 0) + 1;
      await cluster.ready();
    }
    console.log(`      ${JSON.stringify(ends)}`);
  });

  /** A Redis that was killed in the round before may still be starting: then no run begins. */
  async function begin(): Promise<string> {
    const begun: string[] = [];
    await until(async () => {
      const { code, stdout } = await cluster.skep(["backup", "--json"], { tolerant: true });
      if (code === 0) begun.push((JSON.parse(stdout) as BackupDocument).runId);
      return code === 0;
    }, 180_000);
    return begun[0] ?? expect.fail("no run was begun");
  }

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
