import { expect } from "chai";
import fc from "fast-check";
import { appendFile, mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { Journal, type JournalHead } from "../../../controller/recovery/journal.ts";
import { runSteps, type RunStepsOptions, type Step } from "../../../controller/recovery/steps.ts";
import { SkepError } from "../../../shared/errors.ts";

const head: JournalHead = {
  format: 1,
  recoveryId: "abcdefghijkl",
  mode: "raft",
  repositoryId: "0".repeat(32),
  runId: "20261126-030000-abcdef",
  inventoryDigest: "a".repeat(64),
  startedAt: "2026-11-26T03:00:00.000Z",
};

function step(id: string, after: string[], act: Step["act"], more: Partial<Step> = {}): Step {
  return { id, phase: "test", title: id, after, act, ...more };
}

describe("the steps of a recovery", () => {
  let folder: string;
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), "skep-steps-"));
  });
  afterEach(() => rm(folder, { recursive: true }));

  const options = (more: Partial<RunStepsOptions> = {}): RunStepsOptions => ({
    signal: new AbortController().signal,
    parallel: 4,
    patienceMs: 0,
    onState: () => undefined,
    now: () => Date.now(),
    ...more,
  });

  const withJournal = async <T>(use: (journal: Journal) => Promise<T>): Promise<T> => {
    const journal = await Journal.open(folder, head);
    try {
      return await use(journal);
    } finally {
      journal.close();
    }
  };

  it("go in an order that keeps every dependency, whatever the plan", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.array(fc.nat(20), { maxLength: 4 }), { minLength: 1, maxLength: 12 }),
        async (plan) => {
          await rm(join(folder, "journal.jsonl"), { force: true });
          const ended: string[] = [];
          const steps = plan.map((befores, index) => {
            const after = [...new Set(befores.filter((before) => before < index).map((before) => `s${before}`))];
            return step(`s${index}`, after, () => {
              for (const before of after) expect(ended).to.include(before);
              ended.push(`s${index}`);
              return Promise.resolve({});
            });
          });
          await withJournal((journal) => runSteps(steps, journal, options()));
          expect(ended).to.have.length(plan.length);
        },
      ),
      { numRuns: 50 },
    );
  });

  it("of one lane go one at a time", async () => {
    let inside = 0;
    const act = async (): Promise<Record<string, unknown>> => {
      expect(++inside).to.equal(1);
      await sleep(2);
      inside--;
      return {};
    };
    const steps = ["a", "b", "c"].map((id) => step(id, [], act, { lane: "m1" }));
    await withJournal((journal) => runSteps(steps, journal, options()));
  });

  it("that were done are not done again by a second run, and give their results", async () => {
    const acted: string[] = [];
    const failing = new SkepError({ code: "SKEP_TEST_BROKEN", message: "broken", permanent: true });
    const plan = (broken: boolean): Step[] => [
      step("a", [], () => {
        acted.push("a");
        return Promise.resolve({ nodeId: "n1" });
      }),
      step("b", ["a"], ({ resultOf }) => {
        if (broken) throw failing;
        acted.push(`b after ${String(resultOf("a")["nodeId"])}`);
        return Promise.resolve({});
      }),
    ];
    const error = await withJournal((journal) =>
      runSteps(plan(true), journal, options()).then(
        () => null,
        (thrown: unknown) => thrown,
      ),
    );
    expect(error).to.equal(failing);
    await withJournal((journal) => runSteps(plan(false), journal, options()));
    expect(acted).to.deep.equal(["a", "b after n1"]);
  });

  it("ask what is there before they act, and verify after", async () => {
    const told: string[] = [];
    const found = step("found", [], () => expect.fail("done already"), {
      check: () => Promise.resolve({ was: "there" }),
      verify: (_, result) => {
        told.push(`verified ${String(result["was"])}`);
        return Promise.resolve();
      },
    });
    await withJournal(async (journal) => {
      await runSteps([found], journal, options());
      expect(journal.resultOf("found")).to.deep.equal({ was: "there" });
    });
    expect(told).to.deep.equal(["verified there"]);
  });

  it("that fail for a passing reason are tried again, as long as the patience lasts", async () => {
    let attempts = 0;
    const passing = step("a", [], () => {
      if (++attempts < 2) throw new SkepError({ code: "SKEP_TEST_AWAY", message: "away", permanent: false });
      return Promise.resolve({});
    });
    await withJournal((journal) => runSteps([passing], journal, options({ patienceMs: 10_000 })));
    expect(attempts).to.equal(2);
  });

  it("stop at --until, and begin with --only where what comes before is done", async () => {
    const acted: string[] = [];
    const note = (id: string, after: string[]): Step =>
      step(id, after, () => {
        acted.push(id);
        return Promise.resolve({});
      });
    const steps = [note("a", []), note("b", ["a"]), note("c", ["b"]), note("other", [])];
    await withJournal((journal) => runSteps(steps, journal, options({ until: "b" })));
    expect(acted).to.deep.equal(["a", "b"]);
    await withJournal((journal) => runSteps(steps, journal, options({ only: "c" })));
    expect(acted).to.deep.equal(["a", "b", "c"]);
    for (const [more, code] of [
      [{ until: "nowhere" }, "SKEP_RECOVERY_STEP_UNKNOWN"],
      [{ only: "late" }, "SKEP_RECOVERY_STEP_EARLY"],
    ] as const) {
      const failure = await withJournal((journal) =>
        runSteps([...steps, note("late", ["other"])], journal, options(more)).catch((error: unknown) => error),
      );
      expect((failure as SkepError).code).to.equal(code);
    }
  });

  it("are forgotten neither where a crash cut the journal's last line, nor mixed up with another recovery's", async () => {
    await withJournal((journal) => runSteps([step("a", [], () => Promise.resolve({}))], journal, options()));
    await appendFile(join(folder, "journal.jsonl"), '{"at":"2026-11-26T03:0');
    await withJournal((journal) => {
      expect(journal.resultOf("a")).to.deep.equal({});
      return runSteps([step("b", [], () => Promise.resolve({}))], journal, options());
    });
    const lines = (await readFile(join(folder, "journal.jsonl"), "utf8")).trimEnd().split("\n");
    for (const line of lines) JSON.parse(line);
    const other = await Journal.open(folder, { ...head, runId: "20261127-030000-abcdef" }).catch(
      (error: unknown) => error,
    );
    expect((other as SkepError).code).to.equal("SKEP_RECOVERY_JOURNAL_OTHER");
    await appendFile(join(folder, "journal.jsonl"), '{"at":"never"}\n');
    const damaged = await Journal.open(folder, head).catch((error: unknown) => error);
    expect((damaged as SkepError).code).to.equal("SKEP_RECOVERY_JOURNAL_INVALID");
  });
});
