// The agent where it usually is: in a container of Skep's image, with the host's / at /host.
import { mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect } from "chai";
import { connectDocker, helperLabel, type Docker } from "../../agent/docker.ts";
import { reapHelpers } from "../../agent/helper-container.ts";
import type { RestoreKeys, Task } from "../../shared/contract/job.ts";
import type { TaskResultOf } from "../../shared/contract/task-result.ts";
import { onceLineSchema, type OnceInput } from "../../shared/contract/once.ts";
import { fromErrorRecord, type ErrorRecord } from "../../shared/errors.ts";
import { skepVersion } from "../../shared/version.ts";
import { redisImage } from "../lab/image.ts";
import { Lab } from "../lab/lab.ts";
import type { LabNode } from "../lab/node.ts";
import { skepImages } from "../lab/skep-image.ts";
import { failureOf, newRun, restoreTask, Rig, volumeTask } from "./agent-rig.ts";
import { VolumePlugin } from "./volume-plugin.ts";

describe("the agent in its container", () => {
  let lab: Lab;
  let node: LabNode;
  let engine: Docker;
  let rig: Rig;
  let plugin: VolumePlugin;

  before(async function () {
    this.timeout(600_000);
    lab = await Lab.up({ nodes: 1, images: [...(await skepImages()), redisImage()] });
    node = lab.node("node1");
    engine = connectDocker(node.dockerSocketPath);
    await mkdir(node.hostPath("/srv/store"));
    rig = await Rig.make({ url: `file://${node.hostPath("/srv/store")}` });
    plugin = await VolumePlugin.on(node);
  });
  after(async () => {
    await plugin.close();
    await rig.down();
    await lab.down();
  });

  /** As the agent's container of stack.yml: its mounts, the same file as the daemon's jobs run. */
  async function once<T extends Task>(task: T, identityKeys?: RestoreKeys): Promise<TaskResultOf<T["kind"]>> {
    const nodeId = await rig.nodeId(node);
    const input: OnceInput = {
      job: rig.job(task, { kind: "node", nodeId }),
      writerId: nodeId,
      writerKey: Buffer.from(rig.writerKey(nodeId)).toString("base64"),
      epoch: rig.repository.repositoryObject.epoch,
      store: { url: "file:///host/srv/store" },
      credentials: null,
      ...(identityKeys === undefined ? {} : { identityKeys }),
      hostRoot: "/host",
      stateDir: "/var/lib/skep",
      dockerSocket: "/var/run/docker.sock",
    };
    const { stdout, stderr } = await node.exec(
      [
        ...["docker", "run", "-i", "--rm", "--init", "--entrypoint", "node"],
        ...[
          "-v",
          "/var/run/docker.sock:/var/run/docker.sock",
          "-v",
          "/:/host:rslave",
          "-v",
          "agent_state:/var/lib/skep",
        ],
        ...[`skep:${skepVersion}`, "/opt/skep/agent/once.ts"],
      ],
      { input: JSON.stringify(input) },
    );
    const line = stdout.trim().split("\n").at(-1) ?? "";
    if (line === "") throw new Error(`no result: ${stderr}`);
    const last = onceLineSchema.parse(JSON.parse(line));
    if ("result" in last) return last.result as TaskResultOf<T["kind"]>;
    if ("error" in last) throw fromErrorRecord(last.error as ErrorRecord);
    throw new Error(`ended with ${line}: ${stderr}`);
  }

  async function newDistantVolume(name: string): Promise<void> {
    await node.run(["docker", "volume", "create", "-d", plugin.name, name]);
    await writeFile(join(plugin.folder(name), "far"), "away");
  }

  it("reads a plugin's volume through a container that mounts it, and leaves nothing mounted behind", async () => {
    await newDistantVolume("shared");
    const { volumes, notCovered } = await once({ kind: "node", runId: newRun() });
    expect(volumes.map(({ facts }) => facts.name)).not.to.include("agent_state");
    expect(notCovered.find(({ name }) => name === "node1/agent_state")).to.include({ reason: "not-selected" });
    const found = volumes.find(({ facts }) => facts.name === "shared");
    expect(found?.facts).to.deep.include({ driver: plugin.name, scope: "global" });
    expect(found?.sharedId).to.equal(`plugin:${plugin.name}:shared`);

    const { part } = await once(volumeTask("shared"));

    expect(part).to.include({ status: "done", name: "node1/shared" });
    expect(part.totals).to.include({ files: 1, sourceBytes: 4 });
    expect(plugin.mounted.get("shared")).to.equal(0);
    expect(await engine.containers({ label: [helperLabel] })).to.deep.equal([]);
  });

  it("restores a plugin's volume to a plain one under a new name, and never over the plugin's", async () => {
    await newDistantVolume("precious");
    const { part } = await once(volumeTask("precious"));
    const keys = await rig.restoreKeys(part);
    const error = await failureOf(once(restoreTask(part, "aaaaaaaaaaaa", "precious"), keys));
    expect(error.code).to.equal("SKEP_RESTORE_TARGET_UNSUPPORTED");
    await once(restoreTask(part, "bbbbbbbbbbbb", "precious-copy"), keys);
    const copy = node.hostPath("/var/lib/docker/volumes/precious-copy/_data");
    expect(await readFile(join(copy, "far"), "utf8")).to.equal("away");
  });

  it("says what the container's error was, and removes it all the same", async () => {
    await newDistantVolume("broken");
    await node.run(["rm", "-r", "/srv/distant/broken"]);
    const error = await failureOf(once(volumeTask("broken")));
    expect(error.code).to.match(/^SKEP_(DOCKER_FAILED|SOURCE_VOLUME_GONE)$/);
    expect(error.message).to.contain("broken");
    expect(await engine.containers({ label: [helperLabel] })).to.deep.equal([]);
  });

  it("exchanges a volume's folder on the host from within its container", async () => {
    await node.run(["docker", "volume", "create", "plain"]);
    const folder = node.hostPath("/var/lib/docker/volumes/plain/_data");
    await writeFile(join(folder, "file"), "of the run");
    const { part } = await once(volumeTask("plain"));
    await writeFile(join(folder, "file"), "later");
    await once(restoreTask(part, "cccccccccccc", "plain"), await rig.restoreKeys(part));
    expect(await readFile(join(folder, "file"), "utf8")).to.equal("of the run");
    await once({ kind: "restore-undo", restoreId: "cccccccccccc" });
    expect(await readFile(join(folder, "file"), "utf8")).to.equal("later");
    expect(await readdir(join(folder, ".."))).to.deep.equal(["_data"]);
  });

  it("removes the containers that a crashed agent left, and no others", async () => {
    const image = `skep:${skepVersion}`;
    await node.run(["docker", "create", "--name", "left", "--label", `${helperLabel}=job`, image]);
    await node.run(["docker", "create", "--name", "kept", image]);
    expect(await reapHelpers(engine)).to.have.length(1);
    const names = (await engine.containers({})).flatMap(({ Names }) => Names);
    expect(names).to.include("/kept").and.not.to.include("/left");
  });
});
