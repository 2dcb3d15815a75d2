// The agent of a standalone run: keeps volumes quiet while they are taken, and lets them go whatever becomes of the run.
// It is a process of its own, which sees its standard input end when the CLI is done or dies, and then undoes all that it
// did; what is left when it dies itself is in a journal, and undone by the next one. shared/contract/keeper.ts says
// what it takes and answers.
import { chmod, mkdir } from "node:fs/promises";
import { createInterface } from "node:readline";
import {
  decodeKeeperOrder,
  encodeKeeperLine,
  isQuietKind,
  keeperOrderInvalid,
  type KeeperLine,
  type KeeperOrder,
} from "../shared/contract/keeper.ts";
import type { TaskResult } from "../shared/contract/task-result.ts";
import type { JobProgress } from "../shared/contract/job-progress.ts";
import type { OnceInput } from "../shared/contract/once.ts";
import { SkepError, toErrorRecord, type ErrorRecord } from "../shared/errors.ts";
import { openStore } from "../shared/store/open.ts";
import { connectDocker, type Docker } from "./docker.ts";
import { executeJob } from "./execute.ts";
import { untilExpiry } from "./job-expiry.ts";
import { onceContext } from "./once-context.ts";
import { ProgressThinner } from "./progress-thinner.ts";
import { QuietKeeping } from "./quiet-keeping.ts";
import { holdNoted, releaseNoted } from "./quiesce/kept-holds.ts";
import { Watches } from "./quiesce/watches.ts";
import { RestoreKeyring } from "./restore-keys.ts";
import { explainFullState, explainStateError } from "./state-error.ts";

const progressMs = 1000;

/** A standalone run reads what its own host sees: none is ordered. */
const watches = new Watches();

function write(line: KeeperLine): void {
  process.stdout.write(encodeKeeperLine(line));
}

const warned = new Set<string>();

/** Once: each hold of a run meets the same ones. */
function warn(fault: ErrorRecord): void {
  if (warned.has(fault.message)) return;
  warned.add(fault.message);
  write({ warning: fault });
}

async function main(): Promise<number> {
  const stop = new AbortController();
  const stopBy = (what: string): void => {
    stop.abort(new SkepError({ code: "SKEP_AGENT_STOPPING", message: `stopped by ${what}`, permanent: false }));
  };
  for (const signal of ["SIGTERM", "SIGINT", "SIGHUP"] as const)
    process.on(signal, () => {
      stopBy(signal);
    });
  // Nobody reads any more: that is no reason to leave things quiet.
  process.stdout.on("error", () => {
    stopBy("the end of the run");
  });
  const lines = createInterface({ input: process.stdin });
  stop.signal.addEventListener(
    "abort",
    () => {
      lines.close();
    },
    { once: true },
  );
  const orders = ordersOf(lines);
  let kept: { keeping: QuietKeeping; docker: Docker } | null = null;
  /** And whether they are of the quiet itself, not of what is read meanwhile. */
  const jobs = new Map<Promise<void>, boolean>();
  try {
    for await (const order of orders) {
      if ("open" in order) {
        if (kept !== null) throw keeperOrderInvalid();
        const { stateDir, dockerSocket } = order.open;
        await makeStateDir(stateDir);
        const docker = connectDocker(dockerSocket);
        const keeping = QuietKeeping.open(stateDir, docker, { onLost: warn });
        kept = { keeping, docker };
        write({ ready: await keeping.undoLeft() });
        keeping.watch();
      } else {
        if (kept === null) throw keeperOrderInvalid();
        const job = work(order.id, order.work, kept, stop.signal);
        jobs.set(job, isQuietKind(order.work.job.task.kind));
        const forget = (): void => void jobs.delete(job);
        job.then(forget, forget);
      }
    }
    return await letAllGo();
  } catch (error) {
    stopBy("a fault");
    await letAllGo().catch((fault: unknown) => {
      write({ error: toErrorRecord(fault) });
    });
    write({ error: toErrorRecord(error) });
    return 1;
  }

  /** First of all what is quiet: a read that hangs, or a copy that is slow to remove, is not waited for. */
  async function letAllGo(): Promise<number> {
    stopBy("the end of the run");
    await Promise.allSettled([...jobs].filter(([, isOfQuiet]) => isOfQuiet).map(([job]) => job));
    await kept?.keeping.letGoAll();
    await Promise.allSettled(jobs.keys());
    const fault = (await kept?.keeping.close()) ?? null;
    if (fault === null) return 0;
    write({ error: fault });
    return 1;
  }
}

async function* ordersOf(lines: AsyncIterable<string>): AsyncGenerator<KeeperOrder> {
  for await (const line of lines) yield decodeKeeperOrder(line);
}

async function makeStateDir(stateDir: string): Promise<void> {
  try {
    await mkdir(stateDir, { recursive: true, mode: 0o700 });
    await chmod(stateDir, 0o700);
  } catch (error) {
    throw explainStateError(error, "begin", stateDir);
  }
}

/** Never rejects: what came of the job is written. */
async function work(
  id: number,
  input: OnceInput,
  { keeping, docker }: { keeping: QuietKeeping; docker: Docker },
  signal: AbortSignal,
): Promise<void> {
  const thinner = new ProgressThinner(progressMs, (progress) => {
    write({ id, progress });
  });
  try {
    const store = openStore(input.store, input.credentials);
    let result: TaskResult;
    try {
      const tools = { journal: keeping.journal, moments: keeping.moments, watches };
      const context = onceContext(input, docker, store);
      const keys = { keyring: new RestoreKeyring(), identityKeys: input.identityKeys ?? null };
      const onProgress = (progress: JobProgress): void => {
        thinner.report(progress);
      };
      result = await untilExpiry(input.job, signal, async (signal) => {
        const number = input.attempt ?? 1;
        const isLast = number >= input.job.maxAttempts;
        const attempt = { jobId: input.job.id, number, isLast, signal, onProgress };
        const { task } = input.job;
        if (task.kind === "hold") {
          return await holdNoted(task, docker, keeping.journal, signal, (fault) => {
            warn(toErrorRecord(fault));
          });
        }
        if (task.kind === "release") return await releaseNoted(task.holdId, docker, keeping.journal);
        return await executeJob(input.job, context, { ...tools, ...keys }, attempt);
      });
    } finally {
      await store.close();
    }
    thinner.stop();
    write({ id, result });
  } catch (error) {
    thinner.stop();
    write({ id, error: toErrorRecord(explainFullState(error, `do a job of ${input.job.task.kind}`, input.stateDir)) });
  }
}

process.exitCode = await main();
// Told to end by a signal, it may still be open.
process.stdin.destroy();
