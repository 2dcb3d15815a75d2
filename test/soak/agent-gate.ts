// The gate of test/lab/step-gate.ts in the agents of a whole cluster: they stand still at a step for as long as it is armed.
import { copyFile, mkdir, readdir, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Cluster } from "../e2e/cluster.ts";
import { armedFile, reachedFile, type Step } from "../lab/step-gate.ts";
import type { LabNode } from "../lab/node.ts";

const folder = "/root/gate";

/** For Cluster.up: agents are deployed with it. */
export const gateOverlay = "gate.yml";

export class AgentGate {
  readonly #cluster: Cluster;

  private constructor(cluster: Cluster) {
    this.#cluster = cluster;
  }

  /** To be laid before the cluster deploys Skep. */
  static async lay(cluster: Cluster): Promise<AgentGate> {
    const gate = new AgentGate(cluster);
    const overlays = cluster.manager.hostPath("/root/skep/deploy/examples");
    await mkdir(overlays, { recursive: true });
    const volume = { type: "bind", source: folder, target: "/gate" };
    const environment = { NODE_OPTIONS: "--import=/gate/step-gate.ts", SKEP_TEST_GATE: "/gate" };
    // JSON is YAML.
    const agent = { version: "3.8", services: { agent: { environment, volumes: [volume] } } };
    await writeFile(join(overlays, gateOverlay), JSON.stringify(agent));
    for (const node of cluster.lab.nodes) {
      await mkdir(node.hostPath(folder), { recursive: true });
      await copyFile(join(import.meta.dirname, "../lab/step-gate.ts"), gate.#path(node, "step-gate.ts"));
    }
    return gate;
  }

  async arm(step: Step): Promise<void> {
    for (const node of this.#cluster.lab.nodes) await writeFile(this.#path(node, armedFile), JSON.stringify(step));
  }

  async disarm(): Promise<void> {
    for (const node of this.#cluster.lab.nodes) await rm(this.#path(node, armedFile), { force: true });
  }

  /** Where an agent stands still at the step. */
  async reached(id: string): Promise<LabNode[]> {
    const at: LabNode[] = [];
    for (const node of this.#cluster.lab.nodes)
      if ((await readdir(node.hostPath(folder))).includes(reachedFile(id))) at.push(node);
    return at;
  }

  #path(node: LabNode, name: string): string {
    return node.hostPath(join(folder, name));
  }
}
