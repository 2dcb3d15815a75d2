// A swarm with the estate on it that is copied in the states that cells ask for, and then burns. What it was is kept here.
import type { BackupDocument } from "../../../controller/cli/documents.ts";
import { witness } from "./application.ts";
import { until } from "../agent-rig.ts";
import { Cluster } from "../cluster.ts";
import { describeTree } from "../volumes.ts";
import type { LabNode } from "../../lab/node.ts";
import type { Estate } from "./estate.ts";
import { sources, type CopyState, type SourceName } from "./matrix.ts";

export interface Copy {
  runId: string;
  /** By how ids are compared; hostnames as they were, or all as one. */
  seen: (ids: "same" | "new", merged: boolean) => unknown;
  trees: Map<string, string>;
  /** As the estate says it. */
  contents: unknown;
}

/** What stands for every hostname where several nodes become one. */
export const anyHost = "any-host";

export class BurnedSwarm {
  readonly cluster: Cluster;
  readonly estate: Estate;
  readonly copies: ReadonlyMap<CopyState, Copy>;
  /** Hostnames. */
  readonly nodes: readonly string[];

  private constructor(
    cluster: Cluster,
    estate: Estate,
    copies: ReadonlyMap<CopyState, Copy>,
    nodes: readonly string[],
  ) {
    this.cluster = cluster;
    this.estate = estate;
    this.copies = copies;
    this.nodes = nodes;
  }

  /** Makes it, takes the copies, burns it. `bytes`: in its volumes. */
  static async of(
    source: SourceName,
    estate: Estate,
    states: ReadonlySet<CopyState>,
    bytes: number,
  ): Promise<BurnedSwarm> {
    const { engine, nodes: count } = sources[source];
    const images = estate.imagesOfRun ? "images: all\n" : "";
    // Slow enough that the quiet of a database can be met.
    const limits = states.has("quiet") ? "limits:\n  bytesPerSecondPerNode: 4000000\n" : "";
    const policy = `version: 1\n${images}${limits}`;
    const cluster = await Cluster.up({
      ...{ engine, nodes: count, managers: count, policy, images: estate.images },
      stack: { SKEP_REDIS_PLACEMENT: "node.hostname == node1" },
    });
    try {
      const [first, second, third] = cluster.lab.nodes;
      if (first === undefined) throw new RangeError("a lab without nodes");
      await estate.deploy([first, second ?? first, third ?? first], bytes);
      await cluster.deploy();
      await cluster.ready();
      const copies = new Map<CopyState, Copy>();
      if (states.has("plain")) copies.set("plain", await takeCopy(cluster, estate, await backUp(cluster)));
      if (states.has("quiet")) copies.set("quiet", await takeQuietCopy(cluster, estate));
      if (states.has("locked")) {
        await first.run(["docker", "swarm", "update", "--autolock=true"]);
        copies.set("locked", await takeCopy(cluster, estate, await backUp(cluster)));
      }
      const nodes = cluster.lab.nodes.map(({ name }) => name);
      for (const node of [...cluster.lab.nodes]) await cluster.lab.burn(node);
      return new BurnedSwarm(cluster, estate, copies, nodes);
    } catch (error) {
      await cluster.down();
      throw error;
    }
  }

  async down(): Promise<void> {
    await this.cluster.down();
  }
}

async function backUp(cluster: Cluster): Promise<string> {
  const { run } = await cluster.skepJson<BackupDocument>(["backup", "--wait"]);
  const bad = run?.parts.filter(({ status }) => status !== "done");
  if (run?.status !== "done") throw new Error(`the backup is ${run?.status ?? "missing"}: ${JSON.stringify(bad)}`);
  return run.id;
}

async function takeCopy(cluster: Cluster, estate: Estate, runId: string): Promise<Copy> {
  const { manager, lab } = cluster;
  const merged = new Map(lab.nodes.map(({ name }) => [name, anyHost]));
  const views = new Map<string, unknown>();
  for (const ids of ["same", "new"] as const) {
    views.set(ids, await witness(manager, new Map(), ids));
    views.set(`${ids} merged`, await witness(manager, merged, ids));
  }
  const trees = new Map<string, string>();
  for (const [volume, at] of Object.entries(estate.stillVolumes)) {
    trees.set(volume, await describeTree(lab.nodes[at] ?? manager, volume));
  }
  return {
    runId,
    seen: (ids, asOne) => structuredClone(views.get(asOne ? `${ids} merged` : ids)),
    ...{ trees, contents: await estate.contents(lab.nodes) },
  };
}

/** Of a moment when Skep holds the service that it stops: a run of the controller's is under way, another run is taken beside it. */
async function takeQuietCopy(cluster: Cluster, estate: Estate): Promise<Copy> {
  const { stopped } = estate;
  if (stopped === null) throw new RangeError("an estate without a service that is stopped");
  const before = await takeCopy(cluster, estate, "");
  const node = cluster.manager;
  await cluster.skep(["backup"]);
  await until(async () => (await replicasOf(node, stopped)) === 0, 120_000);
  const place = ["--docker-socket", node.dockerSocketPath, "--host-root", hostRootOf(node)];
  const state = `${cluster.folder}/state`;
  const argv = ["backup", "--standalone", "--state-dir", state, ...place];
  const { stdout, stderr } = await cluster.skep([...argv, "--json"], { tolerant: true });
  const run = stdout === "" ? null : (JSON.parse(stdout) as BackupDocument).run;
  const faults = run?.parts.filter(({ status, error }) => status !== "done" && error?.code !== "SKEP_HOLD_REFUSED");
  // What the other holds at this moment it does not.
  if (run == null || faults?.length !== 0) throw new Error(`no copy beside the other: ${stderr}`);
  // Let go again, so that what comes after finds it as it was.
  await until(async () => (await replicasOf(node, stopped)) === 1, 300_000);
  return { ...before, runId: run.id };
}

function hostRootOf(node: LabNode): string {
  return node.hostPath("/run").replace(/\/run$/, "");
}

async function replicasOf(node: LabNode, service: string): Promise<number> {
  const format = "{{.Spec.Mode.Replicated.Replicas}}";
  return Number((await node.run(["docker", "service", "inspect", "--format", format, service])).trim());
}
