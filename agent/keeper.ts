// The agent of a standalone run: keeps volumes quiet while they are taken, and lets them go whatever becomes of the run.
// It is a process of its own, which sees its standard input end when the CLI is done or dies, and then undoes all that it
// did; what is left when it dies itself is in a journal, and undone by the next one. shared/contract/keeper.ts says
// what it takes and answers.
import { chmod, mkdir } from "node:fs/promises";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import { keeperOrderSchema, type KeeperLine, type KeeperOrder } from "../shared/contract/keeper.ts";
import type { OnceInput } from "../shared/contract/once.ts";
import { SkepError, toErrorRecord } from "../shared/errors.ts";
import { openStore } from "../shared/store/open.ts";
import { connectDocker, type Docker } from "./docker.ts";
import { executeJob } from "./execute.ts";
import { QuietKeeping } from "./quiet-keeping.ts";
import { onceContext } from "./once-context.ts";
import { ProgressThinner } from "./progress-thinner.ts";
import { RestoreKeyring } from "./restore-keys.ts";
import { explainStateError } from "./state-error.ts";

const progressMs = 1000;
const lookMs = 1000;

function write(line: KeeperLine): void {
  process.stdout.write(`${JSON.stringify(line)}\n`);
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
  const jobs = new Set<Promise<void>>();
  const ended = new AbortController();
  let watch: Promise<void> = Promise.resolve();
  try {
    for await (const order of orders) {
      if ("open" in order) {
        if (kept !== null) throw invalid();
        const { stateDir, dockerSocket } = order.open;
        await makeStateDir(stateDir);
        const docker = connectDocker(dockerSocket);
        const keeping = QuietKeeping.open(stateDir, docker);
        kept = { keeping, docker };
        write({ ready: await keeping.undoLeft() });
        watch = keepLooking(keeping, ended.signal);
      } else {
        if (kept === null) throw invalid();
        const job = work(order.id, order.work, kept, stop.signal);
        jobs.add(job);
        void job.finally(() => jobs.delete(job));
      }
    }
    return await letAllGo();
  } catch (error) {
    stopBy("a fault");
    await letAllGo();
    write({ error: toErrorRecord(error) });
    return 1;
  }

  async function letAllGo(): Promise<number> {
    stopBy("the end of the run");
    await Promise.all(jobs);
    ended.abort();
    await watch;
    const fault = (await kept?.keeping.close()) ?? null;
    if (fault === null) return 0;
    write({ error: fault });
    return 1;
  }
}

async function* ordersOf(lines: AsyncIterable<string>): AsyncGenerator<KeeperOrder> {
  for await (const line of lines) {
    let json: unknown;
    try {
      json = JSON.parse(line);
    } catch {
      // The parser's message would quote the input, and keys with it.
      throw invalid();
    }
    const parsed = keeperOrderSchema.safeParse(json);
    if (!parsed.success) throw invalid();
    yield parsed.data;
  }
}

function invalid(): SkepError {
  return new SkepError({
    code: "SKEP_ONCE_INPUT_INVALID",
    message: "standard input holds no order for agent/keeper.ts",
    permanent: true,
    hint: "shared/contract/keeper.ts says what it takes; CLI and agent must be of one version",
  });
}

async function makeStateDir(stateDir: string): Promise<void> {
  try {
    await mkdir(stateDir, { recursive: true, mode: 0o700 });
    await chmod(stateDir, 0o700);
  } catch (error) {
    throw explainStateError(error, "begin", stateDir);
  }
}

/** Lets go what is overdue, until the signal. */
async function keepLooking(keeping: QuietKeeping, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    await keeping.look(Date.now());
    await sleep(lookMs, undefined, { signal }).catch(() => undefined);
  }
}

/** Never rejects: what came of the job is written. */
async function work(
  id: number,
  input: OnceInput,
  { keeping, docker }: { keeping: QuietKeeping; docker: Docker },
  signal: AbortSignal,
): Promise<void> {
  const store = openStore(input.store, input.credentials);
  const thinner = new ProgressThinner(progressMs, (progress) => {
    write({ id, progress });
  });
  try {
    const tools = { journal: keeping.journal, moments: keeping.moments };
    const result = await executeJob(
      input.job,
      onceContext(input, docker, store),
      { ...tools, keyring: new RestoreKeyring(), identityKeys: input.identityKeys ?? null },
      {
        ...{ jobId: input.job.id, number: input.attempt ?? 1, signal },
        onProgress: (progress) => {
          thinner.report(progress);
        },
      },
    );
    thinner.stop();
    write({ id, result });
  } catch (error) {
    thinner.stop();
    write({ id, error: toErrorRecord(error) });
  } finally {
    await store.close();
  }
}

process.exitCode = await main();
// Told to end by a signal, it may still be open.
process.stdin.destroy();
