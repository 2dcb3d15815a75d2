// What an agent takes of a real swarm, and gives back to it: each task by agent/once.ts, on nodes of a lab.
import { execFileSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { mkdir, readdir, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect } from "chai";
import type { Docker } from "../../agent/docker.ts";
import type { ExistingFiles } from "../../shared/contract/chosen-files.ts";
import type { TaskOf } from "../../shared/contract/job.ts";
import type { TaskResultOf } from "../../shared/contract/task-result.ts";
import type { Part } from "../../shared/repository/run.ts";
import { nodeImage } from "../lab/image.ts";
import type { Lab } from "../lab/lab.ts";
import type { LabNode } from "../lab/node.ts";
import { updateInSwarm } from "../lab/swarm.ts";
import { failureOf, newRestoreId, newRun, restoreTask, volumeTask, type Rig } from "./agent-rig.ts";
import { TaskLab, taskLabImages } from "./task-lab.ts";
import { listTree, volumePath, writeFiles } from "./volumes.ts";

const image = nodeImage();
const idle = ["node", "-e", "process.on('SIGTERM', () => process.exit()); setInterval(() => {}, 1e6)"];

describe("the agent's tasks", () => {
  let tasks: TaskLab;
  let lab: Lab;
  let manager: LabNode;
  let engine: Docker;
  let rig: Rig;

  before(async function () {
    this.timeout(600_000);
    tasks = await TaskLab.up(2);
    ({ lab, manager, engine, rig } = tasks);
  });
  after(() => tasks.down());

  const docker = async (...argv: string[]): Promise<string> => (await manager.run(["docker", ...argv])).trim();

  async function newVolume(name: string, content: Record<string, string>): Promise<string> {
    await docker("volume", "create", "--label", "purpose=test", name);
    const folder = volumePath(manager, name);
    await writeFiles(folder, content);
    return folder;
  }

  async function backup(volume: string, more: Partial<TaskOf<"volume">> = {}): Promise<Part> {
    return (await rig.once(manager, { ...volumeTask(volume), ...more })).part;
  }

  async function restore(part: Part, targetName: string, restoreId = newRestoreId()): Promise<string> {
    await rig.once(manager, restoreTask(part, restoreId, targetName), { identityKeys: await rig.restoreKeys(part) });
    return restoreId;
  }

  describe("for a run", () => {
    it("takes the Raft state of a manager, with a marker, proven", async () => {
      const { part } = await rig.once(manager, { kind: "raft", runId: newRun() });
      expect(part).to.include({ kind: "raft", status: "done", hostname: "node1" });
      expect(part.raft?.walked).to.be.true;
      expect(part.raft?.markerIndex).to.be.greaterThan(0);
      expect(part.raft?.commitIndex).to.be.at.least(part.raft?.markerIndex ?? Infinity);
      const files = [...(await rig.archiveOf(part)).keys()];
      expect(files).to.include("swarm/certificates/swarm-node.key");
      expect(files.some((path) => path.endsWith(".wal"))).to.be.true;
      expect(await readdir(join(rig.folder, "state-node1", "staging")), "staged copies left").to.deep.equal([]);
    });

    it("refuses the Raft part on a worker", async () => {
      const error = await failureOf(rig.once(lab.node("node2"), { kind: "raft", runId: newRun() }));
      expect(error).to.include({ code: "SKEP_DOCKER_NOT_MANAGER", permanent: true });
    });

    it("takes services, configs, secrets without data, networks, nodes and stacks", async () => {
      await manager.exec(["docker", "config", "create", "--label", "com.docker.stack.namespace=shop", "motd", "-"], {
        input: "hello",
      });
      await manager.exec(["docker", "secret", "create", "key", "-"], { input: "hunter2" });
      await docker("network", "create", "-d", "overlay", "backend");
      const mount = "type=volume,src=shop_data,dst=/data";
      const bind = "type=bind,src=/etc/hostname,dst=/h";
      await docker(
        ...["service", "create", "-d", "--name", "shop_web", "--label", "com.docker.stack.namespace=shop"],
        ...["--replicas", "0", "--mount", mount, "--mount", bind, "--constraint", "node.hostname==node2"],
        ...["--label", "skep.enable=false", "--container-label", "skep.group=shop", image.tag, ...idle],
      );
      await updateInSwarm(manager, ["node", "update", "--label-add", "disk=ssd", "node2"]);

      const result = await rig.once(manager, { kind: "definitions", runId: newRun() });

      expect(result.nodes.map(({ hostname, role }) => `${hostname} ${role}`).sort()).to.deep.equal([
        "node1 manager",
        "node2 worker",
      ]);
      expect(result.services).to.have.length(1);
      expect(result.services[0]).to.deep.include({
        name: "shop_web",
        mode: "replicated",
        replicas: 0,
        volumes: ["shop_data"],
        binds: ["/etc/hostname"],
        image: image.tag,
        labels: { "skep.enable": "false" },
        containerLabels: { "skep.group": "shop" },
        mayRunOn: result.nodes.filter(({ hostname }) => hostname === "node2").map(({ id }) => id),
      });
      const files = await rig.archiveOf(result.part);
      const named = (start: string): unknown => {
        const text = [...files].find(([path]) => path.startsWith(`definitions/${start}`))?.[1];
        if (text === undefined) throw new Error(`no ${start} in ${[...files.keys()].join(", ")}`);
        return JSON.parse(text);
      };
      expect(named("configs/motd")).to.have.nested.property("Spec.Data", Buffer.from("hello").toString("base64"));
      expect(named("secrets/key")).not.to.have.nested.property("Spec.Data");
      expect(named("networks/backend")).to.include({ Driver: "overlay" });
      expect(named("nodes/node2")).to.have.nested.property("Spec.Labels.disk", "ssd");
      expect(named("stacks.json"))
        .to.have.property("shop")
        .that.deep.include({ services: ["shop_web"], configs: ["motd"] });
      expect([...files.values()].join()).not.to.match(/SWMTKN|hunter2/);
      await docker("service", "rm", "shop_web");
    });

    it("tells a node's volumes, what it does not cover and why, and how the machine is set up", async () => {
      await newVolume("plain", { x: "x" });
      await docker("volume", "create", "-o", "type=tmpfs", "-o", "device=tmpfs", "memory");
      await docker(
        "volume",
        "create",
        "-o",
        "type=nfs",
        "-o",
        "o=addr=nas,password=hunter2",
        "-o",
        "device=:/x",
        "share",
      );
      await mkdir(manager.hostPath("/srv/bound"), { recursive: true });
      await docker("volume", "create", "-o", "type=none", "-o", "o=bind", "-o", "device=/srv/bound", "bound");
      await docker("run", "-d", "--name", "user", "-v", "plain:/p", "-v", "/srv:/srv", image.tag, ...idle);
      const folder = "/var/lib/docker/volumes/plain/_data";
      await docker("create", "--name", "below", "--label", "skep.dump=x", "-v", `${folder}/sub:/d`, image.tag, ...idle);
      await docker("create", "--name", "binds", "--label", "skep.group=g", "-v", `${folder}:/d`, image.tag, ...idle);

      const { part, volumes, notCovered } = await rig.once(manager, { kind: "node", runId: newRun() });

      expect(part).to.include({ kind: "node", status: "done", name: "node1" });
      expect(volumes.map(({ facts }) => facts.name)).to.include.members(["plain", "bound"]);
      expect(volumes.find(({ facts }) => facts.name === "plain")).to.deep.include({
        usedBy: ["binds", "below", "user"],
        sharedId: null,
        users: [
          { container: "binds", serviceId: null, uses: "all", runs: false, labels: { "skep.group": "g" } },
          { container: "below", serviceId: null, uses: "part", runs: false, labels: { "skep.dump": "x" } },
          { container: "user", serviceId: null, uses: "all", runs: true, labels: {} },
        ],
      });
      const reasons = Object.fromEntries(notCovered.map(({ name, reason }) => [name, reason]));
      expect(reasons).to.deep.include({
        "node1/memory": "tmpfs",
        "node1/share": "unsupported",
        "node1:/srv": "bind-mount",
      });
      expect(reasons, "it is in a volume that is taken").to.not.have.property(`node1:${folder}`);
      expect(JSON.stringify({ volumes, notCovered })).not.to.contain("hunter2");
      const files = await rig.archiveOf(part);
      expect(files.get("node/files/etc/docker/daemon.json")).to.contain("overlay2");
      const machine = JSON.parse(files.get("node/machine.json") ?? "null") as Record<string, unknown>;
      expect(machine["addresses"]).to.include(manager.address);
      expect(machine["engineCommandLine"]).to.be.an("array").that.includes("/usr/sbin/dockerd");
      await docker("rm", "-f", "user", "binds");
      await docker("volume", "rm", "memory", "share");
    });

    it("takes a volume that is a folder elsewhere on the host", async () => {
      await writeFile(manager.hostPath("/srv/bound/file"), "content");
      const part = await backup("bound");
      expect(part.status).to.equal("done");
      expect(part.totals).to.include({ files: 1, sourceBytes: 7 });
    });

    it("says that a volume is gone, or of memory, or only seen by a container", async () => {
      expect(await failureOf(backup("nowhere"))).to.include({ code: "SKEP_SOURCE_VOLUME_GONE", permanent: true });
      await docker("volume", "create", "-o", "type=tmpfs", "-o", "device=tmpfs", "memory");
      expect(await failureOf(backup("memory"))).to.include({ code: "SKEP_SOURCE_UNSUPPORTED" });
      await docker("volume", "create", "-o", "type=nfs", "-o", "o=addr=127.0.0.1", "-o", "device=:/x", "share");
      expect(await failureOf(backup("share"))).to.include({ code: "SKEP_VOLUME_NEEDS_IMAGE" });
      await docker("volume", "rm", "memory", "share");
    });

    it("ends cleanly when it is told to stop in the middle", async () => {
      const folder = await newVolume("large", {});
      execFileSync("dd", ["if=/dev/urandom", `of=${folder}/random`, "bs=1M", "count=64", "status=none"]);
      const task = { ...volumeTask("large"), maxBytesPerSecond: 4 * 1024 * 1024 };
      const stopped = rig.once(manager, task, {
        onLine: (line, child) => {
          if ("progress" in line) child.kill("SIGTERM");
        },
      });
      expect(await failureOf(stopped)).to.include({ code: "SKEP_AGENT_STOPPING", permanent: false });
      await docker("volume", "rm", "large");
    });
  });

  describe("for a restore", () => {
    let folder: string;
    let part: Part;
    let taken: string;
    before(async () => {
      folder = await newVolume("db", { "a/committed": "before the run", b: "b" });
      execFileSync("bash", [
        "-c",
        'cd "$1"; ln b a/b2; ln -s /etc/passwd link; chown -R 7:8 a; chmod 750 a',
        "-",
        folder,
      ]);
      taken = listTree(folder);
      part = await backup("db");
      expect(part.status).to.equal("done");
    });
    beforeEach(async () => {
      await rm(join(folder, "a"), { recursive: true, force: true });
      await writeFile(join(folder, "later"), "after the run");
    });
    const siblings = (): Promise<string[]> => readdir(join(folder, ".."));

    it("puts the content of the run in place, keeps the present one, and puts it back", async () => {
      const present = listTree(folder);
      const restoreId = await restore(part, "db");
      expect(listTree(folder)).to.equal(taken);
      expect(await siblings()).to.have.members(["_data", `_data.skep-old-${restoreId}`]);
      const { restores } = await rig.once(manager, { kind: "restore-list" });
      expect(restores).to.deep.equal([{ restoreId, volume: "db", order: null }]);
      await rig.once(manager, { kind: "restore-undo", restoreId });
      expect(listTree(folder)).to.equal(present);
      expect(await siblings()).to.deep.equal(["_data"]);
      expect(await failureOf(rig.once(manager, { kind: "restore-undo", restoreId }))).to.include({
        code: "SKEP_RESTORE_UNKNOWN",
      });
    });

    it("discards the former content, and says how much that freed", async () => {
      await writeFile(join(folder, "heavy"), randomBytes(1024 * 1024));
      const restoreId = await restore(part, "db");
      const { freedBytes } = await rig.once(manager, { kind: "restore-discard", restoreId });
      expect(freedBytes).to.be.at.least(1024 * 1024);
      expect(await siblings()).to.deep.equal(["_data"]);
      expect(listTree(folder)).to.equal(taken);
    });

    it("makes a volume anew that is missing, with its labels; undo removes it", async () => {
      const restoreId = await restore(part, "db-copy");
      expect(listTree(volumePath(manager, "db-copy"))).to.equal(taken);
      expect((await engine.volume("db-copy"))?.Labels).to.deep.equal({ purpose: "test" });
      expect(await readdir(join(volumePath(manager, "db-copy"), ".."))).to.deep.equal(["_data"]);
      await rig.once(manager, { kind: "restore-undo", restoreId });
      expect(await engine.volume("db-copy")).to.equal(null);
    });

    /** Into the volume while it is used: nothing where one differs, then all, and out of it again. */
    async function putChosenFiles(present: string): Promise<void> {
      const identityKeys = await rig.restoreKeys(part);
      const paths = ["b", "a", "a/b2", "link"].map((name) => Buffer.from(name).toString("base64"));
      const put = (restoreId: string, existing: ExistingFiles): Promise<TaskResultOf<"restore-volume">> => {
        const task = { ...restoreTask(part, restoreId, "db"), files: { paths, existing } };
        return rig.once(manager, task, { identityKeys });
      };
      await writeFile(join(folder, "b"), "changed");
      expect(await failureOf(put(newRestoreId(), "fail"))).to.include({ code: "SKEP_RESTORE_FILE_EXISTS" });
      expect(await siblings()).to.deep.equal(["_data"]);
      const restoreId = newRestoreId();
      const result = await put(restoreId, "update");
      expect(result).to.deep.include({ merged: { made: 2, replaced: 1, equal: 1, left: 0 }, keptOld: true });
      await rm(join(folder, "later"));
      const read = "fs.readFileSync('/data/a/committed','utf8') + fs.readFileSync('/data/b','utf8')";
      expect(await docker("exec", "database", "node", "-p", read)).to.equal("before the runb");
      expect(entries(listTree(folder))).to.equal(entries(taken));
      await writeFile(join(folder, "later"), "after the run");
      await rig.once(manager, { kind: "restore-undo", restoreId });
      await writeFile(join(folder, "b"), "b");
      expect(entries(listTree(folder))).to.equal(entries(present));
      expect(await siblings()).to.deep.equal(["_data"]);
    }
    /** Of what is no folder that was there, and not when files that the test itself wrote were changed. */
    const entries = (text: string): string =>
      text
        .split("\n")
        .filter((line) => !/^(\||later\||b\|)/.test(line))
        .join("\n");

    it("refuses a volume in use, names who uses it, and touches nothing", async () => {
      await docker("run", "-d", "--name", "database", "-v", "db:/data", image.tag, ...idle);
      const present = listTree(folder);
      const prepared = await rig.once(manager, {
        kind: "restore-prepare",
        restoreId: newRestoreId(),
        volume: part.volume ?? { name: "", driver: "", options: {}, labels: {}, scope: "local" },
        targetName: "db",
        sourceBytes: part.totals?.sourceBytes ?? 0,
      });
      expect(prepared).to.deep.include({ target: "exists", usedBy: [{ container: "database", serviceId: null }] });
      const error = await failureOf(restore(part, "db"));
      expect(error).to.include({ code: "SKEP_RESTORE_VOLUME_IN_USE", permanent: true });
      expect(error.message).to.contain("database");
      expect(listTree(folder)).to.equal(present);
      await putChosenFiles(present);
      await docker("stop", "-t", "2", "database");
      await rig.once(manager, { kind: "restore-discard", restoreId: await restore(part, "db") });
      await docker("start", "database");
      expect(await docker("exec", "database", "node", "-p", "fs.readFileSync('/data/a/committed','utf8')")).to.equal(
        "before the run",
      );
      await docker("rm", "-f", "database");
    });

    it("refuses to begin without enough room", async () => {
      const task = { ...restoreTask(part, newRestoreId(), "db"), sourceBytes: 2 ** 50 };
      const identityKeys = await rig.restoreKeys(part);
      expect(await failureOf(rig.once(manager, task, { identityKeys }))).to.include({
        code: "SKEP_RESTORE_NO_SPACE",
        permanent: true,
      });
    });

    it("refuses a target with a mount of its own, and drops the driver only under a new name", async () => {
      await docker("volume", "create", "-o", "type=tmpfs", "-o", "device=tmpfs", "memory");
      expect(await failureOf(restore(part, "memory"))).to.include({ code: "SKEP_RESTORE_TARGET_UNSUPPORTED" });
      await docker("volume", "rm", "memory");
      const share: Part = {
        ...part,
        volume: { name: "share", driver: "local", options: { type: "nfs", device: ":/x" }, labels: {}, scope: "local" },
      };
      expect(await failureOf(restore(share, "share"))).to.include({ code: "SKEP_RESTORE_TARGET_UNSUPPORTED" });
      expect(await engine.volume("share")).to.equal(null);
      const task = restoreTask(share, newRestoreId(), "share-copy");
      const { warnings } = await rig.once(manager, task, { identityKeys: await rig.restoreKeys(part) });
      expect(warnings.map(({ code }) => code)).to.deep.equal(["SKEP_RESTORE_DRIVER_DROPPED"]);
      expect((await engine.volume("share-copy"))?.Options ?? {}).to.deep.equal({});
    });

    it("leaves the volume as it was, and nothing beside it, when a pack is missing", async () => {
      const present = listTree(folder);
      const keys = await rig.restoreKeys(part);
      for (const pack of Object.keys(keys.packs)) await rig.store.delete([`packs/${pack.slice(0, 2)}/${pack}`]);
      const task = restoreTask(part, newRestoreId(), "db");
      await failureOf(rig.once(manager, task, { identityKeys: keys }));
      expect(listTree(folder)).to.equal(present);
      expect(await siblings()).to.deep.equal(["_data"]);
    });
  });

  it("works on a host that is in no swarm", async () => {
    const alone = await lab.addNode({ images: taskLabImages });
    await alone.run(["docker", "volume", "create", "data"]);
    await writeFile(alone.hostPath("/var/lib/docker/volumes/data/_data/x"), "x");
    const { part, volumes } = await rig.once(alone, { kind: "node", runId: newRun() });
    expect(part.nodeId).to.match(/^s[0-9a-f]{24}$/);
    expect(volumes.map(({ facts }) => facts.name)).to.deep.equal(["data"]);
    const taken = await rig.once(alone, volumeTask("data"));
    expect(taken.part.totals).to.include({ files: 1 });
    const error = await failureOf(rig.once(alone, { kind: "raft", runId: newRun() }));
    expect(error.code).to.equal("SKEP_DOCKER_NOT_MANAGER");
  });

  it("refuses a document on standard input that is no job, without quoting it", async () => {
    const error = await failureOf(
      rig.once(manager, { kind: "raft", runId: newRun() }, { change: { writerKey: "hunter2" } }),
    );
    expect(error).to.include({ code: "SKEP_ONCE_INPUT_INVALID", permanent: true });
    expect(error.message).to.contain("writerKey").and.not.contain("hunter2");
  });

  it("keeps its state for its owner alone", async () => {
    await rig.once(manager, { kind: "node", runId: newRun() });
    const state = join(rig.folder, "state-node1");
    expect((await stat(state)).mode & 0o777).to.equal(0o700);
  });
});
