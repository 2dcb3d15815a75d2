import { expect } from "chai";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { lockedAgain } from "../../../../controller/recovery/quorum/lead-step.ts";
import { stoppedEngine } from "../../../../controller/recovery/quorum/stopped-engine.ts";
import type { SwarmHost } from "../../../../controller/swarm-restore/host.ts";
import { writeJournal, type RestoreJournal } from "../../../../controller/swarm-restore/journal.ts";
import { SkepError, toErrorRecord, type ErrorCode } from "../../../../shared/errors.ts";
import { runFast, runReal } from "../../swarm-restore/dying-host.ts";

const { signal } = new AbortController();
let root: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "skep-cut-off-"));
});
afterEach(() => {
  rmSync(root, { recursive: true });
});

const refusal = (code: ErrorCode): SkepError => new SkepError({ code, message: "m1 said no", permanent: false });

function hostWith(answer: ErrorCode | null, run = runFast): SwarmHost {
  return {
    name: "m1",
    run: (argv, { input }) => Promise.resolve(run(argv, input)),
    askEngine: () => (answer === null ? Promise.resolve({}) : Promise.reject(refusal(answer))),
  };
}

describe("a survivor whose engine was stopped when a recovery was cut off", () => {
  const journal: RestoreJournal = {
    format: 1,
    ...{ id: "aaaaaaaaaaaa", clusterId: "cluster", nodeId: "ida", appliedIndex: 9, address: "10.0.0.1:2377" },
    ...{ held: [], startedAt: "2026-11-27T03:00:00.000Z", phase: "staging", kept: [] },
  };

  it("is started where a swarm directory is in its place, and else gets its former one back first", async () => {
    const down = hostWith("SKEP_DOCKER_UNREACHABLE", runReal);
    expect(await stoppedEngine(down, root, signal)).to.equal(null);
    mkdirSync(join(root, "swarm"));
    const hintFor = async (change: Partial<RestoreJournal>): Promise<string> => {
      await writeJournal(down, root, { ...journal, ...change }, signal);
      const error = await stoppedEngine(down, root, signal);
      expect(error?.code).to.equal("SKEP_RECOVERY_ENGINE_STOPPED");
      return error?.hint ?? "";
    };
    expect(await hintFor({})).to.contain("m1: systemctl start docker.service; then the same command");
    const kept = join(root, "swarm.before-aaaaaaaaaaaa");
    rmSync(join(root, "swarm"), { recursive: true });
    mkdirSync(kept);
    const between = await hintFor({ phase: "moving", kept: [kept] });
    expect(between).to.contain(`mv -T ${kept} ${root}/swarm; rm -f ${root}/skep-swarm-restore.json; systemctl start`);
    mkdirSync(join(root, "swarm"));
    expect(await hintFor({ phase: "moving", kept: [kept] })).to.contain(`mv -T ${root}/swarm ${root}/swarm.set-aside`);
    expect(await hintFor({ phase: "laid", kept: [kept] })).to.contain("m1: systemctl start docker.service");
    expect(await stoppedEngine(hostWith(null, runReal), root, signal)).to.equal(null);
  });
});

describe("the key file of an autolocked survivor whose start was refused", () => {
  const locked = Buffer.from("locked");
  const after = async (
    fault: ErrorCode,
    host: SwarmHost,
    before: Uint8Array | null = locked,
  ): Promise<{ text: string; hint: string }> => {
    const path = join(root, "swarm-node.key");
    writeFileSync(path, "in clear");
    const error = toErrorRecord(await lockedAgain(refusal(fault), host, path, before));
    expect(error).to.include({ code: fault, message: "m1 said no" });
    expect(existsSync(path)).to.equal(true);
    return { text: readFileSync(path, "utf8"), hint: error.hint ?? "" };
  };

  it("is locked again, but for an engine that leads by now", async () => {
    const noManager = hostWith("SKEP_DOCKER_NOT_MANAGER");
    expect(await after("SKEP_DOCKER_FAILED", noManager)).to.deep.equal({ text: "locked", hint: "" });
    expect(await after("SKEP_DOCKER_FAILED", hostWith(null))).to.deep.equal({ text: "in clear", hint: "" });
  });

  it("is said to be in clear where it can't be locked, or an engine may still read it", async () => {
    const full = hostWith("SKEP_DOCKER_NOT_MANAGER", () => ({
      code: 1,
      stdout: "",
      stderr: "No space left on device",
    }));
    const silent = hostWith("SKEP_DOCKER_UNREACHABLE");
    for (const { text, hint } of [
      await after("SKEP_DOCKER_FAILED", hostWith("SKEP_DOCKER_NOT_MANAGER"), null),
      await after("SKEP_DOCKER_FAILED", full),
      await after("SKEP_DOCKER_UNREACHABLE", silent),
    ]) {
      expect(text).to.equal("in clear");
      expect(hint).to.contain("may be in clear").and.contain(root);
    }
  });
});
