// `skep swarm backup`, `inspect` and `restore` on real engines, as an operator runs them; for the engine of any suite.
import { expect } from "chai";
import { execFileSync } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdtemp, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { generateAgeIdentity } from "../../shared/repository/age.ts";
import type { Suite } from "../lab/apt-sources.ts";
import { Lab } from "../lab/lab.ts";
import type { LabNode } from "../lab/node.ts";
import { initSwarm, updateInSwarm } from "../lab/swarm.ts";
import { runCli } from "../controller/cli/run-cli.ts";
import { until } from "./raft-swarm.ts";
import { create, engineCall, fillSwarm, secretText } from "./rich-swarm.ts";
import { installSkep, skepOn, type SkepResult } from "./skep-on-node.ts";
import { onTerminal, type Answered } from "./terminal.ts";

export function describeSwarmFile(engine: Suite): void {
  describe(`a swarm in one file (${engine})`, function () {
    this.timeout(240_000);
    let lab: Lab;
    let manager: LabNode;
    let fresh: LabNode;
    let folder: string;
    let settings: Record<string, unknown>;
    const file = "/root/swarm.tar.zst.age";

    before(async () => {
      lab = await Lab.up({ nodes: 2, engine });
      manager = lab.node(0);
      fresh = lab.node(1);
      folder = await mkdtemp(join(tmpdir(), "skep-swarm-file-"));
      const fixed = { DefaultAddrPool: ["10.77.0.0/16"], SubnetSize: 26, DataPathPort: 4790 };
      await initSwarm([manager], { managers: 1, fixed });
      await fillSwarm(manager);
      // A certificate of an hour is too short to start with, and is made anew by the root of the rotation.
      await updateInSwarm(manager, ["swarm", "ca", "--rotate", "--quiet", "--cert-expiry", "1h0m0s"]);
      await updateInSwarm(manager, ["swarm", "update", "--autolock=true"]);
      settings = await settingsOf(manager);
      expect(settings).to.deep.include({ ...fixed, RootRotationInProgress: false });
      await Promise.all([installSkep(manager), installSkep(fresh)]);
      const { identity, recipient } = await generateAgeIdentity();
      await writeFile(join(folder, "identity.txt"), `# recipient ${recipient}\n${identity}\n`);
      for (const node of lab.nodes) await writeFile(node.hostPath("/root/identity.txt"), `${identity}\n`);
      await writeFile(join(folder, "recipient"), recipient);
    });
    after(async () => {
      await lab.down();
      await rm(folder, { recursive: true });
    });

    const restore = (node: LabNode, ...more: string[]): Promise<SkepResult> =>
      skepOn(node, [
        ...["swarm", "restore", "--input", file, "--identity", "/root/identity.txt", "--yes", "--json"],
        ...["--advertise-addr", node.address, ...more],
      ]);
    const swarmOf = async (node: LabNode): Promise<{ LocalNodeState: string; NodeAddr: string; NodeID: string }> =>
      (
        (await engineCall(node, "GET", "/info")) as {
          Swarm: { LocalNodeState: string; NodeAddr: string; NodeID: string };
        }
      ).Swarm;

    it("is small, opens with age, zstd and tar, and says what is inside", async () => {
      const recipient = await readFile(join(folder, "recipient"), "utf8");
      const made = await skepOn(manager, ["swarm", "backup", "--output", file, "--recipient", recipient, "--json"]);
      expect(made.code, made.stderr).to.equal(0);
      expect((await stat(manager.hostPath(file))).size).to.be.lessThan(1_000_000);
      const local = join(folder, "swarm.tar.zst.age");
      await writeFile(local, await readFile(manager.hostPath(file)));
      await writeFile(fresh.hostPath(file), await readFile(local));
      const listing = execFileSync("sh", ["-euc", "age -d -i identity.txt swarm.tar.zst.age | zstd -d | tar t"], {
        cwd: folder,
        encoding: "utf8",
      });
      expect(listing).to.contain("swarm/certificates/swarm-node.key\n").and.to.contain("unlock-key\n");

      const inspected = await runCli(
        ["swarm", "inspect", "swarm.tar.zst.age", "--identity", "identity.txt", "--json"],
        {
          cwd: folder,
        },
      );
      expect(inspected.code, inspected.stderr).to.equal(0);
      const said = JSON.parse(inspected.stdout) as {
        ok: boolean;
        facts: { hostname: string };
        proof: { locked: boolean };
      };
      expect(said).to.deep.include({ ok: true });
      expect(said.facts.hostname).to.equal("node1");
      expect(said.proof).to.include({ locked: true, decrypted: true });
      const secret = [
        "raft",
        "get",
        "swarm.tar.zst.age",
        "secret",
        "db-password",
        "--reveal",
        "--identity",
        "identity.txt",
      ];
      const { stdout } = await runCli(secret, { cwd: folder });
      expect(stdout).to.contain(Buffer.from(secretText).toString("base64"));
    });

    it("goes through pipes, locked by a passphrase", async () => {
      await writeFile(manager.hostPath("/root/words"), "correct horse battery\n");
      const script =
        'cd /opt/skep; s="./node controller/cli/main.ts swarm"; f="--passphrase-file /root/words"; $s backup --output - $f | $s inspect - $f --json';
      const piped = await manager.exec(["sh", "-euc", script]);
      expect(piped.code, piped.stderr).to.equal(0);
      expect(JSON.parse(piped.stdout)).to.deep.include({ ok: true });
    });

    it("asks for a passphrase twice on a terminal and shows none; what it makes opens with age and the same words", async () => {
      const kept = "/root/by-passphrase.age";
      const words = "grüne Käfer am Zaun";
      const ask = async (again: string): Promise<Answered> => {
        const { host, root, hostKey } = await manager.ssh();
        await writeFile(join(folder, "known_hosts"), `${host} ${hostKey}\n`);
        const trusted = ["-o", `UserKnownHostsFile=${join(folder, "known_hosts")}`, "-o", "StrictHostKeyChecking=yes"];
        const program = `/opt/skep/node /opt/skep/controller/cli/main.ts swarm backup --passphrase --output ${kept}`;
        return await onTerminal(
          ["ssh", "-t", ...trusted, "-i", root.privateKeyPath, `root@${host}`, program],
          [
            ["Passphrase of the file", words],
            ["The same again", again],
          ],
        );
      };
      const refused = await ask("grüne Käfer am Zaum");
      expect(refused.code).to.equal(1);
      expect(refused.text).to.contain("the two passphrases are not the same").and.not.to.contain("Käfer");
      expect(existsSync(manager.hostPath(kept))).to.equal(false);

      const made = await ask(words);
      expect(made.code, made.text).to.equal(0);
      expect(made.text).to.contain("proven up to index").and.not.to.contain("Käfer");
      const [sealed, plain] = [join(folder, "by-passphrase.age"), join(folder, "by-passphrase.tar.zst")];
      await writeFile(sealed, await readFile(manager.hostPath(kept)));
      const opened = await onTerminal(["age", "-d", "-o", plain, sealed], [["Enter passphrase", words]]);
      expect(opened.code, opened.text).to.equal(0);
      const listing = execFileSync("sh", ["-euc", 'zstd -d < "$1" | tar t', "list", plain], { encoding: "utf8" });
      expect(listing).to.contain("swarm/certificates/swarm-node.key\n");
    });

    it("is encrypted to the operators of the kit's repository where nobody else is named", async () => {
      const made = await skepOn(manager, [
        ...["init", "--store", "file:///root/store", "--operator", "anna", "--out", "/root/kit"],
      ]);
      expect(made.code, made.stderr).to.equal(0);
      const kept = "/root/for-operators.age";
      const backup = await skepOn(manager, ["swarm", "backup", "--output", kept, "--kit", "/root/kit"]);
      expect(backup.code, backup.stderr).to.equal(0);
      const identity = ["--identity", "/root/kit/identity-anna.txt", "--json"];
      const inspected = await skepOn(manager, ["swarm", "inspect", kept, ...identity]);
      expect(JSON.parse(inspected.stdout)).to.deep.include({ ok: true });
      const foreign = await skepOn(manager, ["swarm", "inspect", kept, "--identity", "/root/identity.txt", "--json"]);
      expect(JSON.parse(foreign.stdout)).to.have.nested.property("error.code", "SKEP_IDENTITY_DOES_NOT_FIT");
    });

    it("is not restored while the old manager answers, nor onto a host that is in a swarm", async () => {
      const beside = await restore(fresh);
      expect(beside.code).to.equal(1);
      expect(JSON.parse(beside.stdout)).to.have.nested.property("error.code", "SKEP_SWARM_RESTORE_OLD_LIVES");
      expect((await swarmOf(fresh)).LocalNodeState).to.equal("inactive");
      const onto = await restore(manager);
      expect(JSON.parse(onto.stdout)).to.have.nested.property("error.code", "SKEP_SWARM_RESTORE_IN_SWARM");
      expect((await swarmOf(manager)).LocalNodeState).to.equal("active");
    });

    it("comes back on another host though the restore was killed, with every object, and locks itself again", async () => {
      const { NodeID } = await swarmOf(manager);
      await manager.stop();
      const program =
        '/opt/skep/node /opt/skep/controller/cli/main.ts swarm restore "$@" & pid=$!; for i in $(seq 3000); do [ ! -e /var/lib/docker/swarm/certificates ] || break; sleep 0.01; done; kill -9 $pid; wait $pid';
      const options = ["--input", file, "--identity", "/root/identity.txt", "--yes", "--advertise-addr", fresh.address];
      const killed = await fresh.exec(["sh", "-c", program, "restore", ...options]);
      expect(killed.code).to.equal(128 + 9);
      const again = await restore(fresh);
      expect(again.code, again.stderr).to.equal(0);
      const { compared, differences } = JSON.parse(again.stdout) as {
        compared: Record<string, number>;
        differences: unknown[];
      };
      expect(differences).to.deep.equal([]);
      expect(compared).to.include({ node: 1, service: 6, secret: 2, config: 1, cluster: 1 });
      expect(await swarmOf(fresh)).to.include({ LocalNodeState: "active", NodeAddr: fresh.address, NodeID });
      expect(await settingsOf(fresh)).to.deep.equal(settings);
      expect(again.stderr).to.match(/certificate +ended, or ends/);
      const { UnlockKey } = (await engineCall(fresh, "GET", "/swarm/unlockkey")) as { UnlockKey: string };
      expect(UnlockKey).to.match(/^SWMKEY-1-/);
      const inside = await skepOn(fresh, [
        "raft",
        "ls",
        file,
        "--identity",
        "/root/identity.txt",
        "--json",
        "--kind",
        "secret",
      ]);
      expect(JSON.parse(inside.stdout)).to.have.length(2);
    });

    it("takes a host out of its swarm when told, and keeps what was there; held services wait until they are released", async () => {
      const specs = await specsOf(fresh);
      const again = await restore(fresh, "--replace", "--hold-all", "--locked");
      expect(again.code, again.stderr).to.equal(0);
      expect(again.stderr).to.contain("unlocking the engine");
      const { kept, held } = JSON.parse(again.stdout) as { kept: string[]; held: string[] };
      expect(kept).to.have.length(1);
      expect(held).to.have.members([...specs.keys()]);
      const key = await readFile(fresh.hostPath(`${kept[0] ?? ""}/certificates/swarm-node.key`), "utf8");
      expect(key).to.contain("ENCRYPTED PRIVATE KEY");
      const left = await fresh.run(["ls", "/var/lib/docker"]);
      expect(left).not.to.contain("swarm.new-").and.not.to.contain("skep-swarm-restore.json");

      // Once this one has a task, all others would have theirs.
      const probe = await create(fresh, "/services/create", {
        Name: "probe",
        TaskTemplate: { ContainerSpec: { Image: "absent:1" } },
        Mode: { Replicated: { Replicas: 1 } },
      });
      const tasks = async (): Promise<{ ServiceID: string; Status: { State: string } }[]> =>
        (await engineCall(fresh, "GET", "/tasks")) as { ServiceID: string; Status: { State: string } }[];
      await until("the probe has a task", async () => (await tasks()).some(({ ServiceID }) => ServiceID === probe));
      // A held job has tasks that wait for a node that there is not.
      const others = (await tasks()).filter(({ ServiceID }) => ServiceID !== probe);
      expect(others.filter(({ Status }) => Status.State !== "pending")).to.deep.equal([]);
      await engineCall(fresh, "DELETE", `/services/${probe}`);

      const release = async (...names: string[]): Promise<{ released: string[]; held: string[] }> => {
        const { code, stdout, stderr } = await skepOn(fresh, ["swarm", "release", ...names, "--yes", "--json"]);
        expect(code, stderr).to.equal(0);
        return JSON.parse(stdout) as { released: string[]; held: string[] };
      };
      const first = await release("full", "everywhere");
      expect(first.released).to.have.members(["full", "everywhere"]);
      expect(first.held).to.have.length(specs.size - 2);
      expect((await release()).held).to.deep.equal([]);
      // What a rollback goes to, also one that swarm makes itself.
      for (const name of ["full", "everywhere", "failing"]) {
        const { Spec, PreviousSpec } = (await engineCall(fresh, "GET", `/services/${name}`)) as Record<string, unknown>;
        expect(PreviousSpec, name).to.deep.equal(Spec);
      }
      expect(await specsOf(fresh)).to.deep.equal(specs);
      expect(await fresh.run(["ls", "/var/lib/docker"])).not.to.contain("skep-held-services");
      const nothing = await skepOn(fresh, ["swarm", "release", "--yes", "--json"]);
      expect(JSON.parse(nothing.stdout)).to.have.nested.property("error.code", "SKEP_SWARM_NOTHING_HELD");
    });

    /** Without what changes with each write. */
    async function settingsOf(node: LabNode): Promise<Record<string, unknown>> {
      const { Version, UpdatedAt, ...kept } = (await engineCall(node, "GET", "/swarm")) as Record<string, unknown>;
      expect([Version, UpdatedAt]).not.to.include(undefined);
      return kept;
    }

    async function specsOf(node: LabNode): Promise<Map<string, unknown>> {
      const services = (await engineCall(node, "GET", "/services")) as { Spec: { Name: string } }[];
      return new Map(services.map(({ Spec }) => [Spec.Name, Spec]));
    }
  });
}
