import { expect } from "chai";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openArchivedSwarm } from "../../../controller/recovery/recovery-source.ts";
import type { RecoveryTools } from "../../../controller/recovery/recovery-tools.ts";
import type { StepContext } from "../../../controller/recovery/steps.ts";
import { certificatesOf, layDownOnFirst } from "../../../controller/recovery/swarm-steps.ts";
import { rebaseSwarm } from "../../../shared/raft/rebase.ts";
import { encodeUnlockKey } from "../../../shared/raft/unlock-key.ts";
import { DyingHost } from "../swarm-restore/dying-host.ts";
import { copiedAmidQuiesce } from "./held-copy.ts";

/** Its engine was started anew after it had locked its key file. */
class LockedHost extends DyingHost {
  readonly keys: unknown[] = [];

  override askEngine(call: { path: string; body?: unknown }): Promise<unknown> {
    if (call.path === "/swarm/unlock") this.keys.push(call.body);
    const isLocked = this.isEngineUp && this.swarm !== null && this.keys.length === 0;
    if (call.path !== "/info" || !isLocked) return super.askEngine(call);
    return Promise.resolve({ Swarm: { LocalNodeState: "locked", ControlAvailable: false, Error: "" } });
  }
}

describe("laying an autolocked swarm down", () => {
  it("unlocks an engine that started anew before its objects were looked at", async () => {
    const host = new LockedHost(mkdtempSync(join(tmpdir(), "skep-locked-")));
    try {
      mkdirSync(join(host.dataRoot, "swarm"));
      const { signal } = new AbortController();
      const context: StepContext = { signal, resultOf: () => ({}), onProgress: () => undefined };
      const archive = { ...(await copiedAmidQuiesce(6)), unlockKey: Buffer.alloc(32, 9) };
      const options = { advertiseAddress: "10.9.8.7", now: Date.now() };
      const { state } = await openArchivedSwarm({ ...archive, unlockKey: null }, signal);
      const rebased = await rebaseSwarm(state, await certificatesOf(archive.files), options);
      const tools = {
        plan: { machines: [{ name: "m1", facts: { dataRoot: host.dataRoot } }] },
        source: { archive },
        machines: new Map([["m1", host]]),
        now: Date.now,
      } as unknown as RecoveryTools;
      await layDownOnFirst(tools, rebased, context);
      expect(host.keys).to.deep.equal([{ UnlockKey: encodeUnlockKey(archive.unlockKey) }]);
    } finally {
      rmSync(host.dataRoot, { recursive: true });
    }
  });
});
