import { expect } from "chai";
import { copyFile, cp, mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { BackupDocument } from "../../controller/cli/documents.ts";
import type { Finding } from "../../controller/api/schemas.ts";
import { updateInSwarm } from "../lab/swarm.ts";
import { Cluster } from "./cluster.ts";

const unit = join(import.meta.dirname, "..", "..", "deploy", "examples", "skep-agent.service");

describe("a swarm whose managers are all drained", function () {
  this.timeout(240_000);
  let cluster: Cluster;

  before(async () => {
    const worker = "node.role == worker";
    const stack = { SKEP_CONTROLLER_PLACEMENT: worker, SKEP_REDIS_PLACEMENT: worker };
    cluster = await Cluster.up({ nodes: 2, managers: 1, stack, overlays: ["drained.yml"] });
    await updateInSwarm(cluster.manager, ["node", "update", "--availability", "drain", "node1"]);
    await cluster.deploy();
    await cluster.ready(1);
  });
  after(() => cluster.down());

  it("is told by doctor, as an error, that no run will have its Raft part", async () => {
    const result = await cluster.skep(["doctor", "--json"], { tolerant: true });
    expect(result.code).to.equal(1);
    const { findings } = JSON.parse(result.stdout) as { findings: Finding[] };
    const finding = findings.find(({ code }) => code === "SKEP_AGENT_NO_MANAGER");
    expect(finding?.level).to.equal("error");
    expect(finding?.hint).to.contain("skep agent run");
  });

  it("has its Raft part in a run once the agent runs there as the systemd unit of deploy/examples", async () => {
    const folder = cluster.manager.hostPath("/etc/skep");
    await mkdir(folder, { recursive: true, mode: 0o700 });
    for (const file of ["skep.yaml", "agent-store.json", "redis.password"]) {
      await cp(join(cluster.kit, file), join(folder, file));
    }
    await writeFile(join(folder, "agent.env"), `SKEP_REDIS_HOST=${cluster.lab.node(1).address}\n`);
    await copyFile(unit, cluster.manager.hostPath("/etc/systemd/system/skep-agent.service"));
    await cluster.manager.run(["systemctl", "daemon-reload"]);
    await cluster.manager.run(["systemctl", "start", "skep-agent"]);
    await cluster.ready(2);
    const { run } = await cluster.skepJson<BackupDocument>(["backup", "--wait"]);
    expect(run?.status).to.equal("done");
    const raft = run?.parts.find((part) => part.kind === "raft");
    expect(raft).to.include({ status: "done", hostname: "node1" });
    expect(run?.parts.filter((part) => part.kind === "node")).to.have.length(2);
  });

  it("has its Raft state proven also when it is autolocked, and the run opens without the key at hand", async () => {
    await updateInSwarm(cluster.manager, ["swarm", "update", "--autolock=true"]);
    const { run } = await cluster.skepJson<BackupDocument>(["backup", "--wait"]);
    const raft = run?.parts.find((part) => part.kind === "raft");
    expect(raft?.raft?.decrypted).to.be.true;
    const get = ["raft", "get", run?.id ?? "", "secret", "skep_redis_password_1"];
    const { stdout } = await cluster.skep([...get, "--reveal", "--identity", cluster.identity]);
    const password = await readFile(join(cluster.kit, "redis.password"));
    expect(stdout).to.contain(password.toString("base64"));
  });

  it("says no longer that a manager lacks an agent", async () => {
    const result = await cluster.skep(["doctor", "--json"], { tolerant: true });
    const { findings } = JSON.parse(result.stdout) as { findings: Finding[] };
    expect(findings.map(({ code }) => code)).to.not.contain("SKEP_AGENT_NO_MANAGER");
  });
});
