import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

import { expect } from "chai";

import { copiedFiles } from "../../shared/raft/copied-file.ts";
import { openSwarm } from "../../shared/raft/open-swarm.ts";
import { readSwarm, type SwarmState } from "../../shared/raft/read-swarm.ts";
import type { RebasedSwarm } from "../../shared/raft/rebase.ts";
import { encodeUnlockKey } from "../../shared/raft/unlock-key.ts";
import { Lab } from "../lab/lab.ts";
import type { LabNode } from "../lab/node.ts";
import { initSwarm } from "../lab/swarm.ts";
import {
  apiObjects,
  copyFrom,
  raftObjects,
  rebaseCopy,
  rotateUnlockKey,
  setAutolock,
  steadyLoad,
  swarmDirectory,
  swarmState,
  unlockKeyOf,
  until,
} from "./raft-swarm.ts";
import { create, engineCall, fillSwarm, inspect, secretText, type ApiObject } from "./rich-swarm.ts";

let staging = "";
beforeEach(async () => {
  staging = await mkdtemp(join(tmpdir(), "skep-raft-e2e-"));
});
afterEach(() => rm(staging, { recursive: true }));

async function layDown(node: LabNode, rebased: RebasedSwarm): Promise<void> {
  await node.run(["systemctl", "stop", "docker.socket", "docker.service"]);
  const root = node.hostPath(swarmDirectory);
  await rm(root, { recursive: true, force: true });
  for (const { path, mode, bytes } of rebased.files) {
    await mkdir(dirname(join(root, path)), { recursive: true, mode: 0o700 });
    await writeFile(join(root, path), bytes, { mode });
  }
  await node.run(["systemctl", "start", "docker.service"]);
}

for (const engine of ["bookworm", "trixie"] as const) {
  describe(`the Raft state of a real manager (${engine})`, function () {
    this.timeout(240_000);
    let lab: Lab;
    let manager: LabNode;
    let fresh: LabNode;
    before(async () => {
      lab = await Lab.up({ nodes: 2, engine });
      manager = lab.node(0);
      fresh = lab.node(1);
      await initSwarm([manager], { managers: 1 });
      await fillSwarm(manager);
    });
    after(() => lab.down());

    it("gives every object back as the API shows it, and secrets with their data", async () => {
      let state: SwarmState | undefined;
      // Tasks of the failing services come and go: compared in a moment in which the API says the same twice.
      for (let tries = 0; tries < 20; tries++) {
        const before = await apiObjects(manager);
        state = await readSwarm(copiedFiles((await copyFrom(manager, staging)).files));
        const after = await apiObjects(manager);
        // The marker write is a node update.
        const [self] = [...before.keys()].filter((key) => key.startsWith("node "));
        before.set(self ?? "", after.get(self ?? ""));
        if (JSON.stringify([...before]) !== JSON.stringify([...after])) continue;
        const read = raftObjects(state);
        for (const [key, object] of after) expect(read.get(key), key).to.deep.equal(object);
        expect([...read.keys()]).to.have.members([...after.keys()]);
        const swarm = await openSwarm(copiedFiles((await copyFrom(manager, staging)).files));
        const secret = swarm.get("secret", "db-password", true) as { Spec: { Data: string } };
        expect(Buffer.from(secret.Spec.Data, "base64").toString()).to.equal(secretText);
        expect(JSON.stringify(swarm.get("secret", "db-password", false))).not.to.contain(secret.Spec.Data);
        expect(swarm.warnings).to.deep.equal([]);
        return;
      }
      throw new Error("the API never said the same twice");
    });

    it("copies hot under a steady load, each copy proven and with everything acknowledged before it", async () => {
      const load = await steadyLoad(manager);
      let rounds = 0;
      try {
        for (let copy = 0; copy < 30; copy++) {
          const name = `acknowledged-${copy}`;
          await create(manager, "/configs/create", { Name: name, Data: "eA==" });
          const { proof, files } = await copyFrom(manager, staging);
          expect(proof).to.include({ walked: true, decrypted: true });
          expect(proof.commitIndex).to.be.at.least(proof.markerIndex ?? Infinity);
          const swarm = await openSwarm(copiedFiles(files));
          expect(swarm.get("config", name, false), name).not.to.equal(null);
        }
      } finally {
        rounds = await load.stop();
      }
      expect(rounds).to.be.greaterThan(30);
    });

    it("copies while autolock is switched on and off", async () => {
      const enough = new AbortController();
      const switches = (async () => {
        for (let on = true; !enough.signal.aborted; on = !on) {
          await setAutolock(manager, on);
          await sleep(700);
        }
        await setAutolock(manager, false);
      })();
      const locked = new Set<boolean>();
      let proven = 0;
      try {
        for (let copy = 0; copy < 20; copy++) {
          const { proof } = await copyFrom(manager, staging, () => unlockKeyOf(manager));
          locked.add(proof.locked);
          if (proof.decrypted) proven++;
        }
      } finally {
        enough.abort();
        await switches;
      }
      expect(proven).to.equal(20);
      expect([...locked]).to.have.members([true, false]);
    });

    it("starts elsewhere, held and unlocked, from the copy of an autolocked manager; and locks itself again", async () => {
      await setAutolock(manager, true);
      const unlockKey = await unlockKeyOf(manager);
      const copy = await copyFrom(manager, staging, () => Promise.resolve(unlockKey));
      expect(copy.proof).to.include({ locked: true, decrypted: true });
      const api = await apiObjects(manager);
      await manager.stop();

      const rebased = await rebaseCopy(copy, { advertiseAddress: fresh.address, unlocked: true, hold: () => true });
      expect(rebased.held.map(({ name }) => name)).to.include.members(["full", "everywhere", "job", "failing"]);
      await layDown(fresh, rebased);
      await until("the engine is an active manager", async () => {
        return (await swarmState(fresh)).LocalNodeState === "active";
      });
      expect((await swarmState(fresh)).NodeAddr).to.equal(fresh.address);
      expect(Buffer.compare(await unlockKeyOf(fresh), unlockKey)).to.equal(0);
      await until("the key file is locked", async () =>
        (await readFile(fresh.hostPath(`${swarmDirectory}/certificates/swarm-node.key`), "latin1")).includes(
          "ENCRYPTED",
        ),
      );

      const now = await apiObjects(fresh);
      for (const [key, object] of api) {
        if (/^(secret|config|network) /.test(key)) expect(now.get(key), key).to.deep.equal(object);
        if (/^(service|node) /.test(key)) expect(now.has(key), key).to.equal(true);
      }
      await sleep(3000);
      const tasks = (await engineCall(fresh, "GET", "/tasks")) as { Status: { State: string }; Spec: object }[];
      expect(tasks.filter(({ Status }) => Status.State !== "pending")).to.deep.equal([]);

      for (const { id, spec } of rebased.held) {
        const { Version } = await inspect(fresh, `/services/${id}`);
        await engineCall(fresh, "POST", `/services/${id}/update?version=${Version.Index}`, spec);
        const released = await inspect(fresh, `/services/${id}`);
        const before = api.get(`service ${id}`) as ApiObject;
        expect(released.Spec).to.deep.equal(before.Spec);
      }
    });

    it("starts elsewhere locked, opens with the key of the copy, and goes on to the swarm's, as amid a rotation", async () => {
      const unlockKey = await unlockKeyOf(fresh);
      const before = await copyFrom(fresh, staging, () => Promise.resolve(unlockKey));
      await rotateUnlockKey(fresh);
      const rotated = await unlockKeyOf(fresh);
      const after = await copyFrom(fresh, staging, () => Promise.resolve(rotated));
      // The key file of a manager whose disk does not know yet that the rotation was committed.
      const isKey = ({ path }: { path: string }): boolean => path === "certificates/swarm-node.key";
      const files = [...before.files.filter((file) => !isKey(file)), ...after.files.filter(isKey)];
      const copy = { ...before, files, unlockKey: rotated };
      // The other machine's address was node1's before; now it takes the manager's role again.
      await fresh.stop();
      await manager.start();
      await layDown(manager, await rebaseCopy(copy, { advertiseAddress: manager.address }));
      await until("the engine asks for the key", async () => (await swarmState(manager)).LocalNodeState === "locked");
      await engineCall(manager, "POST", "/swarm/unlock", { UnlockKey: encodeUnlockKey(rotated) });
      await until("the engine is active", async () => (await swarmState(manager)).LocalNodeState === "active");
      expect((await swarmState(manager)).NodeAddr).to.equal(manager.address);
      expect(Buffer.compare(await unlockKeyOf(manager), unlockKey)).to.equal(0);
      const { proof } = await copyFrom(manager, staging, () => unlockKeyOf(manager));
      expect(proof).to.include({ locked: true, decrypted: true });
    });
  });
}

describe("the Raft state of three managers", function () {
  this.timeout(240_000);
  let lab: Lab;
  before(async () => {
    lab = await Lab.up({ nodes: 4 });
    await initSwarm(lab.nodes.slice(0, 3), { managers: 3 });
    await fillSwarm(lab.node(0));
  });
  after(() => lab.down());

  it("is proven on leader and followers, with what was acknowledged just before", async () => {
    const load = await steadyLoad(lab.node(0));
    try {
      for (let copy = 0; copy < 30; copy++) {
        const node = lab.node(copy % 3);
        const name = `acknowledged-${copy}`;
        await create(lab.node(0), "/configs/create", { Name: name, Data: "eA==" });
        const { files, proof } = await copyFrom(node, staging);
        expect(proof.nodeId).to.equal((await swarmState(node)).NodeID);
        const swarm = await openSwarm(copiedFiles(files));
        expect(swarm.get("config", name, false), name).not.to.equal(null);
      }
    } finally {
      await load.stop();
    }
  });

  it("starts elsewhere as a single manager that others can join, with all that was acknowledged", async () => {
    await create(lab.node(0), "/configs/create", { Name: "the-last-one", Data: "eA==" });
    const copy = await copyFrom(lab.node(1), staging);
    for (const node of lab.nodes.slice(0, 3)) await node.stop();
    const [fresh] = lab.nodes.slice(3);
    if (fresh === undefined) throw new Error("no fourth node");
    await layDown(fresh, await rebaseCopy(copy, { advertiseAddress: fresh.address }));
    await until("the engine is an active manager", async () => {
      return (await swarmState(fresh)).LocalNodeState === "active";
    });
    const configs = (await engineCall(fresh, "GET", "/configs")) as { Spec: { Name: string } }[];
    expect(configs.map(({ Spec }) => Spec.Name)).to.include("the-last-one");

    const joiner = await lab.addNode();
    await lab.join(joiner, "manager", fresh);
    await until("the joiner is a reachable manager", async () => {
      const nodes = (await engineCall(joiner, "GET", "/nodes")) as { ManagerStatus?: { Reachability: string } }[];
      return nodes.filter(({ ManagerStatus }) => ManagerStatus?.Reachability === "reachable").length === 2;
    });
  });
});
