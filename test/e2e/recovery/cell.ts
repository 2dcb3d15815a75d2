// A cell of the matrix tried: a burned swarm comes back on fresh machines, and an onlooker of its own compares.
import { expect } from "chai";
import { readdir, readFile, writeFile } from "node:fs/promises";
import { loadavg } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { isDeepStrictEqual } from "node:util";
import type { BackupDocument } from "../../../controller/cli/documents.ts";
import type { RecoveryReport } from "../../../controller/recovery/report.ts";
import { redisImage } from "../../lab/image.ts";
import type { LabNode } from "../../lab/node.ts";
import { skepImages } from "../../lab/skep-image.ts";
import { describeTree } from "../volumes.ts";
import { rollBack, until, witness } from "./application.ts";
import { anyHost, type BurnedSwarm, type Copy } from "./burned-swarm.ts";
import { runsWhole } from "./estate.ts";
import { journalLines, killedRun } from "./killed-run.ts";
import { nameOf, type Cell } from "./matrix.ts";

/** `mortal`: at which steps the CLI is killed where the cell says so. */
export async function tryCell(
  burned: BurnedSwarm,
  cell: Cell,
  mortal: (step: string) => boolean = () => true,
): Promise<void> {
  const copy = burned.copies.get(cell.state) ?? expect.fail("no such copy");
  const fresh = await freshMachines(burned, cell);
  try {
    await recover(burned, copy, { cell, mortal }, fresh);
    await compare(burned, copy, cell, fresh);
    await backUpAgain(burned, fresh);
  } finally {
    for (const node of fresh) await burned.cluster.lab.burn(node);
  }
}

/** With engines that hold no image, neither the applications' nor Skep's own, where all come from the run. */
async function freshMachines({ cluster, estate }: BurnedSwarm, { machines }: Cell): Promise<LabNode[]> {
  const planted = [...(await skepImages()), redisImage("skep-lab/redis:7"), ...estate.images];
  const fresh: LabNode[] = [];
  for (let count = 0; count < machines; count++) {
    fresh.push(await cluster.lab.addNode(estate.imagesOfRun ? {} : { images: planted }));
  }
  if (estate.imagesOfRun) {
    for (const node of fresh) expect((await node.run(["docker", "images", "--quiet"])).trim()).to.equal("");
  }
  return fresh;
}

/** Where the node `index` of the old swarm goes. */
function homeOf(index: number, fresh: readonly LabNode[]): LabNode {
  return fresh[Math.min(index, fresh.length - 1)] ?? expect.fail("no machine");
}

async function writeInventory(burned: BurnedSwarm, fresh: readonly LabNode[], path: string): Promise<void> {
  const machines: string[] = [];
  for (const node of fresh) {
    const { hostKey, operator } = await node.ssh();
    await writeFile(join(burned.cluster.folder, "sudo-password"), operator.password, { mode: 0o600 });
    machines.push(
      `  ${node.name}: { address: ${node.address}, role: manager, user: ${operator.user}, sudo: true, hostKey: "${hostKey}" }`,
    );
  }
  const homes = burned.nodes.map((name, index) => `  ${name}: ${homeOf(index, fresh).name}`);
  const { operator } = await homeOf(0, fresh).ssh();
  await writeFile(
    path,
    `version: 1
ssh: { key: ${operator.privateKeyPath}, sudoPasswordFile: sudo-password }
machines:
${machines.join("\n")}
nodes:
${homes.join("\n")}
`,
  );
}

async function recover(
  burned: BurnedSwarm,
  copy: Copy,
  { cell, mortal }: { cell: Cell; mortal: (step: string) => boolean },
  fresh: readonly LabNode[],
): Promise<void> {
  const { cluster } = burned;
  const { subnets } = burned.estate;
  const name = nameOf(cell).replaceAll("/", "-");
  const [inventory, journal] = [join(cluster.folder, `${name}.yml`), join(cluster.folder, name)];
  await writeInventory(burned, fresh, inventory);
  const argv = [
    ...["--run", copy.runId, "--mode", cell.mode],
    ...(cell.changes ? ["--remap-subnet", `${subnets.from}=${subnets.to}`, "--run-jobs"] : []),
  ];
  const killed = new Set<string>();
  const disturb = disturbanceOf(burned, cell, fresh);
  for (;;) {
    const victim = await killedRun(cluster, { journal, inventory, argv }, (step) => {
      disturb.see(step);
      return cell.disturbance === "kills" && mortal(step) && !killed.has(step);
    });
    if (victim === null) break;
    killed.add(victim);
  }
  await disturb.ended();
  if (cell.disturbance === "kills") expect([...killed], "it was killed").to.include("swarm");
  const lines = await journalLines(journal);
  const done = lines.filter(({ event }) => event === "done").map(({ step }) => step);
  expect(done, "done once").to.have.length(new Set(done).size);
  // A step that is tried again would find the swarm there, and nobody would know.
  expect(lines.filter(({ error }) => error?.code === "SKEP_SWARM_RESTORE_DIFFERS")).to.deep.equal([]);
  for (const node of fresh) {
    const left = await readdir(node.hostPath("/var/lib/docker"));
    expect(left, "of a laying down that is over").to.not.include("skep-swarm-restore.json");
  }
  const report = JSON.parse(await readFile(join(journal, "report.json"), "utf8")) as RecoveryReport;
  const phases = report.phases.map(({ phase, ms }) => `${phase} ${(ms / 1000).toFixed(1)}`).join(", ");
  console.log(
    `      load ${(loadavg()[0] ?? 0).toFixed(0)}, RTO ${(report.rtoMs / 1000).toFixed(1)} s (${phases})${killed.size > 0 ? `, ${killed.size} kills` : ""}`,
  );
  const odd = report.objects.filter(({ state }) => !["equal", "mapped", "held"].includes(state));
  expect(report.outcome, JSON.stringify([odd, report.services, report.skipped])).to.equal("complete");
}

/** The disturbance comes once, when a step of its kind has begun. */
function disturbanceOf(
  { cluster }: BurnedSwarm,
  { disturbance }: Cell,
  fresh: readonly LabNode[],
): { see: (step: string) => void; ended: () => Promise<void> } {
  let running: Promise<void> | null = null;
  const disturbances = {
    cut: async (step: string): Promise<void> => {
      const joining = fresh.find(({ name }) => step === `join:${name}`);
      await joining?.cut();
      await sleep(40_000);
      await joining?.heal();
    },
    store: async (): Promise<void> => {
      await cluster.lab.s3.suspend();
      await sleep(60_000);
      await cluster.lab.s3.resume();
    },
  };
  return {
    see: (step) => {
      if (disturbance !== "cut" && disturbance !== "store") return;
      // Which machine is the first, and joins nobody, is the plan's choice.
      if (step.startsWith(disturbance === "cut" ? "join:" : "volume:")) running ??= disturbances[disturbance](step);
    },
    ended: async () => {
      if (disturbance === "cut" || disturbance === "store") expect(running, "it was disturbed").not.to.equal(null);
      await running;
    },
  };
}

async function compare(burned: BurnedSwarm, copy: Copy, cell: Cell, fresh: readonly LabNode[]): Promise<void> {
  const manager = homeOf(0, fresh);
  await until("every service is whole", async () => await runsWhole(burned.estate, manager, fresh.length), 60_000);
  const ids = cell.mode === "raft" ? "same" : "new";
  const merged = burned.nodes.length > fresh.length;
  const hosts = merged
    ? new Map([[manager.name, anyHost]])
    : new Map(burned.nodes.map((name, index) => [homeOf(index, fresh).name, name]));
  await rollBack(manager, "shop_web");
  const seen = comparable(await witness(manager, hosts, ids), burned, cell);
  const former = comparable(copy.seen(ids, merged), burned, cell);
  expect(differences(seen, former)).to.deep.equal([]);
  for (const [volume, at] of Object.entries(burned.estate.stillVolumes)) {
    const node = homeOf(Math.min(at, burned.nodes.length - 1), fresh);
    expect(await describeTree(node, volume), volume).to.equal(copy.trees.get(volume));
  }
  expect(await burned.estate.contents(fresh)).to.deep.equal(copy.contents);
  await until("the ledger goes on from its rows", async () => {
    const { stdout } = await manager.exec(["docker", "service", "logs", "--raw", "shop_database"]);
    return [...stdout.matchAll(/opened with (\d+) committed rows/g)].some(([, count]) => Number(count) > 10);
  });
  for (const node of fresh) expect((await node.exec(["ls", "/var/lib/skep-recovery"])).code).to.not.equal(0);
  const locked = ["docker", "info", "--format", "{{.Swarm.Cluster.Spec.EncryptionConfig.AutoLockManagers}}"];
  expect((await manager.run(locked)).trim()).to.equal(String(cell.state === "locked"));
}

interface Seen {
  nodes: Record<string, { Labels?: Record<string, string> }>;
  services: Record<string, { TaskTemplate: { Placement?: object }; Mode: object }>;
  configs: Record<string, unknown>;
}

/** Each object that is not the same, as it is and as it was. */
function differences(seen: Seen, former: Seen): string[] {
  const flat = (view: Seen): Map<string, unknown> =>
    new Map(
      Object.entries(view).flatMap(([kind, objects]) =>
        Object.entries(objects as object).map(([name, content]) => [`${kind} ${name}`, content as unknown] as const),
      ),
    );
  const [now, before] = [flat(seen), flat(former)];
  return [...new Set([...now.keys(), ...before.keys()])]
    .filter((name) => !isDeepStrictEqual(now.get(name), before.get(name)))
    .map((name) => `${name}: ${JSON.stringify(now.get(name))}, was ${JSON.stringify(before.get(name))}`);
}

/** Without what the cell itself changes: nodes that became one or are more, a subnet, a job that is held until somebody runs it. */
function comparable(view: unknown, burned: BurnedSwarm, cell: Cell): Seen {
  const text = JSON.stringify(view);
  const [from, to] = [burned.estate.subnets.from, burned.estate.subnets.to].map((subnet) =>
    subnet.replace(/0\/\d+$/, ""),
  );
  const seen = JSON.parse(cell.changes ? text.replaceAll(to ?? "", from ?? "") : text) as Seen;
  // Skep's notes of what it held: of the copy's own run, or of one that ended before.
  seen.configs = Object.fromEntries(Object.entries(seen.configs).filter(([name]) => !name.startsWith("skep-hold")));
  if (burned.nodes.length > cell.machines) {
    const labels = Object.values(seen.nodes).flatMap((node) => Object.keys(node.Labels ?? {}));
    seen.nodes = { labels: [...new Set(labels)].sort() } as unknown as Seen["nodes"];
  } else {
    const known = Object.entries(seen.nodes).filter(([name]) => burned.nodes.includes(name));
    seen.nodes = Object.fromEntries(known);
  }
  const job = seen.services["migration"];
  if (cell.mode === "rebuild" && !cell.changes && job !== undefined) job.TaskTemplate.Placement = {};
  return seen;
}

/** The first new run goes into the same repository. */
async function backUpAgain({ cluster }: BurnedSwarm, fresh: readonly LabNode[]): Promise<void> {
  await cluster.ready(fresh.length);
  const { run } = await cluster.skepJson<BackupDocument>(["backup", "--wait"]);
  expect(run?.status, JSON.stringify(run?.parts.filter(({ status }) => status !== "done"))).to.equal("done");
}
