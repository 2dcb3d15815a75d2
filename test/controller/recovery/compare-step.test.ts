import { expect } from "chai";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { compareSwarm, type ComparedObject } from "../../../controller/recovery/compare-step.ts";
import { stepIds } from "../../../controller/recovery/plan-steps.ts";
import { openArchivedSwarm } from "../../../controller/recovery/recovery-source.ts";
import type { RecoveryTools } from "../../../controller/recovery/recovery-tools.ts";
import type { StepContext } from "../../../controller/recovery/steps.ts";
import { certificatesOf, layDownOnFirst } from "../../../controller/recovery/swarm-steps.ts";
import { viewSwarm } from "../../../controller/recovery/swarm-view.ts";
import type { OpenedArchive } from "../../../shared/raft/archive-layout.ts";
import type { OpenedSwarm } from "../../../shared/raft/open-swarm.ts";
import { rebaseSwarm } from "../../../shared/raft/rebase.ts";
import { undoHolds } from "../../../shared/raft/undo-holds.ts";
import { member } from "../../shared/raft/synthetic-swarm.ts";
import { DyingHost } from "../swarm-restore/dying-host.ts";
import { closedRecord, copiedAmidQuiesce } from "./held-copy.ts";

const { signal } = new AbortController();
const planTime = Date.parse("2026-11-27T03:00:00.000Z");

describe("the comparison at the end of a recovery", () => {
  let host: DyingHost;
  let archive: OpenedArchive;
  const nodeId = { nodeId: member.nodeId };
  const context: StepContext = {
    signal,
    resultOf: (step) => (step === stepIds.swarm ? nodeId : {}),
    onProgress: () => undefined,
  };

  beforeEach(async () => {
    host = new DyingHost(mkdtempSync(join(tmpdir(), "skep-compare-")));
    mkdirSync(join(host.dataRoot, "swarm"));
    archive = await copiedAmidQuiesce(6);
  });
  afterEach(() => {
    rmSync(host.dataRoot, { recursive: true });
  });

  const toolsWith = (swarm: OpenedSwarm): RecoveryTools => {
    const replaces = [{ id: member.nodeId, hostname: "node1" }];
    const dress = { labels: {}, availability: "active" };
    return {
      plan: {
        machines: [{ name: "m1", role: "worker", replaces, dress, facts: { dataRoot: host.dataRoot } }],
        services: viewSwarm(swarm).services,
        ...{ waves: [], own: [], endedJobs: [], images: [], renamed: new Map() },
      },
      source: { archive, swarm },
      machines: new Map([["m1", host]]),
      now: () => planTime + 3_600_000,
    } as unknown as RecoveryTools;
  };

  /** An hour after the plan. */
  const layDown = async (tools: RecoveryTools): Promise<void> => {
    const options = { advertiseAddress: "10.9.8.7", now: tools.now() };
    const { state } = await openArchivedSwarm(archive, signal);
    await layDownOnFirst(tools, await rebaseSwarm(state, await certificatesOf(archive.files), options), context);
  };

  const compare = async (tools: RecoveryTools): Promise<ComparedObject[]> => {
    const { compared } = await compareSwarm(tools, context);
    const objects = compared as ComparedObject[];
    expect(objects.map(({ name }) => name)).to.include.members(["db", "config-5", "node1"]);
    return objects.filter(({ state }) => state !== "equal");
  };

  it("finds a copy that was taken amid a quiesce as it was before, whatever becomes of the holds' records", async () => {
    const swarm = await openArchivedSwarm(archive, signal);
    expect(undoHolds(swarm.state.store, planTime)).to.have.length(1);
    const tools = toolsWith(swarm);
    await layDown(tools);
    expect(await compare(tools), "records that were closed by the plan, and by the step").to.deep.equal([]);
    host.swarm?.store.objects.config.delete(`config${closedRecord}`);
    expect(await compare(tools), "an agent removed one").to.deep.equal([]);
    host.swarm?.store.objects.config.delete("configid5");
    expect(await compare(tools)).to.deep.equal([{ kind: "config", name: "config-5", state: "missing", detail: "" }]);
  });

  it("tells of a service that a survivor's agent has let go since", async () => {
    const tools = toolsWith(await openArchivedSwarm(archive, signal));
    await layDown(tools);
    const detail = "Skep held it, and has let it go since";
    expect(await compare(tools)).to.deep.equal([{ kind: "service", name: "db", state: "mapped", detail }]);
  });
});
