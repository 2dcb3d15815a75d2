// What is on a swarm that burns and is brought back in a cell of the matrix. Here the small one, the application alone; the
// soak has a larger one.
import type { LabImage } from "../../lab/image.ts";
import { nodeImage } from "../../lab/image.ts";
import type { LabNode } from "../../lab/node.ts";
import { deployApplication, uploadsVolume } from "./application.ts";

export interface Estate {
  /** Beside Skep's own and Redis'. */
  images: readonly LabImage[];
  /** They come back from the run alone; else fresh machines have them, which saves minutes. */
  imagesOfRun: boolean;
  /** Volumes whose content stays as it was written, with the number of their node: their trees are compared. */
  stillVolumes: Readonly<Record<string, number>>;
  /** The subnet of one of its networks, and another. */
  subnets: { from: string; to: string };
  /** A service that Skep makes quiet by stopping it; null: none. */
  stopped: string | null;
  /** `nodes`: three, or one three times; `bytes`: in its volumes. */
  deploy: (nodes: readonly [LabNode, LabNode, LabNode], bytes: number) => Promise<void>;
  /** How many tasks each service runs and shall, as `docker service ls` says it, where the swarm has so many nodes. */
  replicas: (nodes: number) => Readonly<Record<string, string>>;
  /** What no API shows: data of secrets, rows. The same before and after. */
  contents: (nodes: readonly LabNode[]) => Promise<unknown>;
}

export const smallEstate: Estate = {
  images: [],
  imagesOfRun: false,
  stillVolumes: { [uploadsVolume]: 2 },
  subnets: { from: "10.77.5.0/24", to: "10.99.5.0/24" },
  stopped: null,
  deploy: async (nodes) => {
    await deployApplication(nodes, nodeImage().tag);
  },
  replicas: (nodes) => ({ shop_database: "1/1", shop_web: "2/2", shop_sidecar: `${nodes}/${nodes}` }),
  contents: async (nodes) => {
    const [node, id] = await containerOf(nodes, "shop_web");
    return await node.run(["docker", "exec", id, "cat", "/run/secrets/signing_key"]);
  },
};

/** Whether each service has as many tasks as it shall. */
export async function runsWhole({ replicas }: Estate, manager: LabNode, nodes: number): Promise<boolean> {
  const { stdout } = await manager.exec(["docker", "service", "ls", "--format", "{{.Name}} {{.Replicas}}"]);
  const found = new Map(stdout.split("\n").map((line) => line.split(" ") as [string, string]));
  return Object.entries(replicas(nodes)).every(([name, wanted]) => found.get(name) === wanted);
}

/** Where a task of the service runs: node and container. */
export async function containerOf(nodes: readonly LabNode[], service: string): Promise<[LabNode, string]> {
  for (const node of nodes) {
    const filter = ["--filter", `label=com.docker.swarm.service.name=${service}`];
    const [id = ""] = (await node.run(["docker", "ps", "--quiet", ...filter])).split("\n");
    if (id !== "") return [node, id];
  }
  throw new Error(`no task of ${service} runs`);
}
