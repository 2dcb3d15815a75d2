import { expect } from "chai";
import { mock } from "node:test";
import { ProgressThinner } from "../../agent/progress-thinner.ts";

describe("the progress of a job", () => {
  const progress = (phase: string): { phase: string; doneBytes: number; totalBytes: null; doneFiles: number } => ({
    phase,
    doneBytes: 0,
    totalBytes: null,
    doneFiles: 0,
  });

  let now: number;
  const pass = (ms: number): void => {
    now += ms;
    mock.timers.tick(ms);
  };
  beforeEach(() => {
    now = 1e6;
    mock.timers.enable({ apis: ["setTimeout"] });
  });
  afterEach(() => {
    mock.timers.reset();
  });
  const thin = (told: string[]): ProgressThinner =>
    new ProgressThinner(
      60,
      ({ phase }) => told.push(phase),
      () => now,
    );

  it("is told at once, then the newest once in a while: the last one is never lost", () => {
    const told: string[] = [];
    const thinner = thin(told);
    thinner.report(progress("reading"));
    for (let at = 0; at < 10; at++) thinner.report(progress(`reading ${at}`));
    thinner.report(progress("storing"));
    pass(59);
    expect(told).to.deep.equal(["reading"]);
    pass(1);
    expect(told).to.deep.equal(["reading", "storing"]);
    pass(60);
    thinner.report(progress("done"));
    expect(told).to.deep.equal(["reading", "storing", "done"]);
  });

  it("is not told after the job's end", () => {
    const told: string[] = [];
    const thinner = thin(told);
    thinner.report(progress("reading"));
    thinner.report(progress("storing"));
    thinner.stop();
    pass(120);
    expect(told).to.deep.equal(["reading"]);
  });
});
