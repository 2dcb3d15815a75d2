// Real databases under write load, taken by the recipes of docs/CONSISTENCY.md and hot from snapshots of btrfs, restored
// beside themselves by the CLI, and asked: do you start, are you whole, and do you have all that you had acknowledged
// before you were made quiet? The agents are those of stack.yml with deploy/examples/btrfs.yml.
import { randomBytes } from "node:crypto";
import { readFile, writeFile } from "node:fs/promises";
import { expect } from "chai";
import { z } from "zod";
import type { BackupDocument } from "../../controller/cli/documents.ts";
import type { RestoreDocument } from "../../controller/cli/restore-documents.ts";
import type { Part, Run } from "../../shared/repository/run.ts";
import { until } from "../e2e/agent-rig.ts";
import { Cluster } from "../e2e/cluster.ts";
import { recipe } from "../e2e/recipes.ts";
import type { LabNode } from "../lab/node.ts";
import { databasesImage } from "./databases-image.ts";
import { load, mariadb, postgres, redis, type DatabaseServer } from "./database-servers.ts";

type How = "stop" | "pause" | "dump" | "hot";
const hows: readonly How[] = ["stop", "pause", "dump", "hot"];

/** Transactions that may have been carried out and not acknowledged when the quiet began: one a writer. */
const mostInFlight = 2;

interface Acknowledged {
  /** ms since 1970, when the client had the answer. */
  at: number;
  id: number;
}

/** From when on a server stood still until it went on, by its engine: ms since 1970. */
interface Quiet {
  from: number;
  to: number;
}

const eventSchema = z.looseObject({
  Action: z.string(),
  timeNano: z.number(),
  Actor: z.looseObject({ Attributes: z.looseObject({ name: z.string().optional() }) }),
});

describe("databases under write load", function () {
  this.timeout(900_000);
  let cluster: Cluster;
  let databases: LabNode;
  const secret = "/root/root_password";

  before(async () => {
    const policy = 'version: 1\nselect:\n  volumes:\n    include: ["postgres-*", "mariadb-*", "redis-*"]\n';
    const disks = { dataRoot: "btrfs", overlays: ["btrfs.yml"] } as const;
    cluster = await Cluster.up({ nodes: 2, managers: 1, policy, images: [databasesImage], ...disks });
    databases = cluster.lab.node("node2");
    await cluster.deploy();
    await cluster.ready();
    const manager = cluster.manager;
    await docker(manager, "network", "create", "--driver", "overlay", "data");
    const password = randomBytes(12).toString("hex");
    for (const node of cluster.lab.nodes) await writeFile(node.hostPath(secret), password, { mode: 0o644 });
    await docker(manager, "secret", "create", "root_password", secret);
  });
  after(() => cluster.down());

  const docker = async (node: LabNode, ...argv: string[]): Promise<string> =>
    (await node.run(["docker", ...argv])).trim();

  for (const server of [postgres, mariadb, redis]) describeServer(server);

  function describeServer(server: DatabaseServer): void {
    describe(server.name, () => {
      let run: Run;
      let events: z.infer<typeof eventSchema>[];
      const services = hows.flatMap((how) => [`${server.name}-${how}`, `load-${server.name}-${how}`]);

      before(async () => {
        for (const how of hows) await createServices(how);
        for (const how of hows) await until(async () => (await acknowledged(how)).length > 200, 300_000);
        run = (await cluster.skepJson<BackupDocument>(["backup", "--wait"])).run ?? expect.fail("no run");
        const end = String(Math.ceil(Date.now() / 1000));
        const since = String(Math.floor(Date.parse(run.startedAt) / 1000));
        const times = ["--since", since, "--until", end, "--filter", "type=container"];
        const lines = await docker(databases, "events", ...times, "--format", "{{json .}}");
        events = lines.split("\n").map((line) => eventSchema.parse(JSON.parse(line)));
      });
      after(async () => {
        for (const name of services) await cluster.manager.exec(["docker", "service", "rm", name]);
        // The next server's run has enough to do.
        for (const how of hows) {
          const remove = ["docker", "volume", "rm", `${server.name}-${how}`];
          await until(async () => (await databases.exec(remove)).code === 0, 60_000);
        }
      });

      const create = (name: string, ...more: string[]): Promise<string> =>
        docker(
          ...([cluster.manager, "service", "create", "--detach", "--quiet", "--no-resolve-image"] as const),
          ...["--name", name, "--network", "data", "--endpoint-mode", "dnsrr", ...more],
        );

      async function createServices(how: How): Promise<void> {
        const name = `${server.name}-${how}`;
        const labels = how === "hot" ? [] : await recipe(server.heading, how);
        await create(
          name,
          ...["--constraint", "node.hostname==node2", "--stop-signal", server.stopSignal, "--user", server.user],
          ...["--mount", `type=volume,source=${name},target=${server.dataFolder}`, "--secret", "root_password"],
          ...["--env", `PGDATA=${server.dataFolder}`, ...labels.flatMap((label) => ["--label", label])],
          ...[databasesImage.tag, "bash", "-c", server.start],
        );
        await create(
          `load-${name}`,
          ...["--constraint", "node.hostname==node1", "--mount", "type=volume,source=acks,target=/acknowledged"],
          ...[databasesImage.tag, "bash", "-c", load(server, name, `tasks.${name}`)],
        );
      }

      /** In the order in which the answers came. */
      async function acknowledged(how: How): Promise<Acknowledged[]> {
        const all: Acknowledged[] = [];
        for (const writer of [1, 2]) {
          const file = `/var/lib/docker/volumes/acks/_data/${server.name}-${how}.${writer}`;
          const text = await readFile(cluster.manager.hostPath(file), "utf8").catch(() => "");
          // The last line may be half written.
          for (const line of text.split("\n").slice(0, -1)) {
            // A server that is not ready may answer in words.
            const [, seconds, id] = /^(\d+\.\d+) (\d+)$/.exec(line) ?? [];
            if (id !== undefined) all.push({ at: Number(seconds) * 1000, id: Number(id) });
          }
        }
        return all.sort((a, b) => a.at - b.at);
      }

      function quietOf(how: "stop" | "pause"): Quiet {
        const [begun, over] = how === "stop" ? ["die", "start"] : ["pause", "unpause"];
        const isOfServer = (name = ""): boolean => name.startsWith(`${server.name}-${how}.`);
        const own = events.filter(({ Actor }) => isOfServer(Actor.Attributes.name));
        const first = own.findIndex(({ Action }) => Action === begun);
        const from = own[first] ?? expect.fail(`${server.name} did not ${how}`);
        const to =
          own.slice(first).find(({ Action }) => Action === over) ?? expect.fail(`${server.name} did not go on`);
        return { from: from.timeNano / 1e6, to: to.timeNano / 1e6 };
      }

      const part = (how: How): Part =>
        run.parts.find(({ name }) => name === `node2/${server.name}-${how}`) ??
        expect.fail(`no part for ${how} among ${run.parts.map(({ name }) => name).join(", ")}`);

      /** Runs `work` with the container of a server on the volume, which goes with it afterwards. */
      async function withServer<T>(volume: string, work: (container: string) => Promise<T>): Promise<T> {
        const name = `check-${volume}`;
        const secrets = ["--volume", `${secret}:/run/secrets/root_password:ro`];
        const data = ["--volume", `${volume}:${server.dataFolder}`, "--env", `PGDATA=${server.dataFolder}`];
        const image = [databasesImage.tag, "bash", "-c", server.startEmpty];
        await docker(
          databases,
          "run",
          "--detach",
          "--name",
          name,
          "--user",
          server.user,
          ...secrets,
          ...data,
          ...image,
        );
        try {
          const ready = async (): Promise<boolean> =>
            (await databases.exec(["docker", "exec", name, ...server.ready])).code === 0;
          await until(ready, 90_000).catch(async (error: unknown) => {
            const logs = await databases.exec(["docker", "logs", name]);
            throw new Error(`${name} does not answer:\n${logs.stdout}${logs.stderr}`, { cause: error });
          });
          return await work(name);
        } finally {
          await docker(databases, "rm", "--force", name);
          await docker(databases, "volume", "rm", volume);
        }
      }

      /** Ids in the ledger of what was restored, after the server's own check, and that of the test: a transaction is whole or not there. */
      async function idsIn(container: string): Promise<Set<number>> {
        const inside = (argv: string[]): Promise<string> => docker(databases, "exec", container, ...argv);
        expect(await inside([...server.check])).to.match(server.goodCheck);
        expect(await inside([...server.torn])).to.equal("0");
        return new Set((await inside([...server.ids])).split("\n").map(Number));
      }

      const restore = async (how: How): Promise<string> => {
        const copy = `copy-${server.name}-${how}`;
        const name = `node2/${server.name}-${how}`;
        await cluster.skep(["restore", "volume", name, "--as", copy, "--yes", "--identity", cluster.identity]);
        return copy;
      };

      it("are taken as their labels say, and go on", async () => {
        expect(run.parts.filter(({ status }) => status !== "done").map(({ name, error }) => [name, error])).to.be.empty;
        for (const how of ["stop", "pause"] as const) {
          expect(part(how).consistency).to.equal("quiet");
          expect(part(how).quiet?.map((each) => each.how)).to.deep.equal([how]);
          expect(part(how).moment).to.equal("btrfs");
        }
        expect(part("hot")).to.include({ consistency: "atomic", moment: "btrfs" });
        expect(part("dump").kind).to.equal("dump");
        for (const how of hows) {
          const endedAt = Date.parse(run.endedAt);
          await until(async () => ((await acknowledged(how)).at(-1)?.at ?? 0) > endedAt, 120_000);
        }
      });

      for (const how of ["stop", "pause"] as const) {
        it(`have, after ${how}, all that was acknowledged before the quiet, and nothing of after it`, async () => {
          const { from, to } = quietOf(how);
          const all = await acknowledged(how);
          const before = all.filter(({ at }) => at < from).map(({ id }) => id);
          // An answer may have been under way when the server stood still.
          const beforeItWentOn = all.filter(({ at }) => at < to);
          // The engine tells of the end of a pause a little after it: an answer may have come in between.
          const gaps = all.slice(1).flatMap(({ at }, i) => {
            const since = all[i]?.at ?? at;
            return at >= from && since <= to ? [at - since] : [];
          });
          const silentMs = Math.round(Math.max(...gaps));
          const ids = await withServer(await restore(how), idsIn);
          const missing = before.filter((id) => !ids.has(id));
          console.log(
            `      ${server.name} ${how}: ${before.length} acknowledged before, ${ids.size} restored, ${missing.length} missing; ` +
              `quiet ${part(how).quiet?.[0]?.quietMs} ms, no answer for ${silentMs} ms`,
          );
          expect(missing).to.deep.equal([]);
          expect(ids.size).to.be.at.most(beforeItWentOn.length + mostInFlight);
        });
      }

      it("have, taken hot from a snapshot of btrfs, all that was acknowledged before the part began", async () => {
        const { startedAt, endedAt, quiet = [] } = part("hot");
        const all = await acknowledged("hot");
        const before = all.filter(({ at }) => at < Date.parse(startedAt)).map(({ id }) => id);
        const during = all.filter(({ at }) => at >= Date.parse(startedAt) && at <= Date.parse(endedAt));
        const longestMs = Math.max(0, ...during.slice(1).map(({ at }, i) => at - (during[i]?.at ?? at)));
        const ids = await withServer(await restore("hot"), idsIn);
        const missing = before.filter((id) => !ids.has(id));
        console.log(
          `      ${server.name} hot: ${before.length} acknowledged before, ${ids.size} restored, ${missing.length} missing; ` +
            `quiet ${quiet.reduce((sum, { quietMs }) => sum + quietMs, 0)} ms, ` +
            `${during.length} answers while it was taken, ${Math.round(longestMs)} ms apart at the most`,
        );
        expect(before.length).to.be.above(0);
        expect(missing).to.deep.equal([]);
      });

      it("have, after their dump was loaded, all that was acknowledged before it began", async () => {
        const { startedAt, totals } = part("dump");
        const before = (await acknowledged("dump")).filter(({ at }) => at < Date.parse(startedAt)).map(({ id }) => id);
        const ids = await withServer(`fresh-${server.name}`, async (container) => {
          const into = ["--load-into", container, "--yes", "--identity", cluster.identity];
          const name = `node2/${server.name}-dump`;
          const { result } = await cluster.skepJson<RestoreDocument>(["restore", "volume", name, ...into]);
          expect(result).to.deep.include({ kind: "restore-load", loadedBytes: totals?.sourceBytes });
          return await idsIn(container);
        });
        const missing = before.filter((id) => !ids.has(id));
        console.log(
          `      ${server.name} dump: ${before.length} acknowledged before, ${ids.size} restored, ${missing.length} missing`,
        );
        expect(before.length).to.be.above(0);
        expect(missing).to.deep.equal([]);
      });
    });
  }
});
