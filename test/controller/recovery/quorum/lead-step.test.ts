import { expect } from "chai";
import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { findLead, takeLead } from "../../../../controller/recovery/quorum/lead-step.ts";
import type { RecoveryTools } from "../../../../controller/recovery/recovery-tools.ts";
import type { StepContext } from "../../../../controller/recovery/steps.ts";
import type { CommandOptions, CommandResult } from "../../../../controller/recovery/ssh.ts";
import { journalName } from "../../../../controller/swarm-restore/journal.ts";
import { SkepError } from "../../../../shared/errors.ts";
import { openSwarm } from "../../../../shared/raft/open-swarm.ts";
import { memoryFiles } from "../../../../shared/raft/swarm-files.ts";
import { plainWal, syntheticSwarm } from "../../../shared/raft/synthetic-swarm.ts";
import { DyingHost } from "../../swarm-restore/dying-host.ts";

let host: DyingHost;
let tools: RecoveryTools;
const { signal } = new AbortController();
const context: StepContext = { signal, resultOf: () => ({}), onProgress: () => undefined };

function run(argv: readonly string[], { onStdout }: CommandOptions): Promise<CommandResult> {
  const [program = "", ...args] = argv;
  const { status, stdout, stderr } = spawnSync(program, args);
  onStdout?.(stdout);
  return Promise.resolve({ code: status ?? -1, stdout: stdout.toString(), stderr: stderr.toString() });
}

beforeEach(async () => {
  host = new DyingHost(mkdtempSync(join(tmpdir(), "skep-lead-")));
  const files = await syntheticSwarm(plainWal(5).finish());
  for (const [path, bytes] of [...files, ["docker-state.json", Buffer.from("{}")] as const]) {
    mkdirSync(join(host.dataRoot, "swarm", path, ".."), { recursive: true });
    writeFileSync(join(host.dataRoot, "swarm", path), bytes);
  }
  await host.reboot();
  const archive = { files: memoryFiles(files), unlockKey: null, facts: null };
  const swarm = await openSwarm(archive.files, { unlockKey: null, signal });
  const { clusterId, member } = swarm.state;
  const machine = {
    name: "m1",
    run,
    askEngine: (call: { path: string }) => host.askEngine(call),
    engine: () => Promise.reject(new SkepError({ code: "SKEP_DOCKER_FAILED", message: "no leader", permanent: false })),
  };
  tools = {
    plan: {
      clusterId,
      survivor: { machine: "m1", nodeId: member.nodeId, newer: [], choice: null, commitIndex: 5 },
      machines: [{ name: "m1", facts: { name: "m1", dataRoot: host.dataRoot } }],
    },
    source: { archive, swarm },
    machines: new Map([["m1", machine]]),
  } as unknown as RecoveryTools;
});
afterEach(() => {
  rmSync(host.dataRoot, { recursive: true });
});

describe("the look whether a survivor leads already", () => {
  it("finds one that is alone and has every object of the saved state", async () => {
    const found = await findLead(tools, context);
    expect(found).to.include({ before: true });
    expect(found?.["compared"]).to.include({ node: 1, cluster: 1 });
  });

  it("does not take one for done whose objects are others", async () => {
    const files = memoryFiles(await syntheticSwarm(plainWal(9).finish()));
    tools.source.swarm = await openSwarm(files, { unlockKey: null, signal });
    const error = await findLead(tools, context, 0).then(
      () => null,
      (thrown: unknown) => thrown,
    );
    expect(error).to.be.instanceOf(SkepError).with.property("code", "SKEP_SWARM_RESTORE_DIFFERS");
  });

  it("finds none while its directory is being laid down, and refuses to drop what was to be kept by then", async () => {
    const journal = {
      format: 1,
      ...{ id: "aaaaaaaaaaaa", clusterId: "cluster", nodeId: "ida", appliedIndex: 9, address: "10.0.0.1:2377" },
      ...{ held: [], startedAt: "2026-11-27T03:00:00.000Z", phase: "moving", kept: [] },
    };
    writeFileSync(join(host.dataRoot, journalName), JSON.stringify({ ...journal, appliedIndex: 3, phase: "laid" }));
    expect(await findLead(tools, context), "one that was left by an older restore").to.include({ before: true });
    // Between the two moves there is no directory at all.
    rmSync(join(host.dataRoot, "swarm"), { recursive: true });
    writeFileSync(join(host.dataRoot, journalName), JSON.stringify(journal));
    expect(await findLead(tools, context)).to.equal(null);
    const error = await takeLead(tools, context).then(
      () => null,
      (thrown: unknown) => thrown,
    );
    expect(error).to.be.instanceOf(SkepError).with.property("code", "SKEP_SWARM_RESTORE_UNFINISHED");
    expect(error).to.have.property("hint").that.contains("go on with --newer-entries keep");
  });
});
