import { expect } from "chai";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { Docker } from "../../agent/docker.ts";
import { QuietKeeping } from "../../agent/quiet-keeping.ts";
import { writePause, type PauseRecord } from "../../agent/quiesce/pause-record.ts";
import { SkepError } from "../../shared/errors.ts";

const startedAt = "2026-11-21T03:00:00.000Z";
const unreachable = new SkepError({ code: "SKEP_DOCKER_UNREACHABLE", message: "restarting", permanent: false });

describe("what a standalone run keeps quiet", () => {
  let folder: string;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), "skep-keeping-"));
  });
  afterEach(() => {
    rmSync(folder, { recursive: true });
  });

  /** Of one container, `db`. */
  interface Engine {
    isRunning: boolean;
    unpause?: () => Promise<void>;
    start?: () => Promise<void>;
  }
  const keep = (engine: Engine, patienceMs: number): QuietKeeping => {
    const docker = {
      unpauseContainer: () => engine.unpause?.() ?? Promise.resolve(),
      startContainer: () => engine.start?.() ?? Promise.resolve(),
      container: () => Promise.resolve({ State: { Running: engine.isRunning, StartedAt: startedAt }, HostConfig: {} }),
    };
    return QuietKeeping.open(folder, docker as unknown as Docker, patienceMs);
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
    expect(await left).to.deep.equal({ wentOn: ["db"], removed: [], faults: [] });
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
    keeping.journal.removePause("badbadbadbad");
    writePause(keeping.journal, paused("abcdefghijkl", deadlineIn(0)));
    await wentOn.promise;
    expect(await keeping.close()).to.include({ code: "SKEP_STATE_DAMAGED" });
    expect(journal()).to.equal(false);
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
