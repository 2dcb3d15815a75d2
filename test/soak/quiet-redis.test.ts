// Redis is lost while a run has services and containers quiet, with all that was in it. Whatever comes next (the same
// controller, nobody but the agents, a Redis that stays away) all is started again: at once, or at the deadline.
import { readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { expect } from "chai";
import { agentsSchema } from "../../controller/api/schemas.ts";
import type { BackupDocument } from "../../controller/cli/documents.ts";
import { until } from "../e2e/agent-rig.ts";
import { Cluster } from "../e2e/cluster.ts";
import { volumePath } from "../e2e/volumes.ts";
import { AgentGate, gateOverlay } from "./agent-gate.ts";
import { QuietEstate, type QuietService } from "./quiet-estate.ts";

const quietMinutes = 3;
/** Beyond the deadline: agents and managers look once a minute, and tasks take a while to start. */
const laterMs = 120_000;
const policy = `version: 1
select:
  volumes:
    include: ["quiet-*"]
limits:
  quietMinutes: ${quietMinutes}
`;
/** One unit: all of them stand still before the first is read. */
const together = ["skep.group=all"];
const services: readonly QuietService[] = [
  {
    ...{ name: "stopped", nodes: ["node2"], options: ["--replicas", "2"] },
    labels: ["skep.quiesce=stop", ...together],
  },
  {
    ...{ name: "everywhere", nodes: ["node1", "node2"], options: ["--mode", "global"] },
    labels: ["skep.quiesce=stop", ...together],
  },
  { name: "paused", nodes: ["node1"], options: [], labels: ["skep.quiesce=pause", ...together] },
];

interface Loss {
  /** How Redis goes. */
  lose: () => Promise<void>;
  /** Once all goes on again. */
  bringBack: () => Promise<void>;
  /** ms after which all is as before. */
  withinMs: number;
}

describe("a run that has all quiet when Redis is lost", function () {
  this.timeout(900_000);
  let cluster: Cluster;
  let estate: QuietEstate;
  let gate: AgentGate;
  const docker = async (...argv: string[]): Promise<string> => (await cluster.manager.run(["docker", ...argv])).trim();
  const scale = async (service: string, replicas: number): Promise<void> => {
    await docker("service", "scale", "--detach", `skep_${service}=${replicas}`);
  };

  before(async () => {
    const stack = {
      SKEP_REDIS_PLACEMENT: "node.hostname == node1",
      SKEP_CONTROLLER_PLACEMENT: "node.hostname == node1",
    };
    cluster = await Cluster.up({ nodes: 2, managers: 1, policy, stack, overlays: [gateOverlay] });
    gate = await AgentGate.lay(cluster);
    await cluster.deploy();
    await cluster.ready(undefined, 240_000);
    estate = await QuietEstate.make(cluster, services, { plain: { plain: "node2" }, volumeBytes: 1_000_000 });
  });
  after(() => cluster.down());

  const killRedis = async (): Promise<void> => {
    const container = await cluster.containerOn(cluster.manager, "redis");
    const format = '{{range .Mounts}}{{if eq .Destination "/data"}}{{.Name}}{{end}}{{end}}';
    const volume = await docker("inspect", "--format", format, container ?? expect.fail("no Redis"));
    const folder = volumePath(cluster.manager, volume);
    for (const name of await readdir(folder)) await rm(join(folder, name), { recursive: true });
    await cluster.kill(cluster.manager, "redis");
  };
  const nothing = (): Promise<void> => Promise.resolve();
  const losses: Readonly<Record<string, Loss>> = {
    "killed, its data gone": {
      lose: killRedis,
      bringBack: nothing,
      // By the controller, far from the deadline.
      withinMs: quietMinutes * 60_000 - 30_000,
    },
    "killed, its data gone, and the controller gone with it": {
      lose: async () => {
        await scale("controller", 0);
        await until(async () => (await cluster.containerOn(cluster.manager, "controller")) === null, 120_000);
        await killRedis();
      },
      bringBack: () => scale("controller", 1),
      withinMs: quietMinutes * 60_000 + laterMs,
    },
    "scaled to none, for good": {
      lose: async () => {
        await scale("redis", 0);
        await until(async () => (await cluster.containerOn(cluster.manager, "redis")) === null, 120_000);
      },
      bringBack: () => scale("redis", 1),
      withinMs: quietMinutes * 60_000 + laterMs,
    },
  };

  const states = async (name: string): Promise<string> =>
    docker("ps", "--all", "--filter", `volume=quiet-${name}`, "--format", "{{.State}}");
  const isAllQuiet = async (): Promise<boolean> => {
    const services = await docker("service", "ls", "--format", "{{.Name}} {{.Replicas}}");
    const isHeld = /^stopped 0\/0/m.test(services) && /^everywhere 0\/0/m.test(services);
    return isHeld && (await states("paused")).includes("paused");
  };

  /** Each agent, through Redis, later than `time`, ms since 1970: a controller remembers those of before. */
  const isHeard = async (time: number): Promise<boolean> => {
    const { agents } = await (await cluster.api()).call({ path: "/v1/agents", schema: agentsSchema });
    const heard = agents.filter(({ lastSeenAt }) => lastSeenAt !== null && Date.parse(lastSeenAt) > time);
    return heard.length === cluster.lab.nodes.length;
  };

  let round = 0;
  for (const [what, { lose, bringBack, withinMs }] of Object.entries(losses)) {
    it(`has all go on as before: Redis ${what}`, async () => {
      const id = String(++round);
      await estate.renewVolumes();
      await gate.arm({ id, requests: [], when: "after", opens: "quiet-stopped/_data/noise$" });
      let lostAt = 0;
      try {
        await estate.begin();
        await until(async () => (await gate.reached(id)).length > 0 && (await isAllQuiet()), 240_000);
        lostAt = performance.now();
        await lose();
        expect(await isAllQuiet(), "still, when Redis was lost").to.equal(true);
      } finally {
        await gate.disarm();
      }
      await estate.untilAsBefore(withinMs);
      console.log(`      all as before ${Math.round((performance.now() - lostAt) / 1000)} s after the loss began`);
      const backAt = Date.now();
      await bringBack();
      await until(() => isHeard(backAt).catch(() => false), 240_000);
      const { run } = await cluster.skepJson<BackupDocument>(["backup", "--wait"]);
      expect(run?.parts.filter(({ status }) => status !== "done")).to.deep.equal([]);
      await estate.untilAsBefore();
    });
  }
});
