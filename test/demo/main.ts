// `npm run demo`: a swarm of three nodes with an application is made on this machine, backed up, robbed of a volume,
// and gets it back. Everything is real but the machines, which are containers of this one.
import { Command } from "commander";
import { nodeImage } from "../lab/image.ts";
import { Cluster } from "../e2e/cluster.ts";
import { Application, volumeName } from "./application.ts";
import { Timeline } from "./timeline.ts";

const { keep } = new Command("demo")
  .description("back up a swarm on this machine, lose a volume, get it back")
  .option("--keep", "leave everything up, and say how to look around", false)
  .addHelpText("after", "\nExample:\n  npm run demo -- --keep")
  .parse()
  .opts<{ keep: boolean }>();

function tell(text: string): void {
  console.log(text.replaceAll(/^(?=.)/gm, "   "));
}

async function demonstrate(cluster: Cluster, timeline: Timeline): Promise<void> {
  const application = new Application(cluster.manager, cluster.lab.node(1), nodeImage().tag);
  await timeline.step(
    "An application: a web service, a database that writes without pause, a config, a secret",
    async () => {
      await application.deploy();
      tell(`the database on ${application.node.name} has committed ${await application.reach(100)} rows`);
    },
  );
  await timeline.step("Skep: docker stack deploy -c stack.yml skep", async () => {
    await cluster.deploy();
    await cluster.ready();
    tell((await cluster.skep(["agents"])).stdout);
  });
  const before = await application.committedRows();
  await timeline.step("skep backup --wait", async () => {
    tell(`committed when the run begins: row ${before}`);
    await cluster.skep(["backup", "--wait"]);
    tell((await cluster.skep(["show", "latest"])).stdout);
  });
  await timeline.step(`The accident: volume ${volumeName} is deleted`, async () => {
    await application.loseVolume();
    await application.reach(1);
    tell(`the database began anew, with row 1: all that it had is gone`);
  });
  await timeline.step(`skep restore volume ${application.node.name}/${volumeName} --stop`, async () => {
    const target = `${application.node.name}/${volumeName}`;
    const restore = ["restore", "volume", target, "--stop", "--yes", "--identity", cluster.identity];
    tell((await cluster.skep(restore)).stdout);
  });
  await timeline.step("The proof: the database checks every row that it finds", async () => {
    const after = await application.reach(before + 1);
    const opened = await application.openedWith(before);
    if (opened < before) throw new Error(`row ${before} was committed before the run, ${opened} rows came back`);
    tell(`row ${before} was committed before the run; the database opened with ${opened} rows, each checksum right,`);
    tell(`and goes on: it is at row ${after} now`);
  });
}

const timeline = new Timeline();
const cluster = await timeline.step("A lab: three machines, a swarm, an S3 server", () =>
  Cluster.up({ ...(keep && { name: "demo" }), nodes: 3, managers: 3, keep, say: tell }),
);
// Ctrl-C takes the lab away, too; what it leaves when it can't, the next lab on this machine sweeps.
for (const signal of ["SIGINT", "SIGTERM"] as const) {
  process.once(signal, () => {
    console.error("\ninterrupted: taking the lab away");
    void (keep ? Promise.resolve() : cluster.down()).finally(() => process.exit(130));
  });
}
let failed = false;
try {
  await demonstrate(cluster, timeline);
} catch (error) {
  failed = true;
  console.error(`\n${error instanceof Error ? (error.stack ?? error.message) : String(error)}`);
}
timeline.print();
if (keep) {
  tell(`
Everything is still up. To look around:
  export SKEP_KIT=${cluster.kit}
  npm run -s skep -- runs
  npm run -s skep -- show latest
  npm run lab -- ssh node1 docker service ls
and to take it away:
  npm run lab -- down --name ${cluster.lab.name}`);
} else {
  await cluster.down();
}
process.exitCode = failed ? 1 : 0;
