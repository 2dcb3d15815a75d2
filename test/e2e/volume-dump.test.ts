// A dump: taken from a command's output straight into the store, and given back to a command: on a real engine, without a
// controller.
import { createHash, randomBytes } from "node:crypto";
import { readFile } from "node:fs/promises";
import { expect } from "chai";
import type { AgentContext } from "../../agent/context.ts";
import { RestoreKeyring } from "../../agent/restore-keys.ts";
import { loadDump } from "../../agent/restore-load.ts";
import type { TaskOf } from "../../shared/contract/job.ts";
import { SkepError } from "../../shared/errors.ts";
import type { Part } from "../../shared/repository/run.ts";
import type { LabNode } from "../lab/node.ts";
import { failureOf, newRun, restoreTask, until, type Rig } from "./agent-rig.ts";
import { CacheNode } from "./cache-node.ts";

const newId = (): string => randomBytes(6).toString("hex");

describe("a volume that is dumped", function () {
  this.timeout(240_000);
  let cache: CacheNode;
  let node: LabNode;
  let rig: Rig;
  let context: AgentContext;
  let dumped: { part: Part; sha256: string } | null = null;

  before(async () => {
    cache = await CacheNode.up();
    ({ node, rig, context } = cache);
  });
  after(() => cache.down());

  const docker = (...argv: string[]): Promise<string> => cache.docker(...argv);
  const take: CacheNode["take"] = (...given) => cache.take(...given);

  it("is dumped straight into the store, and counts only where the command ended with 0", async () => {
    const dump = (script: string): TaskOf<"dump"> => ({
      ...{ kind: "dump", runId: newRun(), load: null, maxBytesPerSecond: 0 },
      command: { volume: "data", argv: ["/bin/sh", "-c", script], container: "cache", user: null, timeoutSeconds: 60 },
    });
    const failed = await take(dump("head -c 20000000 /dev/urandom; echo no such table >&2; exit 3"));
    expect(failed).to.include({ status: "failed", stderr: "no such table\n" });
    expect(failed.manifest).to.equal(undefined);
    const nowhere = { ...dump("echo").command, volume: "unused", container: null };
    await docker("volume", "create", "unused");
    const unfit = await take({ ...dump("echo"), command: nowhere });
    expect(unfit).to.deep.include({ kind: "dump", status: "failed" });
    expect(unfit.error?.code).to.equal("SKEP_COMMAND_NO_CONTAINER");
    const silent = await take(dump("head -c 20000000 /dev/zero; echo password=hunter2 no such table; exit 3"));
    expect(silent.commands?.[0]?.stdout)
      .to.match(/password=\[redacted\] no such table\n$/)
      .and.have.length(1024);
    const part = await take(dump("redis-cli --rdb - 2>/dev/null; head -c 30000000 /dev/zero"));
    expect(part).to.include({ kind: "dump", status: "done" });
    const restored = restoreTask(part, newId(), "dump-copy");
    await rig.once(node, restored, { identityKeys: await rig.restoreKeys(part) });
    const bytes = await readFile(node.hostPath("/var/lib/docker/volumes/dump-copy/_data/dump"));
    expect(bytes.length).to.equal(part.totals?.sourceBytes).and.to.be.above(30_000_000);
    expect(bytes.subarray(0, 5).toString()).to.equal("REDIS");
    expect(bytes.includes("kept")).to.equal(true);
    dumped = { part, sha256: createHash("sha256").update(bytes).digest("hex") };
  });

  it("takes its dump back by a command, which counts only where it took all and ended with 0", async () => {
    const { part, sha256 } = dumped ?? expect.fail("no dump was taken");
    const identityKeys = await rig.restoreKeys(part);
    const { manifest, refs, nodeId: writerId, totals } = part;
    if (manifest === undefined || refs === undefined) throw new Error("no snapshot");
    const load = (script: string, more: Partial<TaskOf<"restore-load">["command"]> = {}): TaskOf<"restore-load"> => ({
      ...{ kind: "restore-load", restoreId: newId(), manifest, refs, writerId, sealedKeys: "" },
      sourceBytes: totals?.sourceBytes ?? 0,
      command: {
        ...{ volume: "data", argv: ["/bin/sh", "-c", script], container: null, user: null, timeoutSeconds: 60 },
        ...more,
      },
    });
    const refused = (task: TaskOf<"restore-load">): Promise<SkepError> =>
      failureOf(rig.once(node, task, { identityKeys }));

    const loaded = await rig.once(node, load("sha256sum > /data/loaded; echo there is more >&2"), { identityKeys });
    expect(loaded.command).to.deep.include({
      step: "load",
      container: "cache",
      exitCode: 0,
      stderr: "there is more\n",
    });
    expect(loaded.loadedBytes).to.equal(totals?.sourceBytes);
    expect(await docker("exec", "cache", "cat", "/data/loaded")).to.equal(`${sha256}  -`);

    const failed = await refused(load("cat > /dev/null; echo password=hunter2 no such table >&2; exit 3"));
    expect(failed).to.include({ code: "SKEP_LOAD_FAILED", permanent: true });
    expect(failed.message).to.contain("load in cache ended with 3").and.contain("no such table");
    expect(failed.message).to.not.contain("hunter2").and.not.contain("took only");
    const early = await refused(load("head -c 1000 > /dev/null"));
    expect(early).to.include({ code: "SKEP_LOAD_FAILED" });
    expect(early.message).to.match(/ended with 0 and took only \d+ of \d+ bytes/);
    expect((await refused(load("sleep 100", { timeoutSeconds: 2 }))).message).to.contain("did not end within 2 s");
    expect(await refused(load("true", { container: "nowhere" }))).to.include({ code: "SKEP_COMMAND_NO_CONTAINER" });
    // By an agent that was restarted since it made its one-time key.
    expect(await failureOf(rig.once(node, load("touch /data/begun")))).to.include({ code: "SKEP_LOAD_TORN" });

    // A store that gives nothing changes nothing.
    const gone = new SkepError({ code: "SKEP_STORE_UNREACHABLE", message: "the store is gone", permanent: false });
    const store = new Proxy(context.store, {
      get: (target, name): unknown => {
        const value: unknown = Reflect.get(target, name);
        if (name === "get") return () => Promise.reject(gone);
        return typeof value === "function" ? (value as (...all: unknown[]) => unknown).bind(target) : value;
      },
    });
    const byHand = (script: string, given: AgentContext, stop = new AbortController()): Promise<unknown> => {
      const onProgress = (): void => {
        stop.abort(new Error("it was stopped"));
      };
      const attempt = { jobId: "job", number: 1, signal: stop.signal, onProgress };
      return loadDump(load(script), given, { keyring: new RestoreKeyring(), identityKeys }, attempt);
    };
    expect(await failureOf(byHand("touch /data/begun", { ...context, store }))).to.include({ code: gone.code });
    // Stopped after the first bytes: what the command saw was no end of the dump.
    const torn = await failureOf(byHand("cat > /data/half", context));
    expect(torn).to.include({ code: "SKEP_LOAD_TORN", permanent: true });
    expect(torn.message).to.contain("it was stopped");
    expect(await docker("exec", "cache", "sh", "-c", "ls /data/begun 2>/dev/null || echo never")).to.equal("never");
  });

  it("is dumped by another attempt where the engine went while the command ran", async () => {
    const task = (script: string): TaskOf<"dump"> => ({
      ...{ kind: "dump", runId: newRun(), load: null, maxBytesPerSecond: 0 },
      command: { volume: "data", argv: ["/bin/sh", "-c", script], container: null, user: null, timeoutSeconds: 60 },
    });
    const broken = failureOf(take(task("head -c 3000000 /dev/zero; touch /data/dumping; sleep 100")));
    await until(async () => (await node.exec(["docker", "exec", "cache", "ls", "/data/dumping"])).code === 0);
    await node.run(["systemctl", "kill", "--kill-who=main", "--signal=KILL", "docker.service"]);
    const error = await broken;
    expect(error).to.include({ code: "SKEP_COMMAND_FAILED", permanent: false });
    expect(error.message).to.contain("dump in cache could not be run");
    await until(async () => (await node.exec(["docker", "start", "cache"])).code === 0, 60_000);
    const part = await take(task("cat /data/dumping; echo whole"));
    expect(part).to.include({ kind: "dump", status: "done" });
    expect(part.totals?.sourceBytes).to.equal(6);
  });
});
