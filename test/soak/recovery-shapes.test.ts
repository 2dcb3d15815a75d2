// Losses that need no recovery of the swarm (docs/RUNBOOK.md, "Smaller losses"): a worker, one volume, and a stack that is
// wanted in another swarm. Each is timed from its first command until every service is whole.
import { expect } from "chai";
import { readdir, rm } from "node:fs/promises";
import { loadavg } from "node:os";
import { join } from "node:path";
import type { BackupDocument } from "../../controller/cli/documents.ts";
import { Cluster } from "../e2e/cluster.ts";
import { databaseVolume, deployApplication, signingKey, until, uploadsVolume } from "../e2e/recovery/application.ts";
import { describeTree, volumePath } from "../e2e/volumes.ts";
import { nodeImage, redisImage } from "../lab/image.ts";
import type { LabNode } from "../lab/node.ts";
import { skepImages } from "../lab/skep-image.ts";
import { initSwarm, joinSwarm, updateInSwarm } from "../lab/swarm.ts";

describe("a swarm that lost less than itself", function () {
  this.timeout(900_000);
  let cluster: Cluster;
  let manager: LabNode;
  let database: LabNode;
  let uploads: string;

  before(async () => {
    cluster = await Cluster.up({ nodes: 3, managers: 1, stack: { SKEP_REDIS_PLACEMENT: "node.hostname == node1" } });
    const [first, second, third] = cluster.lab.nodes;
    if (first === undefined || second === undefined || third === undefined) throw new RangeError("three nodes");
    [manager, database] = [first, second];
    await deployApplication([first, second, third], nodeImage().tag);
    await cluster.deploy();
    await cluster.ready(3, 240_000);
    const { run } = await cluster.skepJson<BackupDocument>(["backup", "--wait"]);
    expect(run?.status).to.equal("done");
    uploads = await describeTree(third, uploadsVolume);
  });
  after(() => cluster.down());

  const restore = async (...argv: string[]): Promise<void> => {
    await cluster.skep(["restore", ...argv, "--identity", cluster.identity, "--yes"]);
  };
  const isWhole = async (node: LabNode, stack: string, sidecars: number): Promise<boolean> => {
    const { stdout } = await node.exec(["docker", "service", "ls", "--format", "{{.Name}} {{.Replicas}}"]);
    const wanted = [`${stack}_database 1/1`, `${stack}_web 2/2`, `${stack}_sidecar ${sidecars}/${sidecars}`];
    return wanted.every((line) => stdout.split("\n").some((found) => found.startsWith(line)));
  };
  /** Containers of the application on a node that nothing was done to. */
  const containersOn = async (node: LabNode): Promise<string[]> => {
    const format = '{{.ID}} {{.Label "com.docker.swarm.service.name"}}';
    const lines = (await node.run(["docker", "ps", "--no-trunc", "--format", format])).trim().split("\n");
    return lines.filter((line) => line.includes(" shop_")).sort();
  };
  /** The first task of all opened with none. */
  const openedRows = async (node: LabNode, service: string): Promise<boolean> => {
    const { stdout } = await node.exec(["docker", "service", "logs", "--raw", service]);
    return [...stdout.matchAll(/opened with (\d+) committed rows/g)].some(([, rows]) => Number(rows) > 10);
  };
  const timed = async (what: string, work: () => Promise<void>): Promise<void> => {
    const startedAt = performance.now();
    await work();
    const seconds = ((performance.now() - startedAt) / 1000).toFixed(1);
    console.log(`      load ${(loadavg()[0] ?? 0).toFixed(0)}, ${what}: ${seconds} s`);
  };

  it("has one volume back while all else runs on", async () => {
    const others = [...(await containersOn(manager)), ...(await containersOn(cluster.lab.node(2)))];
    const folder = volumePath(database, databaseVolume);
    for (const name of await readdir(folder)) await rm(join(folder, name), { recursive: true });
    await timed("one volume", async () => {
      await restore("volume", `${database.name}/${databaseVolume}`, "--stop");
      await until("the database opened what was restored", async () => await openedRows(manager, "shop_database"));
      await until("every service is whole", () => isWhole(manager, "shop", 3));
    });
    expect([...(await containersOn(manager)), ...(await containersOn(cluster.lab.node(2)))]).to.deep.equal(others);
  });

  it("has a lost worker's volume and services on a new machine, and its other nodes never noticed", async () => {
    const lost = cluster.lab.node(2);
    const others = [...(await containersOn(manager)), ...(await containersOn(database))];
    await cluster.lab.burn(lost);
    const fresh = await cluster.lab.addNode({ images: [...(await skepImages()), redisImage("skep-lab/redis:7")] });
    await timed("a worker", async () => {
      await manager.run(["docker", "node", "rm", "--force", lost.name]);
      await joinSwarm(fresh, manager, "worker");
      await until("its agent is there", async () => {
        const { stdout } = await cluster.skep(["agents"], { tolerant: true });
        return stdout.includes(fresh.name);
      });
      // Before the label: a task that starts earlier makes an empty volume and uses it.
      await restore("volume", `${lost.name}/${uploadsVolume}`, "--to-node", fresh.name);
      await updateInSwarm(manager, ["node", "update", "--label-add", "zone=b", fresh.name]);
      await until("every service is whole", () => isWhole(manager, "shop", 3), 240_000);
    });
    expect(await describeTree(fresh, uploadsVolume)).to.equal(uploads);
    expect([...(await containersOn(manager)), ...(await containersOn(database))]).to.deep.equal(others);
    await cluster.ready(3, 240_000);
    const { run } = await cluster.skepJson<BackupDocument>(["backup", "--wait"]);
    expect(run?.status, JSON.stringify(run?.parts.filter(({ status }) => status !== "done"))).to.equal("done");
  });

  it("gives a stack to another swarm, with its volumes and secrets, and stays as it is", async () => {
    const other = await cluster.lab.addNode({ images: [nodeImage()] });
    await initSwarm([other], { managers: 1 });
    const socket = other.dockerSocketPath;
    const hostRoot = other.hostPath("/run").replace(/\/run$/, "");
    const here = ["--standalone", "--docker-socket", socket, "--host-root", hostRoot];
    const own = [...(await containersOn(manager)), ...(await containersOn(database))];
    await timed("a stack into another swarm", async () => {
      const state = ["--state-dir", join(cluster.folder, "other")];
      await restore("volume", `${database.name}/${databaseVolume}`, "--as", "copy_data", ...here, ...state);
      await restore("volume", `node3/${uploadsVolume}`, "--as", "copy_uploads", ...here, ...state);
      await restore("stack", "shop", "--as", "copy", "--docker", `unix://${socket}`);
      // What bound its services to nodes of the one swarm does so in the other once that has the same.
      await updateInSwarm(other, ["node", "update", "--label-add", "zone=b", other.name]);
      const constraints = ["docker", "service", "inspect", "--format", "{{json .Spec.TaskTemplate.Placement}}"];
      const bound = /node\.id ?== ?\w+/.exec(await other.run([...constraints, "copy_database"]))?.[0] ?? "";
      expect(bound).not.to.equal("");
      await other.run(["docker", "service", "update", "--detach", "--constraint-rm", bound, "copy_database"]);
      await until("every service is whole", () => isWhole(other, "copy", 1), 240_000);
    });
    expect(await describeTree(other, "copy_uploads")).to.equal(uploads.replaceAll(uploadsVolume, "copy_uploads"));
    await until("the database opened with rows", async () => await openedRows(other, "copy_database"));
    const id = (await other.run(["docker", "ps", "--quiet", "--filter", "name=copy_web"])).split("\n")[0] ?? "";
    expect(await other.run(["docker", "exec", id, "cat", "/run/secrets/signing_key"])).to.equal(signingKey);
    expect([...(await containersOn(manager)), ...(await containersOn(database))]).to.deep.equal(own);
  });
});
