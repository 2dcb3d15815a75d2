// Hot copies of a swarm's managers under a steady load, some of them really started by an engine at another address.
import { expect } from "chai";
import { mkdtemp, rm } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { restoreSwarm } from "../../../controller/swarm-restore/restore.ts";
import { copiedFiles } from "../../../shared/raft/copied-file.ts";
import type { SwarmCopy } from "../../../shared/raft/copy.ts";
import { openSwarm } from "../../../shared/raft/open-swarm.ts";
import {
  copyFrom,
  labHost,
  rebaseCopy,
  rotateUnlockKey,
  setAutolock,
  steadyLoad,
  swarmState,
  unlockKeyOf,
} from "../../e2e/raft-swarm.ts";
import { create, engineCall } from "../../e2e/rich-swarm.ts";
import type { LabNode } from "../../lab/node.ts";
import { answersOf, compareAnswers, type Answers } from "./answers.ts";
import { checkSecrets } from "./large-swarm.ts";
import { nameOf, type Shape } from "./shapes.ts";

/** Every tenth copy is started. */
export const startEvery = 10;

export interface HotCopiesOptions {
  shape: Shape;
  copies: number;
  /** Copied in turn; the load is the first one's. */
  managers: readonly LabNode[];
  /** Where copies are started, one after the other. */
  fresh: LabNode;
  /** An existing folder of the host. */
  staging: string;
  signal: AbortSignal;
}

/** Numbers the configs that are acknowledged before a copy. */
let acknowledged = 0;

export interface Told {
  /** Copies that verified at the first attempt, at the second, and so on. */
  verifiedAtAttempt: number[];
  withSnapshotFile: number;
  locked: number;
  /** The key file changed between the beginning and the end of the copy that was proven. */
  keyChangedAmid: number;
  loadRounds: number;
  failedLoadRounds: number;
  started: number;
  /** Of these with the key file locked, and unlocked through the API. */
  startedLocked: number;
  /** In all that were started. */
  objectsCompared: number;
  seconds: { copying: number; asking: number; starting: number };
}

/** What the API said just before it and just after it. */
interface AskedCopy {
  copy: SwarmCopy;
  before: Answers;
  after: Answers;
  folder: string;
}

export class HotCopies {
  readonly #options: HotCopiesOptions;
  #started: Promise<void> = Promise.resolve();
  readonly #told: Told = {
    ...{ verifiedAtAttempt: [], withSnapshotFile: 0, locked: 0, keyChangedAmid: 0, loadRounds: 0, failedLoadRounds: 0 },
    ...{ started: 0, startedLocked: 0, objectsCompared: 0, seconds: { copying: 0, asking: 0, starting: 0 } },
  };

  constructor(options: HotCopiesOptions) {
    this.#options = options;
  }

  /** Copies the managers in turn under a steady load; every tenth copy is started and compared while the next are taken. */
  async take(): Promise<Told> {
    const load = await steadyLoad(this.#manager(0), { configBytes: 2000, pauseMs: 10, patience: 20 });
    try {
      for (let number = 1; number <= this.#options.copies; number++) {
        this.#options.signal.throwIfAborted();
        await this.#takeOne(number);
      }
      await this.#started;
    } finally {
      await this.#started.catch(() => undefined);
      this.#told.loadRounds = await load.stop();
      this.#told.failedLoadRounds = load.failures;
      this.#tell();
    }
    return this.#told;
  }

  #manager(number: number): LabNode {
    const manager = this.#options.managers[number % this.#options.managers.length];
    if (manager === undefined) throw new Error("no manager");
    return manager;
  }

  /** Right before it a config is acknowledged, which must be in it. */
  async #takeOne(number: number): Promise<void> {
    const [manager, leader] = [this.#manager(number), this.#manager(0)];
    const folder = await mkdtemp(join(this.#options.staging, "copy-"));
    const name = `acknowledged-${++acknowledged}`;
    const config = await create(leader, "/configs/create", { Name: name, Data: "eA==" });
    const isStarted = number % startEvery === 0;
    const before = isStarted ? await this.#timed("asking", () => answersOf(manager)) : null;
    const key = this.#options.shape.lock === "open" ? undefined : () => unlockKeyOf(manager);
    const [copy] = await Promise.all([
      this.#timed("copying", () => copyFrom(manager, folder, key)),
      this.#changeLock(leader, number),
    ]);
    this.#count(copy);
    expect(copy.proof.nodeId).to.equal((await swarmState(manager)).NodeID);
    const swarm = await openSwarm(copiedFiles(copy.files), { unlockKey: copy.unlockKey });
    expect(swarm.get("config", name, false), name).not.to.equal(null);
    expect(swarm.warnings).to.deep.equal([]);
    if (before !== null) {
      const after = await this.#timed("asking", () => answersOf(manager));
      await this.#started;
      this.#started = this.#startAndCompare({ copy, before, after, folder });
      // Its failure is thrown where the next one waits for it.
      this.#started.catch(() => undefined);
    } else await rm(folder, { recursive: true });
    await engineCall(leader, "DELETE", `/configs/${config}`);
  }

  #count({ proof }: SwarmCopy): void {
    expect(proof).to.include({ walked: true, decrypted: true });
    expect(proof.commitIndex).to.be.at.least(proof.markerIndex ?? Infinity);
    const told = this.#told;
    told.verifiedAtAttempt[proof.attempts - 1] = (told.verifiedAtAttempt[proof.attempts - 1] ?? 0) + 1;
    if (proof.snapshotIndex > 0) told.withSnapshotFile++;
    if (proof.locked) told.locked++;
    if (proof.keyChangedDuringCopy) told.keyChangedAmid++;
  }

  async #startAndCompare({ copy, before, after, folder }: AskedCopy): Promise<void> {
    await this.#timed("starting", () => this.#start(copy));
    const { compared, differences } = compareAnswers(before, after, await answersOf(this.#options.fresh));
    expect(differences.join("\n")).to.equal("");
    this.#told.objectsCompared += compared;
    // What is in a secret the API does not say: a copy of the engine that was started does.
    await checkSecrets(await copyFrom(this.#options.fresh, folder, () => unlockKeyOf(this.#options.fresh)));
    // Until the next one is laid down.
    await this.#options.fresh.run(["systemctl", "stop", "docker.socket", "docker.service"]);
    // A hundred copies of a log without snapshots are some gigabytes.
    await rm(folder, { recursive: true });
    this.#tell();
  }

  /** At another moment of each copy, and of three copies amid two. */
  async #changeLock(leader: LabNode, number: number): Promise<void> {
    const { lock } = this.#options.shape;
    if (lock === "open" || number % 3 === 2) return;
    await sleep((number * 37) % 200);
    await (lock === "rotated" ? rotateUnlockKey(leader) : setAutolock(leader, number % 3 === 0));
  }

  /** Every other one that is locked stays so, and is opened as an operator would. */
  async #start(copy: SwarmCopy): Promise<void> {
    const [told, fresh] = [this.#told, this.#options.fresh];
    const opens = told.started % 2 === 0 ? null : copy.unlockKey;
    const report = await restoreSwarm({
      host: labHost(fresh),
      dataRoot: "/var/lib/docker",
      rebased: await rebaseCopy(copy, { advertiseAddress: fresh.address, unlocked: opens === null }),
      unlockKey: opens,
      id: (Date.now() * 1000 + told.started).toString(36).padStart(12, "0"),
      now: Date.now(),
      onStep: () => undefined,
      signal: this.#options.signal,
    });
    expect(report.differences).to.deep.equal([]);
    for (const kept of report.kept) await fresh.run(["rm", "-rf", kept]);
    expect((await swarmState(fresh)).NodeAddr).to.equal(fresh.address);
    if (opens !== null) told.startedLocked++;
    told.started++;
  }

  async #timed<T>(what: keyof Told["seconds"], work: () => Promise<T>): Promise<T> {
    const begun = performance.now();
    try {
      return await work();
    } finally {
      this.#told.seconds[what] += (performance.now() - begun) / 1000;
    }
  }

  #tell(): void {
    const { seconds, ...told } = this.#told;
    const whole = Object.fromEntries(Object.entries(seconds).map(([what, time]) => [what, Math.round(time)]));
    process.stdout.write(`      ${nameOf(this.#options.shape)}: ${JSON.stringify({ ...told, seconds: whole })}\n`);
  }
}
