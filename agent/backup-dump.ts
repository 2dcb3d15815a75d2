// Takes a dump: what a command in a container writes to its standard output, straight into a snapshot of one file. It
// counts only once the engine says that the command ended with 0: the end of its output alone says nothing.
import { once } from "node:events";
import { PassThrough } from "node:stream";
import type { ContainerCommand, TaskOf } from "../shared/contract/job.ts";
import type { TaskResultOf } from "../shared/contract/task-result.ts";
import { SkepError, toErrorRecord } from "../shared/errors.ts";
import type { Part } from "../shared/repository/run.ts";
import type { SourceEntries } from "../shared/repository/snapshot.ts";
import { writeSnapshot } from "../shared/repository/snapshot-writer.ts";
import type { AgentContext, Attempt } from "./context.ts";
import { openNodeCache } from "./node-cache.ts";
import { cutWarnings, partOf } from "./part.ts";
import { runInContainer, type Ran } from "./quiesce/container-command.ts";
import { volumeFacts } from "./source/volume-kind.ts";

/** Name of the one file in the snapshot. */
export const dumpFile = "dump";
/** Output that waits for the store. */
const bufferBytes = 4 * 1024 * 1024;

/**
 * A command that failed makes a part that failed, with what it wrote. Thrown, for another attempt, is what the store
 * throws, and SKEP_COMMAND_FAILED where the engine broke the command off: at the last try that makes a part too.
 */
export async function backupDump(
  task: TaskOf<"dump">,
  context: AgentContext,
  attempt: Attempt,
): Promise<TaskResultOf<"dump">> {
  const startedAt = new Date();
  const { docker, store, writerKeys, writerId, epoch, repositoryId } = context;
  const { command, load, runId, maxBytesPerSecond } = task;
  const volume = await docker.volume(command.volume, attempt.signal);
  if (volume === null) {
    throw new SkepError({
      code: "SKEP_SOURCE_VOLUME_GONE",
      message: `volume ${command.volume} is not on this node`,
      permanent: true,
      hint: "was the volume removed? The next run takes what is there then",
    });
  }
  const info = await docker.info(attempt.signal);
  const output = new PassThrough({ highWaterMark: bufferBytes });
  // Where there is nothing to run it in it fails before it is read: who reads it gets the fault then.
  output.on("error", () => undefined);
  const stop = new AbortController();
  const running = runInContainer("dump", command, docker, AbortSignal.any([attempt.signal, stop.signal]), {
    onStdout: async (bytes) => {
      if (!output.write(bytes)) await once(output, "drain", { signal: stop.signal });
    },
  });
  const ran: { as: Ran | null } = { as: null };
  const ended = running.then(
    (as) => {
      ran.as = as;
      if (as.fault === null) output.end();
      else output.destroy(as.fault);
    },
    (error: unknown) => {
      output.destroy(error as Error);
    },
  );
  const cache = openNodeCache(context);
  const subject = { kind: "dump", name: `${info.Name}/${command.volume}`, hostname: info.Name } as const;
  const about: Partial<Part> = {
    volume: volumeFacts(volume),
    ...(load === null ? {} : { load: loadOf(load) }),
  };
  try {
    const snapshot = await writeSnapshot({
      ...{ store, repositoryId, writerId, keys: writerKeys, epoch, runId, cache, maxBytesPerSecond },
      ...(task.absentPacks === undefined ? {} : { absentPacks: task.absentPacks }),
      volume: command.volume,
      volumeIdentity: "dump",
      entries: entriesOf(output, startedAt.getTime()),
      signal: attempt.signal,
      onProgress: attempt.onProgress,
      now: () => Date.now(),
    });
    await ended;
    const { warnings, warningsLeftOut, totals, manifest, refs } = snapshot;
    return {
      kind: "dump",
      part: {
        ...partOf(subject, context, attempt, startedAt),
        ...about,
        status: "done",
        ...cutWarnings(warnings, warningsLeftOut),
        ...{ totals, manifest, refs },
        ...(ran.as === null ? {} : { commands: [ran.as.record] }),
      },
    };
  } catch (error) {
    stop.abort();
    await ended;
    if (ran.as === null || ran.as.fault === null || ran.as.fault !== error) throw error;
    const { record, fault } = ran.as;
    if (!fault.permanent && attempt.isLast !== true) throw fault;
    return {
      kind: "dump",
      part: {
        ...partOf(subject, context, attempt, startedAt),
        ...about,
        status: "failed",
        error: toErrorRecord(fault),
        stderr: record.stderr,
        commands: [record],
      },
    };
  } finally {
    cache.close();
  }
}

function loadOf({ argv, container, saidBy, user, timeoutSeconds }: ContainerCommand): NonNullable<Part["load"]> {
  return { argv, container, ...(saidBy === undefined ? {} : { saidBy }), user, timeoutSeconds };
}

async function* entriesOf(output: AsyncIterable<Uint8Array>, now: number): SourceEntries {
  const mtimeNs = `${now}000000`;
  const owner = { uid: 0, gid: 0, mtimeNs };
  yield { metadata: { path: "", type: "directory", mode: 0o700, ...owner }, file: null };
  await Promise.resolve();
  yield { metadata: { path: dumpFile, type: "file", mode: 0o600, ...owner }, file: null, stream: output };
}
