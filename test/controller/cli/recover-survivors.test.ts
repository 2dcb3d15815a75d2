import { expect } from "chai";
import { withSurvivor } from "../../../controller/cli/recover-survivors.ts";
import type { NewerChoice } from "../../../controller/recovery/quorum/planned-survivor.ts";
import type { RecoverySource } from "../../../controller/recovery/recovery-source.ts";
import { viewSwarm } from "../../../controller/recovery/swarm-view.ts";
import { openSwarm } from "../../../shared/raft/open-swarm.ts";
import { openHolds } from "../../../shared/raft/undo-holds.ts";
import { copiedAmidQuiesce } from "../recovery/held-copy.ts";

const { signal } = new AbortController();

async function sourceOf(commitIndex: 5 | 6, choice: NewerChoice | null): Promise<RecoverySource> {
  const archive = await copiedAmidQuiesce(commitIndex);
  const swarm = await openSwarm(archive.files, { knownCommit: commitIndex, signal });
  return await withSurvivor({} as RecoverySource, { archive, swarm, knownCommit: commitIndex }, choice, {
    ...{ now: Date.parse("2026-11-27T03:00:00.000Z"), signal },
  });
}

describe("the state of a manager that survived", () => {
  it("is planned with holds undone where it is laid down with its newer entries", async () => {
    const { swarm, undone } = await sourceOf(5, "keep");
    expect(undone.map(({ name }) => name)).to.deep.equal(["db"]);
    expect(viewSwarm(swarm).services.map(({ replicas }) => replicas)).to.deep.equal([2]);
    expect(openHolds(swarm.state.store)).to.deep.equal([]);
  });

  it("keeps its holds where it goes on as it is, for its agents to end", async () => {
    const { swarm, undone } = await sourceOf(6, "keep");
    expect(undone).to.deep.equal([]);
    expect(viewSwarm(swarm).services.map(({ replicas }) => replicas)).to.deep.equal([0]);
    expect(openHolds(swarm.state.store)).to.have.length(1);
    expect(viewSwarm((await sourceOf(5, "drop")).swarm).services).to.deep.equal([]);
  });
});
