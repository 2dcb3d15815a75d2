import { expect } from "chai";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Docker } from "../../../agent/docker.ts";
import type { InspectedContainer } from "../../../agent/docker-objects.ts";
import { Journal } from "../../../agent/journal.ts";
import { letGo, letGoDue } from "../../../agent/quiesce/let-go.ts";
import { unpause } from "../../../agent/quiesce/pause.ts";
import { readPauses, writePause, type PauseRecord } from "../../../agent/quiesce/pause-record.ts";
import { SkepError } from "../../../shared/errors.ts";
import type { StoppedContainer } from "../../../agent/quiesce/stopped-container.ts";

const patient = new AbortController().signal;
const startedAt = "2026-11-27T03:00:00.5Z";

class FullJournal extends Journal {
  isFull = false;

  override putPause(pauseId: string, record: string): void {
    this.#write();
    super.putPause(pauseId, record);
  }

  override endPause(pauseId: string, quiet: string, now: number): void {
    this.#write();
    super.endPause(pauseId, quiet, now);
  }

  #write(): void {
    const full = { code: "ERR_SQLITE_ERROR", errcode: 13 };
    if (this.isFull) throw Object.assign(new Error("database or disk is full"), full);
  }
}

describe("letting go what was quiet", () => {
  let folder: string;
  let journal: FullJournal;
  let told: string[];
  let running: Set<string>;
  let docker: Docker;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), "skep-let-go-"));
    journal = new FullJournal(join(folder, "journal.sqlite"));
    told = [];
    running = new Set();
    const inspect = (id: string): InspectedContainer => ({
      ...{ Id: id, Name: `/${id}`, Config: {}, HostConfig: {} },
      State: { Running: running.has(id), StartedAt: startedAt },
    });
    docker = {
      container: (id: string) => Promise.resolve(inspect(id)),
      unpauseContainer: (id: string) => Promise.resolve(void told.push(`unpause ${id}`)),
      startContainer: (id: string) => Promise.resolve(void told.push(`start ${id}`)),
    } as unknown as Docker;
  });
  afterEach(() => {
    journal.close();
    rmSync(folder, { recursive: true });
  });

  const ago = (ms: number): string => new Date(Date.now() - ms).toISOString();
  const stopped = (id: string, layer: number, sentAt = ago(5000)): StoppedContainer => ({
    ...{ id, name: id, layer, startedAt, restartPolicy: "no", stopSeconds: 10, sentAt },
  });
  const paused = (pauseId: string, more: Partial<PauseRecord>): PauseRecord => {
    const record = { pauseId, deadlineAt: ago(1000), pausedAt: ago(6000), containers: [], stops: [], ...more };
    writePause(journal, record);
    return record;
  };

  it("starts and wakes all where the disk of the journal is full, and forgets them once it has room", async () => {
    paused("aaaaaaaaaaaa", { containers: [{ id: "web", name: "web" }], stops: [stopped("db", 0)] });
    paused("bbbbbbbbbbbb", { stops: [stopped("cache", 0)] });
    journal.isFull = true;
    const { wentOn, faults } = await letGoDue(docker, journal, Date.now());
    expect(told).to.deep.equal(["unpause web", "start db", "start cache"]);
    expect(wentOn).to.deep.equal([]);
    expect(faults.map(({ code }) => code)).to.deep.equal(["SKEP_STATE_FULL", "SKEP_STATE_FULL"]);
    journal.isFull = false;
    expect((await letGoDue(docker, journal, Date.now())).faults).to.deep.equal([]);
    expect(readPauses(journal)).to.deep.equal([]);
  });

  it("starts one that two need where neither can write that it leaves it to the other", async () => {
    paused("aaaaaaaaaaaa", { stops: [stopped("db", 0)] });
    const record = paused("bbbbbbbbbbbb", { stops: [stopped("db", 0)] });
    const isLeft = await letGo(record, docker, journal);
    expect(isLeft).to.deep.include({ wentOn: [], isWaiting: false });
    expect(told).to.deep.equal([]);
    writePause(journal, record);
    journal.isFull = true;
    expect((await letGoDue(docker, journal, Date.now())).faults).to.have.length(2);
    expect(told).to.include("start db");
  });

  it("starts none of those that need what the engine is still stopping, and does not wait for ever", async () => {
    running.add("db");
    const record = paused("aaaaaaaaaaaa", { stops: [stopped("web", 0), stopped("db", 1)] });
    expect(await letGo(record, docker, journal)).to.deep.include({ wentOn: [], isWaiting: true });
    expect(told).to.deep.equal([]);
    running.delete("db");
    expect(await letGo(record, docker, journal)).to.deep.include({ wentOn: ["db", "web"], isWaiting: false });

    told = [];
    running.add("db");
    const sentAt = ago(70_000);
    paused("aaaaaaaaaaaa", { stops: [stopped("web", 0, sentAt), stopped("db", 1, sentAt)] });
    const order = { kind: "unpause", pauseId: "aaaaaaaaaaaa", after: [] } as const;
    await unpause({ ...order, after: [] }, docker, journal, new AbortController().signal);
    expect(told).to.deep.equal(["start web"]);
    running.delete("db");
    await letGoDue(docker, journal, Date.now());
    expect(told, "it ended late, and is started all the same").to.deep.equal(["start web", "start db"]);
    expect(readPauses(journal)).to.deep.equal([]);
  });

  it("tells how long what stood still, whoever let it go before it is asked", async () => {
    paused("aaaaaaaaaaaa", { containers: [{ id: "web", name: "web" }], stops: [stopped("db", 0)] });
    await letGoDue(docker, journal, Date.now());
    expect(readPauses(journal)).to.deep.equal([]);
    for (const pauseId of ["aaaaaaaaaaaa", "aaaaaaaaaaaa"]) {
      const { quiet } = await unpause({ kind: "unpause", pauseId, after: [] }, docker, journal, patient);
      expect(quiet.map(({ name, how }) => `${name} ${how}`)).to.deep.equal(["web pause", "db stop"]);
      for (const { quietMs } of quiet) expect(quietMs).to.be.within(5000, 60_000);
    }
    journal.prune(Date.now() + 31 * 24 * 3600_000);
    expect(journal.pauseStep("aaaaaaaaaaaa", "quiet")).to.equal(null);
  });

  it("tells at the last try how long what stood still, though one could not be started", async () => {
    paused("aaaaaaaaaaaa", { containers: [{ id: "web", name: "web" }], stops: [stopped("db", 0)] });
    docker.startContainer = () =>
      Promise.reject(new SkepError({ code: "SKEP_DOCKER_FAILED", message: "port in use", permanent: true }));
    const order = { kind: "unpause", pauseId: "aaaaaaaaaaaa", after: [] } as const;
    const tried = await unpause({ ...order, after: [] }, docker, journal, patient).catch((error: unknown) => error);
    expect(tried).to.include({ code: "SKEP_START_FAILED" });
    const { quiet, fault } = await unpause({ ...order, after: [] }, docker, journal, patient, true);
    expect(fault).to.include({ code: "SKEP_START_FAILED" });
    expect(quiet.map(({ name }) => name)).to.deep.equal(["web", "db"]);
    for (const { quietMs } of quiet) expect(quietMs).to.be.within(5000, 60_000);
  });

  it("says why it was given up while it waited", async () => {
    running.add("db");
    paused("aaaaaaaaaaaa", { stops: [stopped("db", 0)] });
    const stop = new AbortController();
    const reason = new Error("expired");
    setTimeout(() => {
      stop.abort(reason);
    }, 20);
    const work = unpause({ kind: "unpause", pauseId: "aaaaaaaaaaaa", after: [] }, docker, journal, stop.signal);
    expect(await work.catch((error: unknown) => error)).to.equal(reason);
  });
});
