import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect } from "chai";
import { Journal } from "../../agent/journal.ts";

const result = { payload: "{}", mac: "A".repeat(43) + "=", writerId: "node1" };

describe("the journal of jobs", () => {
  let folder: string;
  let journal: Journal;
  const job = { id: "job-1", maxAttempts: 2, expiresAt: "2026-11-21T04:00:00.000Z" };
  const refusal = (): unknown => {
    try {
      return journal.accept(job);
    } catch (error) {
      return error;
    }
  };
  /** As after a crash: what was written is all there is. */
  const reopen = (): void => {
    journal.close();
    journal = new Journal(join(folder, "journal.sqlite"));
  };
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), "skep-journal-"));
    journal = new Journal(join(folder, "journal.sqlite"));
  });
  afterEach(() => {
    journal.close();
    rmSync(folder, { recursive: true });
  });

  it("counts the attempts at a job, over restarts, up to its limit", () => {
    expect(journal.accept(job)).to.deep.equal({ kind: "begin", attempt: 1 });
    reopen();
    expect(journal.accept(job)).to.deep.equal({ kind: "begin", attempt: 2 });
    reopen();
    expect(refusal()).to.include({ code: "SKEP_JOB_REPLAYED", permanent: true });
  });

  it("does not count an attempt that was given back", () => {
    journal.accept(job);
    journal.giveBack(job.id);
    reopen();
    expect(journal.accept(job)).to.deep.equal({ kind: "begin", attempt: 1 });
  });

  it("gives the recorded result of a job whose end the queue did not learn, and works no second time", () => {
    journal.accept(job);
    journal.done(job.id, result);
    reopen();
    for (let time = 0; time < 5; time++) expect(journal.accept(job)).to.deep.equal({ kind: "done", result });
  });

  it("refuses a job that was done and acknowledged", () => {
    journal.accept(job);
    journal.done(job.id, result);
    journal.acknowledged(job.id);
    reopen();
    expect(refusal()).to.include({ code: "SKEP_JOB_REPLAYED", permanent: true });
  });

  it("forgets a job only a day after its expiry", () => {
    journal.accept(job);
    journal.done(job.id, result);
    journal.acknowledged(job.id);
    journal.prune(Date.parse("2026-11-22T03:59:59.000Z"));
    expect(refusal()).to.include({ code: "SKEP_JOB_REPLAYED" });
    journal.prune(Date.parse("2026-11-22T04:00:01.000Z"));
    expect(journal.accept(job)).to.deep.equal({ kind: "begin", attempt: 1 });
  });

  it("says what to do when its file is damaged", () => {
    const file = join(folder, "damaged.sqlite");
    writeFileSync(file, Buffer.alloc(8192, 7));
    expect(() => new Journal(file)).to.throw(/cannot be opened/);
  });
});
