// Volumes on filesystems that keep a moment of them: what is told to be quiet goes on after milliseconds, and what is not
// is taken as it was at one time. On real disks of btrfs and XFS, by an agent without a controller.
import { randomBytes } from "node:crypto";
import { readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect } from "chai";
import { backup } from "../../agent/backup.ts";
import type { AgentContext, Attempt, QuietTools } from "../../agent/context.ts";
import { connectDocker } from "../../agent/docker.ts";
import { Journal } from "../../agent/journal.ts";
import { Moments } from "../../agent/moment/moments.ts";
import { Watches } from "../../agent/quiesce/watches.ts";
import { pause, unpause } from "../../agent/quiesce/pause.ts";
import { readPauses } from "../../agent/quiesce/pause-record.ts";
import type { TaskOf } from "../../shared/contract/job.ts";
import { deriveWriterKeys } from "../../shared/repository/keys.ts";
import type { Part } from "../../shared/repository/run.ts";
import { command } from "../lab/command.ts";
import { nodeImage } from "../lab/image.ts";
import { Lab } from "../lab/lab.ts";
import type { LabNode } from "../lab/node.ts";
import { restoreTask, Rig, until, volumeTask } from "./agent-rig.ts";
import { makeVolume, volumePath, volumesRoot } from "./volumes.ts";

const patient = new AbortController().signal;
const newId = (): string => randomBytes(6).toString("hex");
const image = nodeImage();
/** Two counters in lock-step, each on disk before the other goes on: at each moment `second` has what `first` has, or one less. */
const counters = `const { fsyncSync, openSync, writeSync } = require("fs");
const [first, second] = ["first", "second"].map((name) => openSync("/data/" + name, "w"));
const text = (n) => String(n).padStart(12, "0");
for (let n = 0; ; n++) for (const file of [first, second]) { writeSync(file, text(n), 0); fsyncSync(file); }`;

for (const filesystem of ["btrfs", "xfs"] as const) {
  describe(`a volume on ${filesystem}`, function () {
    this.timeout(240_000);
    let lab: Lab;
    let node: LabNode;
    let rig: Rig;
    let journal: Journal;
    let context: AgentContext;
    let tools: QuietTools;

    before(async () => {
      lab = await Lab.up({ nodes: 1, images: [image], dataRoot: filesystem });
      node = lab.node("node1");
      rig = await Rig.make();
      journal = new Journal(join(rig.folder, "journal.sqlite"));
      tools = { journal, moments: new Moments(journal), watches: new Watches() };
      const writerId = await rig.nodeId(node);
      const { repositoryId, epoch } = rig.repository.repositoryObject;
      const writerKey = rig.writerKey(writerId);
      const docker = connectDocker(node.dockerSocketPath);
      context = {
        ...{ docker, dockerSocket: node.dockerSocketPath, hostRoot: rig.hostRoot(node), stateDir: rig.folder },
        ...{
          store: rig.store,
          storeLocation: rig.location,
          credentials: rig.credentials,
          repositoryId,
          incarnation: 1,
        },
        ...{ writerId, writerKey, writerKeys: deriveWriterKeys(writerKey, repositoryId), epoch, mountedAt: null },
      };
      await node.run(["docker", "run", "-d", "--name", "load", "-v", "data:/data", image.tag, "node", "-e", counters]);
      const path = volumePath(node, "data");
      await until(async () => (await readFile(join(path, "second"), "utf8").catch(() => "")) > "000000000100");
      await writeFile(join(path, "large"), randomBytes(4_000_000));
      await command(["ln", join(path, "large"), join(path, "same")]);
      await command(["ln", "-s", "large", join(path, "to")]);
    });
    after(async () => {
      journal.close();
      await lab.down();
      await rig.down();
    });

    const state = async (): Promise<string> =>
      (await node.run(["docker", "inspect", "--format", "{{.State.Status}}", "load"])).trim();
    const left = (): Promise<string[]> => readdir(node.hostPath("/var/lib/docker/skep-moments"));

    async function take(task: TaskOf<"volume">, onProgress: Attempt["onProgress"] = () => undefined): Promise<Part> {
      const job = rig.job(task, { kind: "node", nodeId: context.writerId });
      const result = await backup(job, task, context, tools, { jobId: job.id, number: 1, signal: patient, onProgress });
      return "part" in result ? result.part : expect.fail(result.kind);
    }

    /** By how much the counters differ in what was restored. */
    async function restoredDifference(part: Part): Promise<number> {
      const copy = `copy-${newId()}`;
      await rig.once(node, restoreTask(part, newId(), copy), { identityKeys: await rig.restoreKeys(part) });
      const path = volumePath(node, copy);
      expect((await readFile(join(path, "large"))).equals(await readFile(join(volumePath(node, "data"), "large")))).to
        .be.true;
      const format = ["find", path, "-name", "large", "-printf", "%T@ %n %m"];
      const original = [...format.slice(0, 1), volumePath(node, "data"), ...format.slice(2)];
      expect(await command(format)).to.equal(await command(original));
      const [first = NaN, second = NaN] = await Promise.all(
        ["first", "second"].map(async (name) => Number(await readFile(join(path, name), "utf8"))),
      );
      expect(first).to.be.above(100);
      return first - second;
    }

    const pausing = (): TaskOf<"pause"> => ({
      ...{ kind: "pause", pauseId: newId(), volumes: ["data"], before: [] },
      moments: [{ volume: "data", excludePaths: [] }],
      deadlineAt: new Date(Date.now() + 60_000).toISOString(),
    });

    it("goes on before it is read, and was quiet for milliseconds", async () => {
      const order = pausing();
      expect((await pause(order, context, tools, patient)).paused).to.deep.equal(["load"]);
      expect(await state()).to.equal("running");
      const phases: string[] = [];
      const task = { ...volumeTask("data"), quiet: { how: "pause" as const, id: order.pauseId } };
      const part = await take(task, ({ phase }) => phases.push(phase));
      expect(part).to.include({ status: "done", consistency: "quiet" });
      expect(part.moment).to.equal(filesystem === "btrfs" ? "btrfs" : "reflink");
      expect(phases).to.not.include("reading");
      const done = await unpause(
        { kind: "unpause", pauseId: order.pauseId, after: [] },
        context.docker,
        journal,
        patient,
      );
      console.log(`      quiet for ${done.quiet[0]?.quietMs} ms`);
      expect(done.quiet[0]?.name).to.equal("load");
      expect(await restoredDifference(part)).to.be.within(0, 1);
      expect(await left()).to.deep.equal([]);
      expect(journal.moments()).to.deep.equal([]);
      // The next one reads nothing of what has not changed, whatever it was read through.
      const again = pausing();
      await pause(again, context, tools, patient);
      const second = await take({ ...task, ...volumeTask("data"), quiet: { how: "pause", id: again.pauseId } });
      expect(second.totals?.newBytes).to.be.below(1_000_000);
      await unpause({ kind: "unpause", pauseId: again.pauseId, after: [] }, context.docker, journal, patient);
    });

    it("is released after its moment where somebody else pauses it, and proven until then", async () => {
      const order = { ...pausing(), moments: [] };
      await pause(order, context, tools, patient);
      const released: { end: Promise<unknown> | null } = { end: null };
      const part = await take({ ...volumeTask("data"), quiet: { how: "pause", id: order.pauseId } }, ({ phase }) => {
        expect(phase).to.not.equal("reading");
        released.end ??= unpause(
          { kind: "unpause", pauseId: order.pauseId, after: [] },
          context.docker,
          journal,
          patient,
        );
      });
      await released.end;
      expect(part).to.include({ status: "done", consistency: "quiet" });
      expect(part.moment).to.be.a("string");
      expect(await restoredDifference(part)).to.be.within(0, 1);
    });

    it(`is ${filesystem === "btrfs" ? "atomic" : "not atomic"} while it is written to`, async () => {
      const part = await take(volumeTask("data"));
      expect(part).to.include({ status: "done", consistency: filesystem === "btrfs" ? "atomic" : "not-atomic" });
      if (filesystem === "btrfs") expect(await restoredDifference(part)).to.be.within(0, 1);
      else expect(part.moment).to.equal(undefined);
    });

    it("leaves nothing that a next life of the agent would not remove", async () => {
      const order = pausing();
      await pause(order, context, tools, patient);
      expect(await left()).to.have.length(1);
      // As after SIGKILL: what was in memory is gone.
      tools = { journal, moments: new Moments(journal), watches: new Watches() };
      expect((await tools.moments.removeLeft()).removed).to.have.length(1);
      expect(await left()).to.deep.equal([]);
      const part = await take({ ...volumeTask("data"), quiet: { how: "pause", id: order.pauseId } });
      expect(part).to.include({ status: "partial", consistency: "not-atomic" });
      await unpause({ kind: "unpause", pauseId: order.pauseId, after: [] }, context.docker, journal, patient);
    });

    it("goes on before what was taken of it in vain is removed", async () => {
      const docker = {
        ...context.docker,
        pauseContainer: async (id: string): Promise<void> => {
          await context.docker.pauseContainer(id);
          await node.run(["docker", "run", "-d", "--name", "other", "-v", "data:/data", image.tag, "sleep", "1000"]);
        },
      };
      const order = pausing();
      await pause(order, { ...context, docker }, tools, patient);
      const tend = (): Promise<unknown> =>
        tools.moments.tend(Date.now(), new Set(readPauses(journal).map(({ pauseId }) => pauseId)));
      await tend();
      expect(await state()).to.equal("paused");
      expect(await left()).to.have.length(1);
      expect(tools.moments.claim(order.pauseId, "data")).to.equal(null);
      await unpause({ kind: "unpause", pauseId: order.pauseId, after: [] }, context.docker, journal, patient);
      expect(await state()).to.equal("running");
      await tend();
      expect(await left()).to.deep.equal([]);
      expect(journal.moments()).to.deep.equal([]);
      await node.run(["docker", "rm", "--force", "other"]);
    });

    if (filesystem !== "btrfs") return;
    it("is not paused where its filesystem does not answer until the deadline, and is taken again once it does", async () => {
      const tend = (): ReturnType<Moments["tend"]> => tools.moments.tend(Date.now(), new Set());
      const disk = node.hostPath("/var/lib/docker");
      await command(["fsfreeze", "--freeze", disk]);
      try {
        const order = { ...pausing(), deadlineAt: new Date(Date.now() + 4000).toISOString() };
        const error: unknown = await pause(order, context, tools, patient).catch((thrown: unknown) => thrown);
        expect(error).to.include({ code: "SKEP_PAUSE_OVER" });
        expect(error).to.have.property("message").that.contains("is the disk well?");
        expect((await tend()).map(({ message }) => message).join()).to.contain("the filesystem does not answer");
        expect(await tend()).to.deep.equal([]);
        expect(journal.moments()).to.have.length(1);
      } finally {
        await command(["fsfreeze", "--unfreeze", disk]);
      }
      await until(async () => {
        await tend();
        return journal.moments().length === 0;
      });
      expect(await left()).to.deep.equal([]);
      expect(await state()).to.equal("running");
      const order = pausing();
      await pause(order, context, tools, patient);
      expect(await state()).to.equal("running");
      expect(await left()).to.have.length(1);
      await unpause({ kind: "unpause", pauseId: order.pauseId, after: [] }, context.docker, journal, patient);
      await tools.moments.tend(Infinity, new Set());
    });

    it("is read itself where a mount lies in it or leads to it, which a snapshot would lack or miss", async () => {
      const path = `${volumesRoot}/data/_data`;
      const within = `${path}/mounted`;
      await node.run(["mkdir", within]);
      await node.run(["mount", "-t", "tmpfs", "none", within]);
      try {
        const part = await take(volumeTask("data"));
        expect(part).to.include({ status: "done", consistency: "not-atomic" });
        expect(part.moment).to.equal(undefined);
        expect(part.warnings.map(({ code }) => code)).to.include("SKEP_SOURCE_OTHER_FILESYSTEM");
      } finally {
        await node.run(["umount", within]);
        await node.run(["rmdir", within]);
      }
      await makeVolume(node, "other", { file: "content" });
      await node.run(["mount", "--bind", `${volumesRoot}/other/_data`, path]);
      try {
        const part = await take(volumeTask("data"));
        expect(part).to.include({ status: "done", consistency: "not-atomic" });
        expect(part.moment).to.equal(undefined);
        expect(part.totals?.files).to.equal(1);
        expect(await left()).to.deep.equal([]);
        expect(journal.moments()).to.deep.equal([]);
      } finally {
        await node.run(["umount", path]);
      }
      expect(await take(volumeTask("data"))).to.include({ consistency: "atomic", moment: "btrfs" });
    });

    it("is read itself where other subvolumes lie in it, which a snapshot would lack", async () => {
      await command(["btrfs", "subvolume", "create", join(volumePath(node, "data"), "within")]);
      const part = await take(volumeTask("data"));
      expect(part).to.include({ status: "done", consistency: "not-atomic" });
      expect(part.moment).to.equal(undefined);
    });
  });
}
