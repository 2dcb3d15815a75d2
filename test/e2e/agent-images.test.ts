// An image that an agent takes of a real engine, and gives back to it: by agent/once.ts, on a node of a lab.
import { randomBytes } from "node:crypto";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect } from "chai";
import type { TaskOf } from "../../shared/contract/job.ts";
import type { OnceLine } from "../../shared/contract/once.ts";
import { failureOf, newRun } from "./agent-rig.ts";
import { TaskLab } from "./task-lab.ts";

describe("the agent's images", () => {
  let lab: TaskLab;

  before(async function () {
    this.timeout(600_000);
    lab = await TaskLab.up(1);
  });
  after(() => lab.down());

  const docker = async (...argv: string[]): Promise<string> => (await lab.manager.run(["docker", ...argv])).trim();

  it("are taken without staging, not again while they are known, and given back to an engine that lost it", async () => {
    const { manager, engine, rig } = lab;
    const [source, packed] = [manager.hostPath("/root/image-source"), "/root/image-source.tar"];
    await mkdir(source);
    await writeFile(join(source, "content"), randomBytes(6_000_000));
    await manager.run(["tar", "-cf", packed, "-C", "/root/image-source", "."]);
    const imageId = await docker("import", packed, "taken:1");
    const facts = await rig.once(manager, { kind: "node", runId: newRun() });
    expect(facts.images.find(({ id }) => id === imageId)).to.deep.include({ tags: ["taken:1"], digests: [] });
    // No registry ever had it: so none is asked.
    const task = (): TaskOf<"image"> => {
      const what = { imageId, names: ["taken:1"], unlessPullable: true, maxBytesPerSecond: 0 };
      return { kind: "image", runId: newRun(), ...what };
    };
    const { part } = await rig.once(manager, task());
    expect(part).to.include({ kind: "image", status: "done", name: "taken:1" });
    expect(part.totals?.newBytes).to.be.greaterThan(6_000_000);
    const again = (await rig.once(manager, task())).part;
    expect(again.totals?.sourceBytes).to.equal(part.totals?.sourceBytes);
    expect(again.totals?.newBytes).to.be.lessThan(2000);
    await docker("rmi", "taken:1");
    const { image: taken, manifest, refs } = again;
    if (taken === undefined || manifest === undefined || refs === undefined) throw new Error("no content");
    const wanted = { image: taken, sourceBytes: 0, manifest, refs, writerId: part.nodeId };
    expect(await failureOf(rig.once(manager, { kind: "restore-image", ...wanted }))).to.include({
      code: "SKEP_RESTORE_KEYS_MISSING",
    });
    const identityKeys = await rig.restoreKeys(again);
    const given = await rig.once(manager, { kind: "restore-image", ...wanted }, { identityKeys });
    expect(given).to.deep.equal({ kind: "restore-image", id: imageId, present: false });
    const found = await engine.image(imageId);
    expect(found?.RepoTags).to.deep.equal([]);
    await docker("rmi", imageId);
    expect(await failureOf(rig.once(manager, task()))).to.include({ code: "SKEP_SOURCE_IMAGE_GONE", permanent: true });
  });

  it("come back without the layers that the engine has still, and run", async () => {
    const { manager, rig } = lab;
    const build = async (tag: string, base: string, content: string): Promise<string> => {
      const container = await docker("create", base, "sh");
      await manager.run(["sh", "-c", `echo ${content} > /root/${content}`]);
      await docker("cp", `/root/${content}`, `${container}:/${content}`);
      await docker("commit", container, tag);
      await docker("rm", container);
      return await docker("image", "inspect", "--format", "{{.Id}}", tag);
    };
    const [base = ""] = (await docker("image", "ls", "--format", "{{.Repository}}:{{.Tag}}")).split("\n");
    await build("lower:1", base, "shared");
    const imageId = await build("upper:1", "lower:1", "own");
    const what = { imageId, names: ["upper:1"], unlessPullable: false, maxBytesPerSecond: 0 };
    const { part } = await rig.once(manager, { kind: "image", runId: newRun(), ...what });
    const { image: taken, manifest, refs, totals } = part;
    if (taken === undefined || manifest === undefined || refs === undefined) throw new Error("no content");
    await docker("rmi", "upper:1");
    const sourceBytes = totals?.sourceBytes ?? 0;
    const wanted = { image: taken, sourceBytes, manifest, refs, writerId: part.nodeId };
    const identityKeys = await rig.restoreKeys(part);
    const found: number[] = [];
    const onLine = (line: OnceLine): void => {
      if ("progress" in line) found.push(line.progress.doneBytes);
    };
    const given = await rig.once(manager, { kind: "restore-image", ...wanted }, { identityKeys, onLine });
    expect(given).to.deep.equal({ kind: "restore-image", id: imageId, present: false });
    expect(await docker("run", "--rm", imageId, "cat", "/shared", "/own")).to.equal("shared\nown");
    // What was there counts as done from the beginning.
    expect(Math.min(...found) / sourceBytes).to.be.greaterThan(0.9);
    await docker("rmi", imageId, "lower:1");
  });
});
