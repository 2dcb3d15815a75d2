// One job, read from standard input, without a queue: on a single Docker host, in a helper container, over SSH in a
// recovery. Lines of JSON on standard output, the last one is the result or the error; nothing else is written there.
import { chmod, mkdir } from "node:fs/promises";
import path from "node:path";
import type { TaskResult } from "../shared/contract/job.ts";
import { maxOnceInputBytes, onceInputSchema, type OnceInput, type OnceLine } from "../shared/contract/once.ts";
import { SkepError, toErrorRecord } from "../shared/errors.ts";
import { openStore } from "../shared/store/open.ts";
import { connectDocker } from "./docker.ts";
import { executeJob } from "./execute.ts";
import { untilExpiry } from "./job-expiry.ts";
import { Journal } from "./journal.ts";
import { Moments } from "./moment/moments.ts";
import { onceContext } from "./once-context.ts";
import { RestoreKeyring } from "./restore-keys.ts";
import { recoverRestores } from "./restore.ts";
import { ProgressThinner } from "./progress-thinner.ts";
import { explainStateError } from "./state-error.ts";
import { readSwaps } from "./volume-swap.ts";

const progressMs = 1000;

function write(line: OnceLine): void {
  process.stdout.write(`${JSON.stringify(line)}\n`);
}

async function main(): Promise<number> {
  const stop = new AbortController();
  for (const signal of ["SIGTERM", "SIGINT", "SIGHUP"] as const) {
    process.once(signal, () => {
      stop.abort(new SkepError({ code: "SKEP_AGENT_STOPPING", message: `stopped by ${signal}`, permanent: false }));
    });
  }
  try {
    write({ result: await runOnce(await readInput(), stop.signal) });
    return 0;
  } catch (error) {
    write({ error: toErrorRecord(error) });
    return 1;
  }
}

async function readInput(): Promise<OnceInput> {
  const pieces: Buffer[] = [];
  let bytes = 0;
  for await (const piece of process.stdin as AsyncIterable<Buffer>) {
    bytes += piece.length;
    if (bytes > maxOnceInputBytes) throw invalid(`it is longer than ${maxOnceInputBytes} bytes`);
    pieces.push(piece);
  }
  let json: unknown;
  try {
    json = JSON.parse(Buffer.concat(pieces).toString("utf8"));
  } catch {
    // The parser's message would quote the input, and keys with it.
    throw invalid("it is no JSON");
  }
  const parsed = onceInputSchema.safeParse(json);
  if (parsed.success) return parsed.data;
  throw invalid(`wrong at ${parsed.error.issues.map((issue) => issue.path.join(".") || "the top").join(", ")}`);
}

function invalid(why: string): SkepError {
  return new SkepError({
    code: "SKEP_ONCE_INPUT_INVALID",
    message: `standard input holds no job for agent/once.ts: ${why}`,
    permanent: true,
    hint: "shared/contract/once.ts says what it takes; CLI and agent must be of one version",
  });
}

async function runOnce(input: OnceInput, stop: AbortSignal): Promise<TaskResult> {
  const { job, stateDir } = input;
  try {
    await mkdir(stateDir, { recursive: true, mode: 0o700 });
    await chmod(stateDir, 0o700);
  } catch (error) {
    throw explainStateError(error, "begin", stateDir);
  }
  const docker = connectDocker(input.dockerSocket);
  const store = openStore(input.store, input.credentials);
  // Only restores write into it: a backup shall not fail for a full disk. A helper's is kept by the agent that started it.
  const isRestore = job.task.kind.startsWith("restore-");
  const keepsJournal = isRestore && input.mountedAt === undefined;
  const journal = new Journal(keepsJournal ? path.join(stateDir, "journal.sqlite") : ":memory:");
  const thinner = new ProgressThinner(progressMs, (progress) => {
    write({ progress });
  });
  try {
    if (isRestore) await recoverRestores(readSwaps(journal), docker, journal);
    return await untilExpiry(job, stop, (signal) =>
      executeJob(
        job,
        onceContext(input, docker, store),
        {
          journal,
          moments: new Moments(null),
          keyring: new RestoreKeyring(),
          identityKeys: input.identityKeys ?? null,
        },
        {
          jobId: job.id,
          number: input.attempt ?? 1,
          signal,
          onProgress: (progress) => {
            thinner.report(progress);
          },
        },
      ),
    );
  } finally {
    thinner.stop();
    journal.close();
    await store.close();
  }
}

process.exitCode = await main();
