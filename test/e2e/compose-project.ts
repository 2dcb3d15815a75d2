// A project of docker compose on one node, outside of services: containers with the labels that compose gives them. A
// server that is stopped, what depends on it, a worker that is paused, and a cache of which a dump is taken.
import { expect } from "chai";
import { readFile } from "node:fs/promises";
import type { Part } from "../../shared/repository/run.ts";
import type { LabNode } from "../lab/node.ts";
import { volumePath } from "./volumes.ts";

const nodeTag = "skep-lab/node:24";
const redisTag = "skep-lab/redis:7";

/** Names of its containers. */
export const project = ["shop-db-1", "shop-web-1", "shop-worker-1", "shop-cache-1"];

export async function startProject(node: LabNode): Promise<void> {
  const start = async (service: string, volume: string, labels: string[], ...program: string[]): Promise<void> => {
    const all = ["com.docker.compose.project=shop", `com.docker.compose.service=${service}`, ...labels];
    const options = ["--volume", `shop_${volume}:/data`, ...all.flatMap((label) => ["--label", label])];
    await node.run(["docker", "run", "--detach", "--name", `shop-${service}-1`, ...options, ...program]);
  };
  const server = [redisTag, "redis-server", "--dir", "/data", "--appendonly", "yes"];
  const idle = "process.on('SIGTERM', () => process.exit()); setInterval(() => {}, 1e6)";
  const hooks = ["skep.hook.pre=echo pre >> /data/said", "skep.hook.post=echo post >> /data/said"];
  await start("db", "db", ["skep.quiesce=stop", ...hooks], ...server);
  const depends = "com.docker.compose.depends_on=db:service_started:false";
  await start("web", "db", ["skep.quiesce=stop", depends], nodeTag, "node", "-e", idle);
  await start("worker", "jobs", ["skep.quiesce=pause"], nodeTag, "node", "-e", idle);
  await start("cache", "cache", ["skep.dump=redis-cli --rdb -"], ...server);
}

/** By a run; `part`: by its name. */
export async function expectTaken(node: LabNode, part: (name: string) => Part): Promise<void> {
  const [db, jobs, cache] = ["db", "jobs", "cache"].map((volume) => part(`${node.name}/shop_${volume}`));
  const stood = (each: Part | undefined): string[] => (each?.quiet ?? []).map(({ name, how }) => `${name} ${how}`);
  expect(stood(db).sort()).to.deep.equal(["shop-db-1 stop", "shop-web-1 stop"]);
  expect(stood(jobs)).to.deep.equal(["shop-worker-1 pause"]);
  for (const each of [db, jobs]) expect(each).to.include({ status: "done", consistency: "quiet" });
  expect(cache).to.include({ kind: "dump", status: "done" });
  expect(cache?.totals?.sourceBytes).to.be.above(50);
  const ran = db?.commands?.map(({ step, exitCode }) => `${step} ${exitCode}`);
  expect(ran).to.deep.equal(["hook.pre 0", "hook.post 0"]);
  expect(await readFile(`${volumePath(node, "shop_db")}/said`, "utf8")).to.equal("pre\npost\n");
  const format = "{{.State.Status}} {{.State.FinishedAt}} {{.State.StartedAt}}";
  const states = (await node.run(["docker", "inspect", "--format", format, ...project])).trim().split("\n");
  const [server = [], dependent = [], ...others] = states.map((line) => line.split(" "));
  expect([server, dependent, ...others].map(([status]) => status)).to.deep.equal(Array(4).fill("running"));
  const at = (text = ""): number => Date.parse(text);
  expect(at(dependent[1]), "what depends on it is stopped first").to.be.at.most(at(server[1]));
  expect(at(server[2]), "and started last").to.be.at.most(at(dependent[2]));
}
