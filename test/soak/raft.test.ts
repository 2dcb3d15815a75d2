// Hot copies of large and busy swarms, on every engine that Debian's suites have, and copies really started by an engine
// at another address, every object compared with what the API of the living swarm said. Minutes each; npm run soak.
import { expect } from "chai";
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { isDeepStrictEqual } from "node:util";
import { restoreSwarm } from "../../controller/swarm-restore/restore.ts";
import { copiedFiles } from "../../shared/raft/copied-file.ts";
import type { SwarmCopy } from "../../shared/raft/copy.ts";
import { openSwarm } from "../../shared/raft/open-swarm.ts";
import {
  apiObjects,
  copyFrom,
  labHost,
  rebaseCopy,
  setAutolock,
  steadyLoad,
  swarmState,
  unlockKeyOf,
} from "../e2e/raft-swarm.ts";
import { create, engineCall, fillSwarm, inspect } from "../e2e/rich-swarm.ts";
import { suites } from "../lab/apt-sources.ts";
import { Lab } from "../lab/lab.ts";
import type { LabNode } from "../lab/node.ts";
import { initSwarm } from "../lab/swarm.ts";

const manyServices = 1000;
const manySecrets = 200;
/** Objects that are made at a time; both numbers are multiples of it. */
const atOnce = 20;
const copies = 100;
/** Every tenth copy is started. */
const startEvery = 10;

let staging = "";
beforeEach(async () => {
  staging = await mkdtemp(join(tmpdir(), "skep-raft-soak-"));
});
afterEach(() => rm(staging, { recursive: true }));

async function setSnapshotInterval(node: LabNode, entries: number): Promise<void> {
  const { Version, Spec } = await inspect(node, "/swarm");
  const Raft = { ...(Spec["Raft"] as object), SnapshotInterval: entries };
  await engineCall(node, "POST", `/swarm/update?version=${Version.Index}`, { ...Spec, Raft });
}

async function fillWithMany(node: LabNode): Promise<void> {
  const make = async (count: number, one: (number: number) => Promise<unknown>): Promise<void> => {
    for (let number = 0; number < count; number += atOnce) {
      await Promise.all(Array.from({ length: atOnce }, (_, more) => one(number + more)));
    }
  };
  await make(manyServices, (number) =>
    create(node, "/services/create", {
      Name: `many-${number}`,
      TaskTemplate: {
        ContainerSpec: { Image: "many", Env: [`NUMBER=${number}`, `PADDING=${"x".repeat(number % 500)}`] },
      },
      Mode: { Replicated: { Replicas: 0 } },
    }),
  );
  await make(manySecrets, (number) => {
    const Data = Buffer.from(`secret ${number} ${"y".repeat(number * 7)}`).toString("base64");
    return create(node, "/secrets/create", { Name: `many-${number}`, Data });
  });
}

/** Objects that stay as they are while nobody changes them: tasks come and go. */
async function steadyObjects(node: LabNode): Promise<Map<string, unknown>> {
  return new Map([...(await apiObjects(node))].filter(([key]) => !key.startsWith("task ")));
}

let ids = 0;

/**
 * What the API said before and after the copy. What is the same in both is in the copy; what the load changed meanwhile is in
 * `moving`, and may be there or not.
 */
interface Said {
  steady: Map<string, unknown>;
  moving: Set<string>;
}

async function copyAndAsk(node: LabNode, key?: () => Promise<Uint8Array>): Promise<{ copy: SwarmCopy; said: Said }> {
  const before = await steadyObjects(node);
  const copy = await copyFrom(node, staging, key);
  const after = await steadyObjects(node);
  const keys = new Set([...before.keys(), ...after.keys()]);
  // The marker write changes the node's version and time, which are not compared.
  const isSteady = (key: string): boolean =>
    key.startsWith("node ") || isDeepStrictEqual(before.get(key), after.get(key));
  const [steady, moving] = [[...keys].filter(isSteady), [...keys].filter((key) => !isSteady(key))];
  return { copy, said: { steady: new Map(steady.map((key) => [key, after.get(key)])), moving: new Set(moving) } };
}

/** Configs of the load: one was made and removed again between two questions. */
function isOfLoad(object: unknown): boolean {
  return ((object as { Spec?: { Name?: string } }).Spec?.Name ?? "").startsWith("load-");
}

/** Starts the copy on `fresh` and compares all its objects with what was said. */
async function startAndCompare(fresh: LabNode, copy: SwarmCopy, { steady, moving }: Said): Promise<void> {
  const rebased = await rebaseCopy(copy, { advertiseAddress: fresh.address, unlocked: true, hold: () => false });
  const report = await restoreSwarm({
    host: labHost(fresh),
    dataRoot: "/var/lib/docker",
    rebased,
    unlockKey: null,
    id: (++ids).toString(36).padStart(12, "0"),
    now: Date.now(),
    onStep: () => undefined,
    signal: new AbortController().signal,
  });
  expect(report.differences).to.deep.equal([]);
  for (const kept of report.kept) await fresh.run(["rm", "-rf", kept]);
  expect((await swarmState(fresh)).NodeAddr).to.equal(fresh.address);
  const found = await steadyObjects(fresh);
  for (const key of found.keys()) {
    if (!moving.has(key) && !isOfLoad(found.get(key))) expect(steady.has(key), key).to.equal(true);
  }
  for (const [key, object] of steady) {
    expect(found.has(key), key).to.equal(true);
    // The node's own object has its new address and time.
    const [was, is] = [object, found.get(key)] as { Spec?: object; Version?: object }[];
    if (key.startsWith("node ")) expect(is?.Spec, key).to.deep.equal(was?.Spec);
    // The failing service is retried, and the engine notes that at the service.
    else if (key.startsWith("service ")) expect(is?.Spec, key).to.deep.equal(was?.Spec);
    else expect(is, key).to.deep.equal(was);
  }
}

interface Told {
  /** Copies that verified at the first attempt, at the second, and so on. */
  verifiedAtAttempt: number[];
  withSnapshotFile: number;
  started: number;
  loadRounds: number;
}

/**
 * Copies of `managers` in turn under a steady load, each with a config that was acknowledged just before; every tenth is
 * started on `fresh` and compared.
 */
async function copyMany(engine: string, managers: readonly LabNode[], fresh: LabNode): Promise<Told> {
  const told: Told = { verifiedAtAttempt: [], withSnapshotFile: 0, started: 0, loadRounds: 0 };
  const [leader] = managers;
  if (leader === undefined) throw new Error("no manager");
  const load = steadyLoad(leader);
  try {
    for (let number = 1; number <= copies; number++) {
      const manager = managers[number % managers.length] ?? leader;
      const name = `acknowledged-${++ids}`;
      const config = await create(leader, "/configs/create", { Name: name, Data: "eA==" });
      const isStarted = number % startEvery === 0;
      const { copy, said } = isStarted
        ? await copyAndAsk(manager)
        : { copy: await copyFrom(manager, staging), said: null };
      const { proof } = copy;
      expect(proof).to.include({ walked: true, decrypted: true });
      expect(proof.commitIndex).to.be.at.least(proof.markerIndex ?? Infinity);
      told.verifiedAtAttempt[proof.attempts - 1] = (told.verifiedAtAttempt[proof.attempts - 1] ?? 0) + 1;
      if (proof.snapshotIndex > 0) told.withSnapshotFile++;
      const swarm = await openSwarm(copiedFiles(copy.files));
      expect(swarm.get("config", name, false), name).not.to.equal(null);
      expect(swarm.warnings).to.deep.equal([]);
      if (said !== null) {
        // The service of the load, and a config or two.
        expect(said.moving.size).to.be.lessThan(10);
        await startAndCompare(fresh, copy, said);
        told.started++;
        process.stdout.write(`      ${engine}: ${JSON.stringify(told)}\n`);
      }
      await engineCall(leader, "DELETE", `/configs/${config}`);
      // A hundred copies of a log without snapshots are 30 GB.
      for (const entry of await readdir(staging)) await rm(join(staging, entry), { recursive: true });
    }
  } finally {
    told.loadRounds = await load.stop();
    process.stdout.write(`      ${engine}: ${JSON.stringify(told)}\n`);
  }
  return told;
}

for (const engine of suites) {
  describe(`a manager with ${manyServices} services and ${manySecrets} secrets (${engine})`, function () {
    this.timeout(3_600_000);
    let lab: Lab;
    let manager: LabNode;
    let fresh: LabNode;
    before(async () => {
      lab = await Lab.up({ nodes: 2, engine });
      manager = lab.node(0);
      fresh = lab.node(1);
      await initSwarm([manager], { managers: 1 });
      await fillSwarm(manager);
      await fillWithMany(manager);
    });
    after(() => lab.down());

    for (const [how, interval] of [
      ["without a snapshot file", 100_000],
      ["with snapshot files that come and go", 60],
    ] as const) {
      it(`is copied ${copies} times under a steady load ${how}, and every tenth copy starts elsewhere`, async function () {
        await setSnapshotInterval(manager, interval);
        const told = await copyMany(engine, [manager], fresh);
        expect(told.started).to.equal(copies / startEvery);
        expect(told.withSnapshotFile > 0).to.equal(interval < 1000);
      });
    }

    it("is copied while autolock is switched on and off, and starts elsewhere from a copy that is locked", async () => {
      const enough = new AbortController();
      const switches = (async () => {
        for (let on = true; !enough.signal.aborted; on = !on) {
          await setAutolock(manager, on);
          await sleep(500);
        }
        await setAutolock(manager, true);
      })();
      const changed = { during: 0, locked: 0, unlocked: 0 };
      try {
        for (let copy = 0; copy < 40; copy++) {
          const { proof } = await copyFrom(manager, staging, () => unlockKeyOf(manager));
          expect(proof.decrypted).to.equal(true);
          changed[proof.locked ? "locked" : "unlocked"]++;
          if (proof.keyChangedDuringCopy) changed.during++;
        }
      } finally {
        enough.abort();
        await switches;
      }
      process.stdout.write(`      ${engine}: ${JSON.stringify(changed)}\n`);
      const key = await unlockKeyOf(manager);
      const { copy, said } = await copyAndAsk(manager, () => Promise.resolve(key));
      expect(copy.proof.locked).to.equal(true);
      await startAndCompare(fresh, copy, said);
      expect(Buffer.compare(await unlockKeyOf(fresh), key)).to.equal(0);
    });
  });

  describe(`three managers (${engine})`, function () {
    this.timeout(3_600_000);
    let lab: Lab;
    before(async () => {
      lab = await Lab.up({ nodes: 4, engine });
      await initSwarm(lab.nodes.slice(0, 3), { managers: 3 });
      await fillSwarm(lab.node(0));
    });
    after(() => lab.down());

    it(`are copied ${copies} times in turn under a steady load, and every tenth copy starts elsewhere`, async () => {
      const told = await copyMany(engine, lab.nodes.slice(0, 3), lab.node(3));
      expect(told.started).to.equal(copies / startEvery);
    });
  });
}
