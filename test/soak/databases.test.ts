// Real databases under write load, taken each way that docs/CONSISTENCY.md recommends, restored beside themselves, and
// asked: do you start, are you whole, and do you have all that you had acknowledged before you were made quiet?
import { randomBytes } from "node:crypto";
import { readFile, writeFile } from "node:fs/promises";
import { expect } from "chai";
import type { BackupDocument } from "../../controller/cli/documents.ts";
import type { Part, Run } from "../../shared/repository/run.ts";
import { until } from "../e2e/agent-rig.ts";
import { Cluster } from "../e2e/cluster.ts";
import type { LabNode } from "../lab/node.ts";
import { databasesImage } from "./databases-image.ts";
import { hows, load, mariadb, postgres, type DatabaseServer, type How } from "./database-servers.ts";

/** Transactions that may have been carried out and not acknowledged when the quiet began: one a writer. */
const mostInFlight = 2;

interface Acknowledged {
  /** ms since 1970, when the client had the answer. */
  at: number;
  id: number;
}

describe("databases under write load", function () {
  this.timeout(600_000);
  let cluster: Cluster;
  let databases: LabNode;
  const secret = "/root/root_password";

  before(async () => {
    const policy = 'version: 1\nselect:\n  volumes:\n    include: ["postgres-*", "mariadb-*"]\n';
    cluster = await Cluster.up({ nodes: 2, managers: 1, policy, images: [databasesImage] });
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

  for (const server of [postgres, mariadb]) describeServer(server);

  function describeServer(server: DatabaseServer): void {
    describe(server.name, () => {
      let run: Run;
      const services = hows.flatMap((how) => [`${server.name}-${how}`, `load-${server.name}-${how}`]);

      before(async () => {
        for (const how of hows) await createServices(how);
        for (const how of hows) await until(async () => (await acknowledged(how)).length > 500, 180_000);
        run = (await cluster.skepJson<BackupDocument>(["backup", "--wait"])).run ?? expect.fail("no run");
      });
      after(async () => {
        for (const name of services) await cluster.manager.exec(["docker", "service", "rm", name]);
      });

      const create = (name: string, ...more: string[]): Promise<string> =>
        docker(
          ...([cluster.manager, "service", "create", "--detach", "--quiet", "--no-resolve-image"] as const),
          ...["--name", name, "--network", "data", "--endpoint-mode", "dnsrr", ...more],
        );

      async function createServices(how: How): Promise<void> {
        const name = `${server.name}-${how}`;
        await create(
          name,
          ...["--constraint", "node.hostname==node2", "--stop-signal", server.stopSignal, "--user", server.user],
          ...["--mount", `type=volume,source=${name},target=${server.dataFolder}`, "--secret", "root_password"],
          ...["--env", `PGDATA=${server.dataFolder}`, ...server.labels[how].flatMap((label) => ["--label", label])],
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
            const [seconds, id] = line.split(" ").map(Number);
            if (seconds !== undefined && id !== undefined) all.push({ at: seconds * 1000, id });
          }
        }
        return all.sort((a, b) => a.at - b.at);
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
        const torn =
          "SELECT count(*) FROM sum WHERE n <> (SELECT count(*) FROM ledger WHERE ledger.writer = sum.writer)";
        expect(await inside(server.query(torn))).to.equal("0");
        return new Set((await inside(server.query("SELECT id FROM ledger"))).split("\n").map(Number));
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
        }
        expect(part("dump").kind).to.equal("dump");
        for (const how of hows) {
          const endedAt = Date.parse(run.endedAt);
          await until(async () => ((await acknowledged(how)).at(-1)?.at ?? 0) > endedAt, 120_000);
        }
      });

      for (const how of ["stop", "pause"] as const) {
        it(`have, after ${how}, all that was acknowledged before the quiet, and nothing of after it`, async () => {
          const all = await acknowledged(how);
          const last = lastBeforeTheQuiet(all, run);
          const before = all.slice(0, last + 1).map(({ id }) => id);
          const silentMs = Math.round((all[last + 1]?.at ?? NaN) - (all[last]?.at ?? NaN));
          const ids = await withServer(await restore(how), idsIn);
          const missing = before.filter((id) => !ids.has(id));
          console.log(
            `      ${server.name} ${how}: ${before.length} acknowledged before, ${ids.size} restored, ${missing.length} missing; ` +
              `quiet ${part(how).quiet?.[0]?.quietMs} ms, no answer for ${silentMs} ms`,
          );
          expect(missing).to.deep.equal([]);
          expect(ids.size - before.length).to.be.within(0, mostInFlight);
        });
      }

      it("have, after a dump, all that was acknowledged before it began", async () => {
        const beganAt = Date.parse(part("dump").startedAt);
        const before = (await acknowledged("dump")).filter(({ at }) => at < beganAt).map(({ id }) => id);
        const copy = await restore("dump");
        const argv = part("dump").load?.argv ?? expect.fail("no load");
        const file = `/var/lib/docker/volumes/${copy}/_data/dump`;
        const fresh = `fresh-${server.name}`;
        const ids = await withServer(fresh, async (container) => {
          const loading = 'file=$1; shift; exec docker exec --interactive "$@" < "$file"';
          await databases.run(["sh", "-c", loading, "sh", file, container, ...argv]);
          return await idsIn(container);
        });
        await docker(databases, "volume", "rm", copy);
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

/** Index of the answer before the longest silence of a run: nothing was answered while the server was quiet. */
function lastBeforeTheQuiet(all: readonly Acknowledged[], run: Run): number {
  let found = -1;
  let longest = 0;
  for (let i = 0; i + 1 < all.length; i++) {
    const [from, to] = [all[i]?.at ?? 0, all[i + 1]?.at ?? 0];
    if (from < Date.parse(run.startedAt) || from > Date.parse(run.endedAt) || to - from <= longest) continue;
    longest = to - from;
    found = i;
  }
  expect(found, "no silence in the run").to.be.at.least(0);
  return found;
}
