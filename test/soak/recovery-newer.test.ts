// Mode quorum with a survivor that missed something: while it was off the network the majority made a service, and then burned.
// Its task runs on the worker and no state knows it; the plan names it, and the recovered manager removes it, and it alone.
import { expect } from "chai";
import { mkdir, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import type { RecoveryPlanDocument, RecoveryRunDocument } from "../../controller/cli/documents.ts";
import { Cluster } from "../e2e/cluster.ts";
import { until } from "../e2e/recovery/application.ts";
import { nodeImage } from "../lab/image.ts";
import type { LabNode } from "../lab/node.ts";

describe("a swarm whose last manager missed what the others did", function () {
  this.timeout(900_000);
  let cluster: Cluster;
  let survivor: LabNode;
  let worker: LabNode;
  let running: string[];
  const image = nodeImage().tag;

  const create = async (manager: LabNode, name: string): Promise<void> => {
    const service = ["docker", "service", "create", "--detach", "--quiet", "--no-resolve-image", "--name", name];
    const place = ["--constraint", "node.hostname == node4", "--endpoint-mode", "dnsrr"];
    await manager.run([...service, ...place, image, "sleep", "100000"]);
    await until(`${name} runs`, async () => (await tasks()).some((line) => line.includes(` ${name}.1.`)), 240_000);
  };
  const tasks = async (): Promise<string[]> =>
    (await worker.run(["docker", "ps", "--no-trunc", "--format", "{{.ID}} {{.Names}}"])).trim().split("\n").sort();
  const recover = (verb: "plan" | "run", ...more: string[]): string[] => [
    ...["recover", verb, "--mode", "quorum", "--newer-entries", "drop", "--inventory", join(cluster.folder, "all.yml")],
    ...["--identity", cluster.identity, ...more],
  ];

  before(async () => {
    cluster = await Cluster.up({ nodes: 4, managers: 3 });
    const [first, second, third, fourth] = cluster.lab.nodes;
    if (first === undefined || second === undefined || third === undefined || fourth === undefined)
      throw new RangeError("four nodes");
    [survivor, worker] = [first, fourth];
    await create(first, "early");
    const place = ["--docker-socket", first.dockerSocketPath, "--host-root", dirname(first.hostPath("/run"))];
    const state = join(cluster.folder, "state");
    await mkdir(state);
    await cluster.skep(["backup", "--standalone", "--state-dir", state, ...place]);
    running = await tasks();
    await first.cut();
    const leader = ["docker", "node", "ls", "--format", "{{.ManagerStatus}}"];
    await until("others lead", async () => /Leader/.test((await second.exec(leader)).stdout), 240_000);
    await create(second, "late");
    await cluster.lab.burn(third);
    await cluster.lab.burn(second);
    await first.heal();
    const [one, four] = [await first.ssh(), await fourth.ssh()];
    await writeFile(
      join(cluster.folder, "all.yml"),
      `version: 1
ssh: { key: ${one.root.privateKeyPath} }
machines:
  m1: { address: ${first.address}, role: manager, hostKey: "${one.hostKey}" }
  m4: { address: ${fourth.address}, role: worker, hostKey: "${four.hostKey}" }
nodes: { node1: m1, node2: gone, node3: gone, node4: m4 }
`,
    );
  });
  after(() => cluster.down());

  it("has a plan that names the task which no state knows", async () => {
    const plan = await cluster.skepJson<RecoveryPlanDocument>(recover("plan"));
    expect(plan.findings.filter(({ severity }) => severity === "error")).to.deep.equal([]);
    const named = plan.newerTasks.map(({ machine, node, service }) => [machine, node, service]);
    expect(named).to.deep.equal([["m4", "node4", "late"]]);
    const said = plan.findings.filter(({ code }) => code === "task-newer").map(({ text }) => text);
    expect(said).to.have.length(1);
    expect(said[0]).to.contain("the recovered manager removes it").and.contain("does not come back");
  });

  it("loses that one task when it is recovered, and no other", async () => {
    const { left } = await cluster.skepJson<RecoveryRunDocument>(
      recover("run", "--yes", "--journal", join(cluster.folder, "journal")),
    );
    expect(left).to.deep.equal([]);
    await until("the late one is removed", async () => !(await tasks()).some((line) => line.includes(" late.1.")));
    expect(await tasks()).to.deep.equal(running);
    expect(await survivor.run(["docker", "service", "ls", "--format", "{{.Name}}"])).to.equal("early\n");
  });
});
