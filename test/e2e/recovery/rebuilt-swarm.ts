// What is asked of every swarm of one node that was rebuilt by the API onto another machine.
import { expect } from "chai";
import { cp, readFile } from "node:fs/promises";
import { join } from "node:path";
import type { BackupDocument, RecoveryPlanDocument } from "../../../controller/cli/documents.ts";
import type { RecoveryReport } from "../../../controller/recovery/report.ts";
import type { LabNode } from "../../lab/node.ts";
import type { Cluster } from "../cluster.ts";
import { describeTree } from "../volumes.ts";
import { signingKey, until, uploadsVolume } from "./application.ts";
import { journalLines, killedRun } from "./killed-run.ts";

export const rebuildMode = ["--mode", "rebuild"];

export interface Rebuild {
  cluster: Cluster;
  inventory: string;
  journal: string;
}

/** With nothing that would stop it, and told what will be other. */
export async function planRebuild({
  cluster,
  inventory,
}: Pick<Rebuild, "cluster" | "inventory">): Promise<RecoveryPlanDocument> {
  const argv = ["recover", "plan", "--inventory", inventory, "--identity", cluster.identity, ...rebuildMode];
  const plan = await cluster.skepJson<RecoveryPlanDocument>(argv);
  expect(plan.findings.filter(({ severity }) => severity === "error")).to.deep.equal([]);
  expect(plan.findings.map(({ code }) => code)).to.include.members(["rebuild-identity", "rebuild-key"]);
  expect(plan.steps.find(({ id }) => id === "swarm")?.title).to.contain("a new swarm");
  return plan;
}

/**
 * Killed while it makes the swarm, fills it, lets services go and probes them; completes, with no step done twice.
 * `unprobed`: what is tried once it was killed at the last.
 */
export async function rebuildKilled(
  { cluster, inventory, journal }: Rebuild,
  unprobed: () => Promise<void> = () => Promise.resolve(),
): Promise<RecoveryReport> {
  const victims = new Set(["swarm", "nodes", "release:1", "skep", "probe"]);
  for (;;) {
    const killed = await killedRun(cluster, { journal, inventory, argv: rebuildMode }, (step) => victims.has(step));
    if (killed === null) break;
    victims.delete(killed);
    if (killed === "probe") await unprobed();
  }
  expect([...victims]).to.deep.equal([]);
  const done = (await journalLines(journal)).filter(({ event }) => event === "done").map(({ step }) => step);
  expect(done).to.have.length(new Set(done).size);
  const report = await rebuildReport(journal);
  const states = new Set(report.objects.map(({ state }) => state));
  expect([...states].sort(), JSON.stringify(report.objects)).to.deep.equal(["equal", "held", "mapped"]);
  expect(report.outcome).to.equal("complete");
  expect(report.mappings.join("\n")).to.contain("job migration stays held").and.contain("node node1");
  console.log(
    `      with five kills ${(report.rtoMs / 1000).toFixed(1)} s: ${report.phases.map(({ phase, ms }) => `${phase} ${(ms / 1000).toFixed(1)} s`).join(", ")}`,
  );
  return report;
}

export async function rebuildReport(journal: string): Promise<RecoveryReport> {
  return JSON.parse(await readFile(join(journal, "report.json"), "utf8")) as RecoveryReport;
}

/**
 * Tried in a copy of the journal, on a machine on which the controller's port leads elsewhere and a container's address is
 * cut off: `report` as it came out.
 */
export async function probeBlocked(
  { cluster, inventory, journal }: Rebuild,
  machine: LabNode,
): Promise<RecoveryReport> {
  const copy = `${journal}-blocked`;
  await cp(journal, copy, { recursive: true });
  const [web = ""] = (await machine.run(["docker", "ps", "--quiet", "--filter", "name=shop_web"])).split("\n");
  const pid = (await machine.run(["docker", "inspect", "--format", "{{.State.Pid}}", web])).trim();
  const rules = [
    { at: ["iptables", "-t", "nat"], rule: "OUTPUT -p tcp --dport 8420 -j REDIRECT --to-ports 1" },
    {
      at: ["nsenter", `--net=/proc/${pid}/ns/net`, "iptables"],
      rule: "INPUT -p tcp --dport 9 -j REJECT --reject-with icmp-host-unreachable",
    },
  ];
  for (const { at, rule } of rules) await machine.run([...at, "-I", ...rule.split(" ")]);
  const argv = ["recover", "run", "--inventory", inventory, "--journal", copy, ...rebuildMode, "--yes"];
  const result = await cluster.skep([...argv, "--identity", cluster.identity, "--health-seconds", "1"], {
    tolerant: true,
  });
  for (const { at, rule } of rules) await machine.run([...at, "-D", ...rule.split(" ")]);
  expect(result.code, result.stderr).to.equal(3);
  return await rebuildReport(copy);
}

/** Volumes, secrets and rows, the lock, and nothing of the kit left. `uploads`: the volume's tree as it was. */
export async function expectContent(machine: LabNode, uploads: string): Promise<void> {
  expect(await describeTree(machine, uploadsVolume)).to.equal(uploads);
  const id = (await machine.run(["docker", "ps", "--quiet", "--filter", "name=shop_web"])).split("\n")[0] ?? "";
  expect(await machine.run(["docker", "exec", id, "cat", "/run/secrets/signing_key"])).to.equal(signingKey);
  await until("the database opened with the rows that were committed", async () => {
    const { stdout } = await machine.exec(["docker", "service", "logs", "--raw", "shop_database"]);
    return [...stdout.matchAll(/opened with (\d+) committed rows/g)].some(([, rows]) => Number(rows) > 0);
  });
  const spec = "{{.Swarm.Cluster.Spec.EncryptionConfig.AutoLockManagers}} {{json .Swarm.Cluster.Spec.Labels}}";
  expect((await machine.run(["docker", "info", "--format", spec])).trim()).to.match(/^true (\{\}|null)$/);
  expect((await machine.exec(["ls", "/var/lib/skep-recovery"])).code).to.not.equal(0);
}

/** Into the same repository, with the new controller key. */
export async function expectBackupAgain(cluster: Cluster): Promise<void> {
  await cluster.ready(1);
  const { run } = await cluster.skepJson<BackupDocument>(["backup", "--wait"]);
  expect(run?.status, JSON.stringify(run?.parts.filter(({ status }) => status !== "done"))).to.equal("done");
  expect(run?.incarnation).to.equal(2);
}
