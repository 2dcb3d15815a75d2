// The demo's application on a swarm: deployed, looked into, robbed of its volume.
import { randomBytes } from "node:crypto";
import { cp, mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { LabNode } from "../lab/node.ts";

export const volumeName = "shop_data";
const databaseService = "shop_database";

export class Application {
  readonly #manager: LabNode;
  /** Where the database runs, and hence its volume is. */
  readonly node: LabNode;
  readonly #image: string;

  constructor(manager: LabNode, node: LabNode, image: string) {
    this.#manager = manager;
    this.node = node;
    this.#image = image;
  }

  async deploy(): Promise<void> {
    const target = "/root/shop";
    const folder = this.#manager.hostPath(target);
    await mkdir(folder, { recursive: true });
    for (const file of ["application.yml", "ledger.mjs"]) await cp(join(import.meta.dirname, file), join(folder, file));
    await writeFile(join(folder, "page.html"), "<h1>A shop</h1>\n");
    await writeFile(join(folder, "signing.key"), randomBytes(32).toString("hex"));
    await this.#manager.run(
      ["docker", "stack", "deploy", "--resolve-image", "never", "-c", `${target}/application.yml`, "shop"],
      { env: { APPLICATION_IMAGE: this.#image, DATABASE_NODE: this.node.name } },
    );
  }

  /** The newest committed row of the database, as its file says; 0 while there is none. */
  async committedRows(): Promise<number> {
    const path = `/var/lib/docker/volumes/${volumeName}/_data/ledger`;
    const { stdout, code } = await this.node.exec(["tail", "-n", "2", path]);
    if (code !== 0) return 0;
    const whole = stdout.slice(0, stdout.lastIndexOf("\n") + 1);
    return Number(/(\d+) \w+\n$/.exec(whole)?.[1] ?? 0);
  }

  /** Waits until the database has at least `rows` rows. */
  async reach(rows: number, timeoutMs = 60_000): Promise<number> {
    const deadline = Date.now() + timeoutMs;
    for (;;) {
      const committed = await this.committedRows();
      if (committed >= rows) return committed;
      if (Date.now() > deadline) {
        const tasks = await this.#manager.exec(["docker", "service", "ps", "--no-trunc", databaseService]);
        throw new Error(`the database has ${committed} rows, ${rows} were awaited\n${tasks.stdout}`);
      }
      await sleep(200);
    }
  }

  /**
   * With how many rows, each checked, the database last opened, once that is at least `rows`; else, after 20 s, what it
   * last said of itself: the engine shows a service's log some time after it was written.
   */
  async openedWith(rows: number): Promise<number> {
    const deadline = Date.now() + 20_000;
    for (;;) {
      const { stdout } = await this.#manager.exec(["docker", "service", "logs", "--raw", databaseService]);
      const openings = [...stdout.matchAll(/opened with (\d+) committed rows/g)].map((match) => Number(match[1]));
      const most = Math.max(-1, ...openings);
      if (most >= rows || Date.now() > deadline) return most;
      await sleep(500);
    }
  }

  /** The accident: the service is stopped, its volume deleted, the service started again, on an empty volume. */
  async loseVolume(): Promise<void> {
    await this.#scale(0);
    for (;;) {
      const { stdout } = await this.node.exec(["docker", "ps", "--quiet", "--all", "--filter", `volume=${volumeName}`]);
      const containers = stdout.split("\n").filter((line) => line !== "");
      if (containers.length === 0) break;
      await this.node.exec(["docker", "rm", "--force", ...containers]);
    }
    await this.node.run(["docker", "volume", "rm", volumeName]);
    await this.#scale(1);
  }

  async #scale(replicas: number): Promise<void> {
    await this.#manager.run(["docker", "service", "scale", "--detach", `${databaseService}=${replicas}`]);
  }
}
