// One job, read from standard input, without a queue: on a single Docker host, in a helper container, over SSH in a
// recovery. Lines of JSON on standard output, the last one is the result or the error; nothing else is written there.
import { chmod, mkdir } from "node:fs/promises";
import path from "node:path";
import type { TaskResult } from "../shared/contract/task-result.ts";
import {
  decodeOnceInput,
  maxOnceInputBytes,
  onceInputInvalid,
  type OnceInput,
  type OnceLine,
} from "../shared/contract/once.ts";
import { SkepError, toErrorRecord } from "../shared/errors.ts";
import { openStore } from "../shared/store/open.ts";
import { connectDocker } from "./docker.ts";
import { executeJob } from "./execute.ts";
import { untilExpiry } from "./job-expiry.ts";
import { Journal } from "./journal.ts";
import { Moments } from "./moment/moments.ts";
import { Watches } from "./quiesce/watches.ts";
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
    if (bytes > maxOnceInputBytes) throw onceInputInvalid(`it is longer than ${maxOnceInputBytes} bytes`);
    pieces.push(piece);
  }
  return decodeOnceInput(Buffer.concat(pieces));
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
          watches: new Watches(),
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
