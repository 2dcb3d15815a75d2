import { expect } from "chai";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { doOnce } from "../../../../controller/cli/standalone/once.ts";
import type { TaskResultOf } from "../../../../shared/contract/task-result.ts";
import type { JobProgress } from "../../../../shared/contract/job-progress.ts";
import { SkepError } from "../../../../shared/errors.ts";
import { sampleInput, sampleWriterKey } from "./sample-input.ts";

const input = sampleInput({ kind: "restore-undo", restoreId: "abcdefghijkl" });

describe("a job in a process of its own", () => {
  let folder: string;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), "skep-once-"));
  });
  afterEach(() => {
    rmSync(folder, { recursive: true });
  });
  /** Runs a program that stands in for agent/once.ts where the real one cannot be made to misbehave. */
  const work = async (
    source: string,
    signal = new AbortController().signal,
  ): Promise<{ result: TaskResultOf<"restore-undo"> | null; error: SkepError | null; progress: JobProgress[] }> => {
    const programPath = join(folder, "program.mjs");
    writeFileSync(programPath, source);
    const progress: JobProgress[] = [];
    const onProgress = (one: JobProgress): void => void progress.push(one);
    try {
      const result = await doOnce("restore-undo", input, { signal, onProgress, programPath });
      return { result, error: null, progress };
    } catch (error) {
      if (!(error instanceof SkepError)) throw error;
      return { result: null, error, progress };
    }
  };
  const readInput = "let text = ''; for await (const piece of process.stdin) text += piece;";

  it("gets its input whole on standard input, and nothing of it in argv or the environment", async () => {
    const { result, error } = await work(`${readInput}
      const { writerKey, job } = JSON.parse(text);
      const seen = JSON.stringify([process.argv, process.env]);
      console.log(JSON.stringify({ result: { kind: "restore-undo", volume: seen.includes(writerKey) ? "leaked" : job.id } }));`);
    expect(error).to.equal(null);
    expect(result).to.deep.equal({ kind: "restore-undo", volume: "once-1" });
  });

  it("passes progress on, and what else is printed over", async () => {
    const { result, progress } = await work(`${readInput}
      console.log("some library says hello");
      console.log(JSON.stringify({ progress: { phase: "swap", doneBytes: 1, totalBytes: null, doneFiles: 0 } }));
      console.log(JSON.stringify({ result: { kind: "restore-undo", volume: "db" } }));`);
    expect(progress).to.deep.equal([{ phase: "swap", doneBytes: 1, totalBytes: null, doneFiles: 0 }]);
    expect(result?.volume).to.equal("db");
  });

  it("throws the job's own error as it was", async () => {
    const record = { code: "SKEP_RESTORE_UNKNOWN", message: "there is none", permanent: true, hint: "look" };
    const { error } = await work(`${readInput} console.log(JSON.stringify({ error: ${JSON.stringify(record)} }));`);
    expect(error).to.include(record);
  });

  it("tells with its last words that it ended without a result, also when it never read its input", async () => {
    const { error } = await work('console.error("out of memory"); process.exit(137);');
    expect(error?.code).to.equal("SKEP_ONCE_FAILED");
    expect(error?.message).to.contain("code 137").and.contain("out of memory").and.not.contain(sampleWriterKey);
  });

  it("takes no result of another kind for its own", async () => {
    const { error } = await work(`${readInput}
      console.log(JSON.stringify({ result: { kind: "restore-discard", volume: "db", freedBytes: 1 } }));`);
    expect(error?.code).to.equal("SKEP_ONCE_FAILED");
  });

  it("is told to end when the caller is interrupted, and may take back what it began", async () => {
    const interruption = new AbortController();
    const reason = new SkepError({ code: "SKEP_CLI_INTERRUPTED", message: "interrupted", permanent: true });
    setTimeout(() => {
      interruption.abort(reason);
    }, 500);
    const startedAt = Date.now();
    const { error } = await work(
      'process.on("SIGTERM", () => process.exit(0)); setInterval(() => undefined, 1000);',
      interruption.signal,
    );
    expect(error).to.equal(reason);
    expect(Date.now() - startedAt).to.be.lessThan(10_000);
  });
});
