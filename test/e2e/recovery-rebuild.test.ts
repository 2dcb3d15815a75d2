import { expect } from "chai";
import { existsSync } from "node:fs";
import { readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { BackupDocument, RecoveryPlanDocument, RecoveryRunDocument } from "../../controller/cli/documents.ts";
import type { RecoveryReport } from "../../controller/recovery/report.ts";
import { layout } from "../../shared/repository/layout.ts";
import type { CommandResult } from "../lab/command.ts";
import { nodeImage, redisImage } from "../lab/image.ts";
import type { LabNode } from "../lab/node.ts";
import { skepImages } from "../lab/skep-image.ts";
import { updateInSwarm } from "../lab/swarm.ts";
import { Cluster } from "./cluster.ts";
import { deployApplication, uploadsVolume, witness } from "./recovery/application.ts";
import { journalLines } from "./recovery/killed-run.ts";
import {
  expectBackupAgain,
  expectContent,
  planRebuild,
  probeBlocked,
  rebuildKilled,
  rebuildMode,
} from "./recovery/rebuilt-swarm.ts";
import { expectUntouched, momentOn } from "./recovery/untouched.ts";
import { expectWrittenNothing, objectsOf, wakeLocked } from "./recovery/woken-swarm.ts";
import { describeTree } from "./volumes.ts";

interface Seen {
  services: Record<string, { TaskTemplate: { Placement?: { Constraints?: string[] } } }>;
}

describe("a burned swarm of one node, rebuilt by the API", function () {
  this.timeout(420_000);
  let cluster: Cluster;
  let fresh: LabNode;
  /** The machine of the lost swarm: off, until it is switched on again. */
  let dead: LabNode;
  let unlockKey: string;
  let inventory: string;
  let journal: string;
  let seenBefore: Seen;
  let uploads: string;
  /** Of a look at it while something was in the way. */
  let blocked: RecoveryReport | null = null;

  before(async () => {
    cluster = await Cluster.up({ nodes: 1, managers: 1, stack: { SKEP_REDIS_PLACEMENT: "node.hostname == node1" } });
    const node = cluster.manager;
    await updateInSwarm(node, ["swarm", "update", "--autolock=true", "--task-history-limit=3"]);
    await deployApplication([node, node, node], nodeImage().tag);
    await cluster.deploy();
    await cluster.ready();
    const { run } = await cluster.skepJson<BackupDocument>(["backup", "--wait"]);
    expect(run?.status).to.equal("done");
    seenBefore = (await witness(node, new Map(), "new")) as unknown as Seen;
    uploads = await describeTree(node, uploadsVolume);
    unlockKey = await node.run(["docker", "swarm", "unlock-key", "--quiet"]);
    fresh = await cluster.lab.addNode({ images: [...(await skepImages()), redisImage("skep-lab/redis:7")] });
    dead = node;
    await dead.crash();
    // The cluster that the tests speak with is where it comes back.
    cluster.lab.nodes = [fresh];
    const { hostKey, operator } = await fresh.ssh();
    inventory = join(cluster.folder, "inventory.yml");
    journal = join(cluster.folder, "journal");
    await writeFile(join(cluster.folder, "sudo-password"), operator.password, { mode: 0o600 });
    await writeFile(
      inventory,
      `version: 1
ssh: { key: ${operator.privateKeyPath}, user: ${operator.user}, sudo: true, sudoPasswordFile: sudo-password }
machines:
  m1: { address: ${fresh.address}, role: manager, hostKey: "${hostKey}" }
nodes: { node1: m1 }
`,
    );
  });
  after(() => cluster.down());

  /** As it is typed, into the journal with which the recovery then goes on. */
  const recover = async (exitCode: number, argv: readonly string[]): Promise<CommandResult> => {
    const always = ["--inventory", inventory, "--journal", journal, "--identity", cluster.identity, ...rebuildMode];
    const result = await cluster.skep(["recover", "run", ...always, "--yes", ...argv], { tolerant: true });
    expect(result.code, result.stderr).to.equal(exitCode);
    return result;
  };
  const events = async (): Promise<string[]> =>
    (await journalLines(journal)).flatMap(({ step, event }) =>
      step === undefined || event === undefined ? [] : [`${step} ${event}`],
    );
  const writeProgram = async (name: string, body: string): Promise<string> => {
    const path = join(cluster.folder, name);
    await writeFile(path, `#!/bin/sh\n${body}\n`, { mode: 0o700 });
    return path;
  };

  it("says beforehand what will be other than it was", async () => {
    await planRebuild({ cluster, inventory });
  });

  it("is only planned by --dry-run", async () => {
    const moment = await momentOn(fresh);
    const plan = JSON.parse((await recover(0, ["--dry-run", "--json"])).stdout) as RecoveryPlanDocument;
    expect(plan.steps.map(({ id }) => id)).to.include.members(["fence", "kit:m1", "take-over", "swarm"]);
    expect(existsSync(journal)).to.be.false;
    await expectUntouched(fresh, moment);
  });

  it("is left as it is while something lies above the repository's object, which is named", async () => {
    const moment = await momentOn(fresh);
    const store = await cluster.openStore();
    try {
      const keys: string[] = [];
      for await (const { key } of store.list(layout.repositoryPrefix)) keys.push(key);
      const above = layout.repository(Number(keys.sort().at(-1)?.split("/").at(-1)) + 1);
      await store.put(above, Buffer.from("whoever may put"));
      const { stderr } = await recover(1, []);
      expect(stderr).to.contain("SKEP_RECOVERY_REFUSED").and.contain(above).and.contain("--accept-foreign");
      const accepted = await recover(0, ["--dry-run", "--accept-foreign", "--json"]);
      const { findings } = JSON.parse(accepted.stdout) as RecoveryPlanDocument;
      expect(findings.map(({ code }) => code)).to.include("repository-unproven");
      await store.delete([above]);
    } finally {
      await store.close();
    }
    expect(existsSync(journal)).to.be.false;
    await expectUntouched(fresh, moment);
  });

  it("is left as it is where the --fence-command says no", async () => {
    const moment = await momentOn(fresh);
    const asked = join(cluster.folder, "asked-to-fence");
    const program = await writeProgram("fence-no", `cat > ${asked}\necho the switch does not answer >&2\nexit 7`);
    const { stderr } = await recover(1, ["--fence-command", program]);
    expect(stderr).to.contain("SKEP_RECOVERY_FENCE_COMMAND").and.contain("ended with 7: the switch does not answer");
    expect(await readFile(asked, "utf8")).to.equal(`${dead.address} ${dead.name}\n`);
    expect(await events()).to.deep.equal(["fence started", "fence failed"]);
    // Packing goes on beside the fence, and ends with it.
    expect(await readdir(journal)).to.deep.equal(["journal.jsonl"]);
    await expectUntouched(fresh, moment);
  });

  it("comes as far as --until says, and by --only does one step, in its turn", async () => {
    const program = await writeProgram("fence-yes", "cat > /dev/null");
    const { stdout } = await recover(0, ["--fence-command", program, "--until", "kit:m1", "--json"]);
    const { left, report } = JSON.parse(stdout) as RecoveryRunDocument;
    expect(report).to.equal(null);
    expect(left).to.include.members(["take-over", "swarm"]).and.not.include("kit:m1");
    const until = (await events()).filter((event) => event.endsWith(" done"));
    expect(until).to.have.members(["fence done", "kit:m1 done"]);
    const early = (await recover(1, ["--only", "swarm"])).stderr;
    expect(early).to.contain("SKEP_RECOVERY_STEP_EARLY").and.contain("step swarm comes after take-over");
    const volume = `volume:m1:node1/${uploadsVolume}`;
    await recover(0, ["--only", volume]);
    expect((await events()).slice(-2)).to.deep.equal([`${volume} started`, `${volume} done`]);
    expect(await describeTree(fresh, uploadsVolume)).to.equal(uploads);
    expect((await fresh.run(["docker", "info", "--format", "{{.Swarm.LocalNodeState}}"])).trim()).to.equal("inactive");
  });

  it("comes back by one command, killed while it makes the swarm, fills it, lets services go and probes them", async () => {
    const { probes } = await rebuildKilled({ cluster, inventory, journal }, async () => {
      blocked = await probeBlocked({ cluster, inventory, journal }, fresh);
    });
    // The kit was taken away in between: nobody can ask from inside an overlay, so nothing is claimed.
    const states = new Map(probes.map(({ subject, state }) => [subject, state]));
    expect(states.get("skep_controller 8420/tcp"), JSON.stringify(probes)).to.equal("answers");
    expect(states.get("shop_inside")).to.equal("skipped");
  });

  it("says which published port and which address of an overlay did not answer, where something was in their way", () => {
    const { outcome, probes, next } = blocked ?? expect.fail("nothing was blocked");
    expect(outcome).to.equal("partial");
    const failed = probes.filter(({ state }) => state === "failed");
    const subjects = failed.map(({ subject, machine }) => `${subject} on ${machine}`);
    expect(subjects, JSON.stringify(probes)).to.have.members([
      ...["skep_controller 8420/tcp on m1", "shop_inside on m1", "shop_outside on m1"],
    ]);
    expect(failed.find(({ subject }) => subject === "shop_inside")?.detail).to.match(
      /^[\d.]+ of shop_web on m1: EHOSTUNREACH$/,
    );
    expect(failed.find(({ kind }) => kind === "port")?.detail)
      .to.contain(`${fresh.address}:8420`)
      .and.contain("refused");
    expect(next.join("\n")).to.contain("skep_controller 8420/tcp did not answer");
  });

  it("has each object as it was, by name, and its job held", async () => {
    const now = (await witness(fresh, new Map([[fresh.name, "node1"]]), "new")) as unknown as Seen;
    const job = now.services["migration"] ?? expect.fail("no job");
    expect(job.TaskTemplate.Placement?.Constraints).to.deep.equal(["node.id==held-by-skep"]);
    job.TaskTemplate = seenBefore.services["migration"]?.TaskTemplate ?? expect.fail("there was a job");
    expect(now).to.deep.equal(seenBefore);
  });

  it("has the content of volumes and secrets, and is autolocked as it was", async () => {
    await expectContent(fresh, uploads);
  });

  it("backs itself up again into the same repository, with the new controller key", async () => {
    await expectBackupAgain(cluster);
  });

  it("is alone with its repository when the old machine is switched on again: that one's controller says why and ends", async () => {
    const before = await objectsOf(cluster);
    expect(await wakeLocked(dead, unlockKey)).to.contain("counts another controller's signature");
    await expectWrittenNothing(cluster, before);
  });
});
