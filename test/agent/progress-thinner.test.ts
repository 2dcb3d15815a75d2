import { expect } from "chai";
import { setTimeout as sleep } from "node:timers/promises";
import { ProgressThinner } from "../../agent/progress-thinner.ts";

describe("the progress of a job", () => {
  const progress = (phase: string): { phase: string; doneBytes: number; totalBytes: null; doneFiles: number } => ({
    phase,
    doneBytes: 0,
    totalBytes: null,
    doneFiles: 0,
  });

  it("is told at once, then the newest once in a while: the last one is never lost", async () => {
    const told: string[] = [];
    const thinner = new ProgressThinner(60, ({ phase }) => told.push(phase));
    thinner.report(progress("reading"));
    for (let at = 0; at < 10; at++) thinner.report(progress(`reading ${at}`));
    thinner.report(progress("storing"));
    expect(told).to.deep.equal(["reading"]);
    await sleep(150);
    expect(told).to.deep.equal(["reading", "storing"]);
    thinner.report(progress("done"));
    expect(told).to.deep.equal(["reading", "storing", "done"]);
  });

  it("is not told after the job's end", async () => {
    const told: string[] = [];
    const thinner = new ProgressThinner(20, ({ phase }) => told.push(phase));
    thinner.report(progress("reading"));
    thinner.report(progress("storing"));
    thinner.stop();
    await sleep(60);
    expect(told).to.deep.equal(["reading"]);
  });
});
