import { expect } from "chai";
import { forcedStart, managerAddress } from "../../../shared/raft/forced-start.ts";
import { readSwarm } from "../../../shared/raft/read-swarm.ts";
import { memoryFiles } from "../../../shared/raft/swarm-files.ts";
import { decodeMessage } from "../../../shared/raft/swarmkit/message-types.ts";
import { raftVectors, readVector } from "./raft-vectors.ts";

describe("what starts a swarm directory by hand", () => {
  for (const vector of raftVectors()) {
    it(`opens it without the unlock key, and says what the cluster has: ${vector.name}`, async () => {
      const state = await readVector(vector);
      const engineState = Buffer.from('{"ListenAddr":"0.0.0.0:2377","DataPathAddr":"eth1"}');
      const start = forcedStart(state, vector.unlockKey, engineState) ?? expect.fail("nothing");
      const unlocked = new Map([...vector.files, ["certificates/swarm-node.key", start.keyFile]]);
      const { proof } = await readSwarm(memoryFiles(unlocked), { unlockKey: null });
      expect(proof).to.deep.equal({ ...state.proof, locked: false });
      const cluster = decodeMessage("Cluster", state.store.objects.cluster.get(state.clusterId) ?? new Uint8Array());
      expect(start.body).to.deep.include({
        ListenAddr: "0.0.0.0:2377",
        DataPathAddr: "eth1",
        ForceNewCluster: true,
        DefaultAddrPool: cluster.defaultAddressPool,
        SubnetSize: cluster.subnetSize,
        Spec: {
          CAConfig: { ForceRotate: Number(cluster.spec?.caConfig?.forceRotate ?? 0n) },
          EncryptionConfig: { AutoLockManagers: vector.unlockKey !== null },
        },
      });
      expect(managerAddress(String(start.body["AdvertiseAddr"]))).to.not.equal(null);
      // Without the engine's own file it listens on all addresses.
      expect(forcedStart(state, vector.unlockKey, null)?.body["ListenAddr"]).to.equal("0.0.0.0:2377");
    });
  }

  it("is nothing where the state names no address", async () => {
    const [vector] = raftVectors();
    if (vector === undefined) return expect.fail("no vector");
    const state = await readVector(vector);
    state.membership.members.clear();
    state.store.objects.node.clear();
    expect(forcedStart(state, vector.unlockKey, null)).to.equal(null);
  });

  it("reads members' addresses, and takes none for those of all interfaces", () => {
    expect(managerAddress("192.0.2.7:2377")).to.deep.equal({ host: "192.0.2.7", port: 2377 });
    expect(managerAddress("[2001:db8::1]:4000")).to.deep.equal({ host: "2001:db8::1", port: 4000 });
    for (const none of ["", "0.0.0.0:2377", "[::]:2377", "name:2377"]) expect(managerAddress(none)).to.equal(null);
  });
});
