import { expect } from "chai";
import { makeOutput } from "../../../controller/cli/output.ts";
import { concludingWords, renderRun, renderRuns, summaryOf } from "../../../controller/cli/run-report.ts";
import { runSummarySchema } from "../../../controller/api/schemas.ts";
import { runSchema, type Run } from "../../../shared/repository/run.ts";
import { samplePart, sampleRun } from "./sample-run.ts";

const run: Run = runSchema.parse({
  ...sampleRun("20261121-030000-abc123"),
  format: 1,
  repositoryId: "ab".repeat(16),
  incarnation: 1,
  sequence: 7,
  previousDigest: null,
  upkeepSequence: null,
});
const now = Date.parse("2026-11-21T08:00:00.000Z");
const plain = { ...makeOutput(false), style: (_style: unknown, text: string) => text };

describe("the report of a run", () => {
  it("sums up what a run has", () => {
    const summary = runSummarySchema.parse(summaryOf(run));
    expect(summary).to.deep.include({
      status: "partial",
      parts: { done: 2, partial: 0, failed: 1 },
      notCovered: 2,
      warnings: 4,
      sourceBytes: 5 * 1024 * 1024,
      storedBytes: 512 * 1024,
    });
    expect(concludingWords(run)).to.equal(
      "run 20261121-030000-abc123 is partial: 3 parts, 1 not whole, 1 not covered, 1 not selected, 3m 4s",
    );
  });

  it("names every part, gap, fault and warning, with reasons, hints and stderr", () => {
    const text = renderRun(plain, run, now);
    for (const words of [
      "Run 20261121-030000-abc123  partial",
      "2026-11-21 03:00:00 UTC, 5 hours ago",
      "schedule nightly, policy version 3",
      "to index 41 from node1, walked, not decrypted: content unproven",
      "volume node1/www",
      "5 MiB",
      "node-down",
      "the policy does not select it",
      "volume node1/db, attempt 3",
      "error: volume db is gone",
      "hint: it was removed while the run went on",
      "code: SKEP_SOURCE_VOLUME_GONE",
      "stderr | pg_dump: error: connection refused",
      "- volume node1/www: log/access.log changed while it was read",
      "- volume node1/www: and 2 more warnings",
      "- agents' credentials could destroy backups",
    ]) {
      expect(text).to.contain(words);
    }
  });

  it("says once for how long what stood still, and what each command came to", () => {
    const quiet = [
      { name: "pg", how: "stop" as const, quietMs: 9400 },
      { name: "cache.1", how: "pause" as const, quietMs: 145 },
    ];
    const hook = { step: "hook.pre" as const, container: "cache.1", exitCode: 0, stderr: "flushed\n" };
    const dump = { step: "dump" as const, container: "pg", exitCode: 3, stderr: "", stdout: "no such table\n" };
    const parts = ["node1/www", "node2/www"].map((name) =>
      samplePart({ kind: "volume", name, consistency: "quiet", quiet, commands: [hook, dump] }),
    );
    const text = renderRun(plain, { ...run, parts }, now);
    for (const words of [
      "- pg was stopped for 9.4s",
      "- cache.1 was paused for 145ms",
      "- hook.pre in cache.1 ended with 0\n    stderr | flushed",
      "- dump in pg ended with 3\n    stdout | no such table",
    ])
      expect(text.split(words), words).to.have.length(2);
  });

  it("lets no name or stderr play with the terminal", () => {
    expect(renderRun(plain, run, now)).to.not.match(/[\u0000-\u0009\u000b-\u001f\u007f-\u009f]/);
    expect(renderRun(plain, run, now)).to.contain("\\x1b[31mred");
  });

  it("lists runs in aligned columns, also one under way", () => {
    const running = { ...summaryOf(run), id: "20261121-070000-zzzzzz", status: "running" as const, endedAt: null };
    const lines = renderRuns(plain, [running, summaryOf(run)], now).split("\n");
    expect(lines).to.have.length(3);
    expect(lines[1]).to.match(/^20261121-070000-zzzzzz {2}running {2}5 hours ago/);
    expect(lines[2]).to.contain("2 done, 1 failed");
    const column = (line = ""): number => line.search(/running|partial|STATUS/);
    expect(new Set(lines.map(column)).size).to.equal(1);
  });
});
