// A small swarm whose agents' tasks a test runs itself, by agent/once.ts. On its nodes are the images on which Skep's own is
// built, so that the agent's image is light.
import { connectDocker, type Docker } from "../../agent/docker.ts";
import { nodeImage, redisImage } from "../lab/image.ts";
import { Lab } from "../lab/lab.ts";
import type { LabNode } from "../lab/node.ts";
import { Rig } from "./agent-rig.ts";

export const taskLabImages = [nodeImage(), redisImage()];

export class TaskLab {
  readonly lab: Lab;
  readonly manager: LabNode;
  /** Of the manager. */
  readonly engine: Docker;
  readonly rig: Rig;

  private constructor(lab: Lab, rig: Rig) {
    this.lab = lab;
    this.manager = lab.node("node1");
    this.engine = connectDocker(this.manager.dockerSocketPath);
    this.rig = rig;
  }

  static async up(nodes: number): Promise<TaskLab> {
    const lab = await Lab.up({ nodes, managers: 1, images: taskLabImages });
    return new TaskLab(lab, await Rig.make());
  }

  async down(): Promise<void> {
    await this.lab.down();
    await this.rig.down();
  }
}
