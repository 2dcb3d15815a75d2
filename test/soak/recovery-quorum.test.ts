// Mode quorum, a variant each: what is left of the managers, how the swarm is locked, and what stands in the survivor's log.
import { expect } from "chai";
import { readdirSync } from "node:fs";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { BackupDocument, RecoveryPlanDocument, RecoveryRunDocument } from "../../controller/cli/documents.ts";
import type { RecoveryReport } from "../../controller/recovery/report.ts";
import { layout } from "../../shared/repository/layout.ts";
import { nodeImage, redisImage } from "../lab/image.ts";
import type { LabNode } from "../lab/node.ts";
import { skepImages } from "../lab/skep-image.ts";
import { Cluster } from "../e2e/cluster.ts";
import {
  databaseVolume,
  deployApplication,
  signingKey,
  until,
  uploadsVolume,
  witness,
} from "../e2e/recovery/application.ts";
import { journalLines, killedRun } from "../e2e/recovery/killed-run.ts";
import { expectOtherKeys, swarmKeys } from "../e2e/recovery/swarm-keys.ts";
import { describeTree } from "../e2e/volumes.ts";

interface Variant {
  /** Four nodes: node2 and node3 burn, node1 goes on. node4 is a worker, or a manager that survives too. */
  managers: 3 | 4;
  /** The unlock key was rotated after the run. */
  rotated: boolean;
  /** The survivor was ordered something when no majority heard it any more, and that is kept. */
  keeps: boolean;
  /** All its keys are rotated at the end. */
  rotates: boolean;
  /** Somebody put an object above the repository's. */
  foreign: boolean;
  /** The CLI is killed as each of these begins; `laying`: while the survivor's directory is exchanged. */
  kills: readonly string[];
}

const variants: Record<string, Variant> = {
  "an autolocked swarm that lost two of its three managers": {
    ...{ managers: 3, rotated: false, keeps: false, rotates: true, foreign: true },
    kills: ["swarm", "join:m2", "nodes", "probe", "rotate:tokens", "rotate:ca", "rotate:unlock-key"],
  },
  "an autolocked swarm of four managers that lost two, and whose key was rotated": {
    ...{ managers: 4, rotated: true, keeps: false, rotates: false, foreign: false },
    kills: ["join:m4"],
  },
  "an autolocked swarm whose survivor has orders that nobody acknowledged": {
    ...{ managers: 3, rotated: false, keeps: true, rotates: false, foreign: false },
    kills: ["swarm", "laying"],
  },
};

for (const [title, variant] of Object.entries(variants)) describeVariant(title, variant);

function describeVariant(title: string, { managers, rotated, keeps, rotates, foreign, kills }: Variant): void {
  describe(title, function () {
    this.timeout(900_000);
    let cluster: Cluster;
    let survivor: LabNode;
    let worker: LabNode;
    let fresh: LabNode;
    let inventory: string;
    let journal: string;
    let seenBefore: unknown;
    let uploads: string;
    let running: string[];
    let keysBefore: string[];
    const mode = ["--mode", "quorum", "--newer-entries", keeps ? "keep" : "drop"];
    const lateConfig = "late_config";

    /**
     * Ids of node4's containers, and of one on the survivor that is not swarm's, unless its engine is stopped; not Skep's own,
     * which get a new key.
     */
    const containers = async (): Promise<string[]> => {
      const format = '{{.ID}} {{.Names}} {{.Label "com.docker.swarm.service.name"}}';
      const onWorker = await worker.run(["docker", "ps", "--no-trunc", "--format", format]);
      const bystander = await survivor.run([
        "docker",
        "inspect",
        "--format",
        "{{.Id}} {{.State.StartedAt}}",
        "bystander",
      ]);
      const tasks = onWorker
        .trim()
        .split("\n")
        .filter((line) => !line.endsWith("skep_controller"));
      return [...tasks.sort(), ...(keeps ? [] : [bystander])];
    };

    before(async () => {
      cluster = await Cluster.up({ nodes: 4, managers, stack: { SKEP_REDIS_PLACEMENT: "node.hostname == node1" } });
      const [first, second, third, fourth] = cluster.lab.nodes;
      if (first === undefined || second === undefined || third === undefined || fourth === undefined)
        throw new RangeError("four nodes");
      [survivor, worker] = [first, fourth];
      await first.run(["docker", "swarm", "update", "--autolock=true"]);
      // The database on node2, which burns; the web service on the worker.
      await deployApplication([first, second, fourth], nodeImage().tag, 4);
      await cluster.deploy();
      await cluster.ready(4, 240_000);
      const { run } = await cluster.skepJson<BackupDocument>(["backup", "--wait"]);
      expect(run?.status).to.equal("done");
      if (rotated) {
        await first.run(["docker", "swarm", "unlock-key", "--rotate", "--quiet"]);
        const key = await first.run(["docker", "swarm", "unlock-key", "--quiet"]);
        await writeFile(join(cluster.folder, "unlock-key"), key, { mode: 0o600 });
      }
      seenBefore = await witness(first, new Map());
      keysBefore = await swarmKeys(first);
      uploads = await describeTree(worker, uploadsVolume);
      fresh = await cluster.lab.addNode({ images: [...(await skepImages()), redisImage("skep-lab/redis:7")] });
      journal = join(cluster.folder, "journal");
      inventory = join(cluster.folder, "inventory.yml");
      await writeInventory({ node1: "m1", node2: "m2", node3: "gone", node4: managers === 4 ? "m4" : "survives" });
      const always = ["--name", "bystander", "--restart", "always", "--init"];
      await first.run(["docker", "run", "--detach", ...always, nodeImage().tag, "sleep", "100000"]);
      running = await containers();
      expect(running.join("\n")).to.contain("shop_web").and.contain("shop_sidecar").and.contain("skep_agent");
    });
    after(() => cluster.down());

    const writeInventory = async (nodes: Record<string, string>): Promise<void> => {
      const [one, two, four] = [await survivor.ssh(), await fresh.ssh(), await worker.ssh()];
      const fourth = `\n  m4: { address: ${worker.address}, role: manager, hostKey: "${four.hostKey}" }`;
      await writeFile(join(cluster.folder, "sudo-password"), one.operator.password, { mode: 0o600 });
      await writeFile(
        inventory,
        `version: 1
ssh: { key: ${one.root.privateKeyPath}, sudoPasswordFile: sudo-password }
machines:
  m1: { address: ${survivor.address}, role: manager, user: operator, sudo: true, hostKey: "${one.hostKey}" }
  m2: { address: ${fresh.address}, role: manager, hostKey: "${two.hostKey}" }${managers === 4 ? fourth : ""}
nodes: ${JSON.stringify(nodes)}
`,
      );
    };
    const rotating = rotates ? ["--rotate", "tokens,unlock-key,ca"] : [];
    /** What the log of the survivor asks for besides; the key only once it was missed. */
    const unlocking = (): string[] => (rotated ? ["--unlock-key-file", join(cluster.folder, "unlock-key")] : []);
    const asking = (verb: "plan" | "run", more: readonly string[]): string[] => [
      ...["recover", verb, "--inventory", inventory, "--identity", cluster.identity],
      ...more,
    ];
    const plan = async (more = [...mode, ...unlocking()]): Promise<RecoveryPlanDocument> => {
      const { stdout } = await cluster.skep(asking("plan", [...more, "--json"]), { tolerant: true });
      return JSON.parse(stdout) as RecoveryPlanDocument;
    };
    const errors = ({ findings }: RecoveryPlanDocument): string[] =>
      findings.filter(({ severity }) => severity === "error").map(({ code }) => code);

    it("is left alone while its quorum lives, and while a manager that is called gone answers", async () => {
      const [, second, third] = cluster.lab.nodes;
      if (second === undefined || third === undefined) return expect.fail("four nodes");
      const text = await readFile(inventory, "utf8");
      const { hostKey } = await second.ssh();
      await writeFile(
        inventory,
        text
          .replace("nodes:", `  m3: { address: ${second.address}, role: manager, hostKey: "${hostKey}" }\nnodes:`)
          .replace('"node2":"m2"', '"node2":"m3"'),
      );
      expect(errors(await plan())).to.deep.equal(["quorum-lives"]);
      await writeFile(inventory, text);
      await cluster.lab.burn(third);
      const argv = asking("run", [...mode, ...unlocking(), "--yes", "--journal", join(cluster.folder, "alive")]);
      const refused = await cluster.skep(argv, { tolerant: true });
      expect(refused.code).to.equal(1);
      expect(refused.stderr, refused.stderr).to.contain("SKEP_RECOVERY_OLD_MANAGER_ALIVE").and.contain("node2");
      if (keeps) await orderUnheard(second);
      await cluster.lab.burn(second);
    });

    /** An order that stands in the log of the survivor, the leader, and that it can tell nobody; swarm takes one at a time. */
    const orderUnheard = async (second: LabNode): Promise<void> => {
      const leader = ["docker", "node", "inspect", "self", "--format", "{{.ManagerStatus.Leader}}"];
      expect((await survivor.run(leader)).trim(), "the survivor leads").to.equal("true");
      await second.cut();
      const order = await survivor.exec(["sh", "-c", `echo late | timeout 60 docker config create ${lateConfig} -`]);
      expect(order.code, "nobody acknowledged it").to.not.equal(0);
    };

    it("asks for what it can't know before it does anything", async () => {
      if (rotated) {
        const refused = await cluster.skep(asking("plan", mode), { tolerant: true });
        expect(refused.stderr).to.contain("SKEP_RAFT_UNLOCK_KEY").and.contain("--unlock-key-file");
      }
      if (keeps) {
        const undecided = await plan(["--mode", "quorum"]);
        expect(errors(undecided)).to.deep.equal(["entries-undecided"]);
        const said = undecided.findings.map(({ text }) => text).join("\n");
        expect(said).to.contain(`create config ${lateConfig}`);
      }
      expect(errors(await plan())).to.deep.equal([]);
    });

    const accepting = foreign ? ["--accept-foreign"] : [];
    if (foreign) {
      it("touches nothing while something lies above the repository's object, unless it is told to go on", async () => {
        let above: string;
        const store = await cluster.openStore();
        try {
          const keys: string[] = [];
          for await (const { key } of store.list("repository/")) keys.push(key);
          above = layout.repository(Number(keys.sort().at(-1)?.split("/").at(-1)) + 1);
          expect(await store.putIfAbsent(above, Buffer.from("whoever may put"))).to.not.equal(null);
        } finally {
          await store.close();
        }
        const called = { journal, inventory, argv: [...mode, ...unlocking()] };
        expect(errors(await plan())).to.deep.equal(["repository-unproven"]);
        const refused = await killedRun(cluster, called, () => false).catch(String);
        expect(refused).to.contain("SKEP_RECOVERY_REFUSED").and.contain(above).and.contain("--accept-foreign");
        expect(await journalLines(journal)).to.deep.equal([]);
      });
    }

    it("goes on from the manager that lives, killed at each of its steps, by one command", async () => {
      const found = await plan();
      expect(found.findings.map(({ code }) => code)).to.include("service-rebound");
      const victims = new Set(kills);
      const isExchanged = (): boolean =>
        readdirSync(survivor.hostPath("/var/lib/docker")).some((name) => name.startsWith("swarm.before-"));
      const momentOf = (step: string): string => (step === "swarm" && isExchanged() ? "laying" : step);
      for (;;) {
        try {
          const argv = [...mode, ...unlocking(), ...rotating, ...accepting];
          const killed = await killedRun(cluster, { journal, inventory, argv }, (step) => victims.has(momentOf(step)));
          if (killed === null) break;
          victims.delete(momentOf(killed));
        } catch (error) {
          // A stopped engine can't be asked: its operator is told what to do, and does it.
          const [, told] =
            /as root on m1: (.*); then the same[^]*SKEP_RECOVERY_ENGINE_STOPPED/.exec(String(error)) ?? [];
          if (told === undefined) throw error;
          await survivor.run(["sh", "-c", told]);
        }
      }
      expect([...victims]).to.deep.equal([]);
      const done = (await journalLines(journal)).filter(({ event }) => event === "done").map(({ step }) => step);
      expect(done).to.have.length(new Set(done).size);
      const report = JSON.parse(await readFile(join(journal, "report.json"), "utf8")) as RecoveryReport;
      expect(report.outcome, JSON.stringify(report.objects)).to.equal("complete");
      console.log(
        `      with ${kills.length} kills ${(report.rtoMs / 1000).toFixed(1)} s: ${report.phases.map(({ phase, ms }) => `${phase} ${(ms / 1000).toFixed(1)} s`).join(", ")}`,
      );
    });

    it("never restarted a task of node4, nor what else runs on a manager whose engine went on", async () => {
      expect(await containers()).to.deep.equal(running);
      const state = ["docker", "inspect", "--format", "{{.State.Running}}", "bystander"];
      expect((await survivor.run(state)).trim()).to.equal("true");
    });

    it("has every object as it was, is autolocked, and lists no dead node", async () => {
      type Seen = Record<"nodes" | "configs", Record<string, unknown>>;
      const now = (await witness(survivor, new Map([[fresh.name, "node2"]]))) as Seen;
      const before = structuredClone(seenBefore) as Seen;
      expect(lateConfig in now.configs).to.equal(keeps);
      now.configs = Object.fromEntries(Object.entries(now.configs).filter(([name]) => name !== lateConfig));
      delete before.nodes["node3"];
      expect(now).to.deep.equal(before);
      const spec = ["docker", "info", "--format", "{{.Swarm.Cluster.Spec.EncryptionConfig.AutoLockManagers}}"];
      expect((await survivor.run(spec)).trim()).to.equal("true");
      const key = await readFile(survivor.hostPath("/var/lib/docker/swarm/certificates/swarm-node.key"), "utf8");
      expect(key).to.contain("ENCRYPTED");
      const nodes = await survivor.run([
        "docker",
        "node",
        "ls",
        "--format",
        "{{.Hostname}} {{.Status}} {{.ManagerStatus}}",
      ]);
      expect(nodes.trim().split("\n").sort()).to.deep.equal(
        [
          "node1 Ready Leader",
          `node4 Ready ${managers === 4 ? "Reachable" : ""}`,
          `${fresh.name} Ready Reachable`,
        ].sort(),
      );
    });

    it("was probed from where Skep was brought to, and nothing is claimed of where it was not", async () => {
      const { probes } = JSON.parse(await readFile(join(journal, "report.json"), "utf8")) as RecoveryReport;
      const text = JSON.stringify(probes, null, 1);
      expect(probes.filter(({ state }) => state === "failed")).to.deep.equal([]);
      const inside = new Map(
        probes.filter(({ subject }) => subject === "shop_inside").map(({ machine, state }) => [machine, state]),
      );
      expect(inside.get("m2"), text).to.equal("answers");
      expect(inside.get("m1"), text).to.equal("skipped");
    });

    if (rotates) {
      it("has other tokens, another unlock key, which lies beside the report alone, and another CA", async () => {
        await expectOtherKeys(survivor, keysBefore, journal);
      });
    }

    it("has the volumes: those of the dead restored, those of the living as they are", async () => {
      expect(await describeTree(worker, uploadsVolume)).to.equal(uploads);
      await until("the database opened with the rows that were committed", async () => {
        const { stdout } = await survivor.exec(["docker", "service", "logs", "--raw", "shop_database"]);
        return [...stdout.matchAll(/opened with (\d+) committed rows/g)].some(([, rows]) => Number(rows) > 10);
      });
      expect(await fresh.run(["docker", "volume", "ls", "--quiet"])).to.contain(databaseVolume);
      const id = (await worker.run(["docker", "ps", "--quiet", "--filter", "name=shop_web"])).split("\n")[0] ?? "";
      expect(await worker.run(["docker", "exec", id, "cat", "/run/secrets/signing_key"])).to.equal(signingKey);
    });

    it("keeps what the survivor had, for the operators alone, and backs itself up again", async () => {
      const saved = join(journal, "survivor.tar.zst.age");
      const inspected = await cluster.skep(["swarm", "inspect", saved, "--identity", cluster.identity]);
      expect(inspected.stdout + inspected.stderr).to.contain("proven");
      await cluster.ready(3, 240_000);
      const { run } = await cluster.skepJson<BackupDocument>(["backup", "--wait"]);
      expect(run?.status, JSON.stringify(run?.parts.filter(({ status }) => status !== "done"))).to.equal("done");
      expect(run?.incarnation).to.equal(2);
    });

    it("is done when the command is given once more", async () => {
      const argv = asking("run", [...mode, ...unlocking(), ...rotating, "--yes", "--json", "--journal", journal]);
      const again = JSON.parse((await cluster.skep(argv)).stdout) as RecoveryRunDocument;
      expect(again.left).to.deep.equal([]);
    });
  });
}
