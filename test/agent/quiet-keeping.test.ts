import { expect } from "chai";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { Docker } from "../../agent/docker.ts";
import { Journal } from "../../agent/journal.ts";
import { readHolds, writeHold } from "../../agent/quiesce/hold-note.ts";
import { QuietKeeping } from "../../agent/quiet-keeping.ts";
import { holdNoted } from "../../agent/quiesce/kept-holds.ts";
import { writePause, type PauseRecord } from "../../agent/quiesce/pause-record.ts";
import { SkepError, type ErrorRecord } from "../../shared/errors.ts";
import { SwarmOfOne } from "./quiesce/swarm-of-one.ts";

const startedAt = "2026-11-21T03:00:00.000Z";
const unreachable = new SkepError({ code: "SKEP_DOCKER_UNREACHABLE", message: "restarting", permanent: false });

describe("what a standalone run keeps quiet", () => {
  let folder: string;
  /** What was told as beyond help. */
  let lost: ErrorRecord[];
  beforeEach(() => {
    lost = [];
    folder = mkdtempSync(join(tmpdir(), "skep-keeping-"));
  });
  afterEach(() => {
    rmSync(folder, { recursive: true });
  });

  /** Of one container, `db`. */
  interface Engine {
    isRunning: boolean;
    swarm?: "active" | "inactive";
    /** The records of holds. */
    configs?: (which: unknown) => Promise<never[]>;
    unpause?: () => Promise<void>;
    start?: () => Promise<void>;
  }
  const keep = (engine: Engine, patienceMs: number): QuietKeeping => {
    const docker = {
      info: () => Promise.resolve({ Swarm: { LocalNodeState: engine.swarm ?? "active" } }),
      configs: (which: unknown) => engine.configs?.(which) ?? Promise.resolve([]),
      unpauseContainer: () => engine.unpause?.() ?? Promise.resolve(),
      startContainer: () => engine.start?.() ?? Promise.resolve(),
      container: () => Promise.resolve({ State: { Running: engine.isRunning, StartedAt: startedAt }, HostConfig: {} }),
    };
    return QuietKeeping.open(folder, docker as unknown as Docker, { patienceMs, onLost: (fault) => lost.push(fault) });
  };
  const noteHold = (journal: Journal, holdId: string, ms: number): void => {
    const services = [{ id: "svc1", name: "shop_db" }];
    writeHold(journal, { holdId, deadlineAt: deadlineIn(ms), notedAt: startedAt, services, clusterId: "swarm1" });
  };
  const deadlineIn = (ms: number): string => new Date(Date.now() + ms).toISOString();
  const paused = (pauseId: string, deadlineAt: string): PauseRecord => ({
    ...{ pauseId, deadlineAt, pausedAt: new Date().toISOString(), stops: [] },
    containers: [{ id: "1", name: "db" }],
  });
  /** Told to stop at `sentAt`, ms since 1970, with a patience of 300 s. */
  const stopped = (sentAt: number): PauseRecord => ({
    ...paused("stopstopstop", deadlineIn(600_000)),
    containers: [],
    stops: [{ id: "1", name: "db", layer: 0, startedAt, restartPolicy: "no", stopSeconds: 300 }].map((each) => ({
      ...each,
      sentAt: new Date(sentAt).toISOString(),
    })),
  });
  const journal = (): boolean => existsSync(join(folder, "standalone.sqlite"));

  it("is waited for as long as the engine may need to stop it, beyond the patience for everything else", async () => {
    const engine = { isRunning: true };
    const keeping = keep(engine, 0);
    writePause(keeping.journal, stopped(Date.now()));
    const left = keeping.undoLeft();
    await sleep(1200);
    engine.isRunning = false;
    expect(await left).to.deep.equal({ wentOn: ["db"], released: [], removed: [], faults: [] });
    expect(await keeping.close()).to.equal(null);
    expect(journal()).to.equal(false);
  });

  it("goes on though the engine does not answer for a while", async () => {
    let calls = 0;
    const unpause = (): Promise<void> => (++calls > 1 ? Promise.resolve() : Promise.reject(unreachable));
    const keeping = keep({ isRunning: true, unpause }, 30_000);
    writePause(keeping.journal, paused("abcdefghijkl", deadlineIn(60_000)));
    expect(await keeping.close()).to.equal(null);
    expect(calls).to.equal(2);
  });

  it("releases its holds at their deadline and at its end, and keeps in mind what it could not release", async () => {
    let isAway = true;
    const asked: unknown[] = [];
    const configs = (which: unknown): Promise<never[]> => {
      asked.push(which);
      return isAway ? Promise.reject(unreachable) : Promise.resolve([]);
    };
    const first = keep({ isRunning: true, configs }, 0);
    noteHold(first.journal, "abcdefghijkl", 0);
    first.watch();
    while (asked.length === 0) await sleep(20);
    const kept = await first.close();
    expect(kept).to.include({ code: "SKEP_DOCKER_UNREACHABLE" });
    expect(kept?.message).to.contain("hold abcdefghijkl of service shop_db (svc1)").and.contain(startedAt);
    expect(journal()).to.equal(true);
    isAway = false;
    const second = keep({ isRunning: true, configs }, 0);
    expect(second.journal.holds()).to.have.length(1);
    expect(await second.undoLeft()).to.deep.equal({ wentOn: [], released: [], removed: [], faults: [] });
    noteHold(second.journal, "mnopqrstuvwx", 60_000);
    expect(await second.close()).to.equal(null);
    expect(asked.at(-1)).to.deep.equal({ label: ["io.skep.hold=mnopqrstuvwx"] });
    expect(journal()).to.equal(false);
    const left = keep({ isRunning: true, swarm: "inactive", configs: () => Promise.reject(unreachable) }, 0);
    noteHold(left.journal, "abcdefghijkl", 0);
    expect(await left.close(), "nothing here can be let go").to.equal(null);
    expect(journal()).to.equal(false);
    expect(lost).to.have.length(1);
    expect(lost[0]).to.include({ code: "SKEP_HOLD_LEFT_BEHIND", permanent: true });
    expect(lost[0]?.message).to.contain("hold abcdefghijkl of service shop_db (svc1)").and.contain(startedAt);
    expect(lost[0]?.hint).to.contain("docker service ls").and.contain("io.skep.hold=abcdefghijkl");
  }).timeout(10_000);

  it("says at its deadline that its hold was left behind, of a node that is in another swarm by then", async () => {
    const swarm = new SwarmOfOne();
    swarm.swarm.Cluster = { ID: "swarm1" };
    const onLost = (fault: ErrorRecord): void => void lost.push(fault);
    const keeping = QuietKeeping.open(folder, swarm.docker, { patienceMs: 0, onLost });
    noteHold(keeping.journal, "abcdefghijkl", 0);
    noteHold(keeping.journal, "mnopqrstuvwx", 60_000);
    swarm.swarm.Cluster = { ID: "swarm2" };
    keeping.watch();
    while (lost.length === 0) await sleep(20);
    expect(lost.map(({ code, message }) => [code, message.slice(0, 17)])).to.deep.equal([
      ["SKEP_HOLD_LEFT_BEHIND", "hold abcdefghijkl"],
    ]);
    expect(readHolds(keeping.journal).map(({ holdId }) => holdId)).to.deep.equal(["mnopqrstuvwx"]);
    swarm.swarm.Cluster = { ID: "swarm1" };
    expect(await keeping.close(), "the other one is of this swarm").to.equal(null);
    expect(lost).to.have.length(1);
  });

  it("names what is still quiet when it was waited for in vain: since when, and where", async () => {
    const swarm = new SwarmOfOne();
    const { signal } = new AbortController();
    const keeping = QuietKeeping.open(folder, swarm.docker, { patienceMs: 0 });
    const { reached, goOn } = swarm.holdUp("nodes");
    const order = {
      kind: "hold" as const,
      holdId: "abcdefghijkl",
      serviceIds: ["svc1"],
      deadlineAt: deadlineIn(60_000),
    };
    const full = { ...order, allOrNone: false, sharedVolumes: [] };
    const making = holdNoted(full, swarm.docker, keeping.journal, signal);
    await reached;
    const { faults } = await keeping.letGoAll();
    expect(faults).to.have.length(1);
    expect(faults[0]?.code).to.equal("SKEP_HOLD_STUCK");
    const since = readHolds(keeping.journal)[0]?.notedAt ?? "";
    expect(faults[0]?.message)
      .to.contain(`hold abcdefghijkl of service shop_db (svc1) in the swarm, since ${since}`)
      .and.contain(join(folder, "standalone.sqlite"));
    goOn();
    await making;
    expect(await keeping.close()).to.equal(null);
    const stopping = keep({ isRunning: true }, 0);
    const sentAt = Date.now() - 359_500;
    writePause(stopping.journal, { ...stopped(sentAt), deadlineAt: deadlineIn(0) });
    const [fault] = (await stopping.letGoAll()).faults;
    expect(fault?.message).to.contain(
      `container db of this machine, told to stop at ${new Date(sentAt).toISOString()}`,
    );
    await stopping.close();
  }).timeout(10_000);

  it("is given up, named and left in the journal when the engine never answers, and is not waited for twice", async () => {
    let calls = 0;
    const unpause = (): Promise<void> => {
      calls++;
      return Promise.reject(unreachable);
    };
    const keeping = keep({ isRunning: true, unpause }, 700);
    writePause(keeping.journal, paused("abcdefghijkl", deadlineIn(60_000)));
    expect((await keeping.letGoAll()).faults[0]?.code).to.equal("SKEP_DOCKER_UNREACHABLE");
    const before = calls;
    expect(await keeping.close()).to.include({ code: "SKEP_DOCKER_UNREACHABLE" });
    expect([before > 1, calls - before]).to.deep.equal([true, 1]);
    expect(journal()).to.equal(true);
  });

  it("is not waited for where the engine refuses to start it", async () => {
    const start = (): Promise<void> =>
      Promise.reject(new SkepError({ code: "SKEP_DOCKER_FAILED", message: "port in use", permanent: true }));
    const keeping = keep({ isRunning: false, start }, 60_000);
    writePause(keeping.journal, stopped(Date.now()));
    expect(await keeping.close()).to.include({ code: "SKEP_START_FAILED", permanent: false });
    expect(journal()).to.equal(true);
  }).timeout(10_000);

  it("goes on at its deadline though another look failed, which is told in the end", async () => {
    const wentOn = Promise.withResolvers<undefined>();
    const keeping = keep(
      {
        isRunning: true,
        unpause: () => {
          wentOn.resolve(undefined);
          return Promise.resolve();
        },
      },
      0,
    );
    await keeping.undoLeft();
    keeping.journal.putPause("badbadbadbad", "no JSON");
    keeping.watch();
    await sleep(100);
    keeping.journal.endPause("badbadbadbad", "[]", Date.now());
    writePause(keeping.journal, paused("abcdefghijkl", deadlineIn(0)));
    await wentOn.promise;
    expect(await keeping.close()).to.include({ code: "SKEP_STATE_DAMAGED" });
    expect(journal()).to.equal(false);
  });

  it("gives services back at their deadline, and not before, whatever else the journal holds", async () => {
    const swarm = new SwarmOfOne();
    const keeping = QuietKeeping.open(folder, swarm.docker, { patienceMs: 0 });
    const { signal } = new AbortController();
    const order = {
      kind: "hold" as const,
      holdId: "abcdefghijkl",
      serviceIds: ["svc1"],
      deadlineAt: deadlineIn(60_000),
    };
    const noted: number[] = [];
    swarm.before = (call) => {
      if (call === "createConfig") noted.push(keeping.journal.holds().length);
    };
    await holdNoted({ ...order, allOrNone: false, sharedVolumes: [] }, swarm.docker, keeping.journal, signal);
    expect([noted, swarm.replicas]).to.deep.equal([[1], 0]);
    keeping.journal.putPause("badbadbadbad", "no JSON");
    const before = swarm.calls.length;
    keeping.watch();
    await sleep(1200);
    expect(swarm.calls.length, "nothing is asked of the engine before that").to.equal(before);
    noteHold(keeping.journal, "abcdefghijkl", 0);
    const until = Date.now() + 5000;
    while (swarm.replicas === 0 && Date.now() < until) await sleep(20);
    expect(swarm.service.Spec).to.deep.equal(new SwarmOfOne().service.Spec);
    expect((await keeping.close())?.hint).to.contain("io.skep.hold");
    expect(journal()).to.equal(true);
  }).timeout(10_000);

  it("names the services that it gives back of a run that was killed, though pauses can't be read", async () => {
    const swarm = new SwarmOfOne();
    const { signal } = new AbortController();
    const killed = new Journal(join(folder, "standalone.sqlite"));
    const order = {
      kind: "hold" as const,
      holdId: "abcdefghijkl",
      serviceIds: ["svc1"],
      deadlineAt: deadlineIn(60_000),
    };
    await holdNoted({ ...order, allOrNone: false, sharedVolumes: [] }, swarm.docker, killed, signal);
    killed.putPause("badbadbadbad", "no JSON");
    killed.close();
    const keeping = QuietKeeping.open(folder, swarm.docker, { patienceMs: 0 });
    const { released, faults } = await keeping.undoLeft();
    expect(released).to.deep.equal(["shop_db"]);
    expect(swarm.replicas).to.equal(2);
    expect(faults[0]).to.include({ code: "SKEP_STATE_DAMAGED" });
    expect(keeping.journal.holds()).to.deep.equal([]);
    await keeping.close();
  });

  it("says which file is damaged, instead of failing on it", async () => {
    const keeping = keep({ isRunning: true }, 60_000);
    keeping.journal.putPause("badbadbadbad", "{}");
    const { faults } = await keeping.undoLeft();
    expect(faults[0]).to.include({ code: "SKEP_STATE_DAMAGED", permanent: true });
    expect(await keeping.close()).to.include({ code: "SKEP_STATE_DAMAGED" });
    expect(journal()).to.equal(true);
  }).timeout(10_000);
});
