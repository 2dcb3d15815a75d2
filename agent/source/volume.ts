// The walk through a volume, in a thread of its own: its calls are synchronous and so cost little, while this thread
// goes on, also where a share does not answer.
import { on } from "node:events";
import { Worker } from "node:worker_threads";
import { fromErrorRecord } from "../../shared/errors.ts";
import { threadLimits } from "../../shared/node-flags.ts";
import { pathBytes } from "../../shared/repository/path-order.ts";
import type { SourceEntries, SourceEntry } from "../../shared/repository/snapshot.ts";
import type { WalkFindings } from "./tree-walk.ts";
import { decodeWalked, type FromWalkThread, type ToWalkThread, type WalkThreadSettings } from "./walk-messages.ts";

export interface Walk {
  entries: SourceEntries;
  findings: WalkFindings;
}

/** Batches that are walked before they are asked for: the thread goes on while entries are handled. */
const batchesAhead = 3;

/**
 * Walks the folder `root` (this process's view), without what the globs name. While its entries are read it throws
 * SKEP_SOURCE_VOLUME_GONE where the root is not there, or was removed or replaced before the walk ended, and the
 * signal's reason. The findings are whole when the entries were read to their end.
 */
export function walkVolume(root: string, excludePaths: readonly string[], signal: AbortSignal): Walk {
  const findings: WalkFindings = { warnings: [], warningsLeftOut: 0, complete: true };
  return { entries: walk({ root, excludePaths }, signal, findings), findings };
}

async function* walk(
  settings: WalkThreadSettings,
  signal: AbortSignal,
  findings: WalkFindings,
): AsyncGenerator<SourceEntry> {
  signal.throwIfAborted();
  const rootBytes = Buffer.from(`${settings.root}/`);
  const thread = new Worker(new URL("./walk-thread.ts", import.meta.url), {
    workerData: settings,
    // It holds the names of all folders on the way to where it is.
    resourceLimits: { ...threadLimits, maxOldGenerationSizeMb: 1024 },
  });
  const next = (): void => {
    thread.postMessage("next" satisfies ToWalkThread);
  };
  try {
    // An error of the thread ends the loop with it.
    const messages = on(thread, "message", { signal, close: ["exit"] }) as AsyncIterable<[FromWalkThread]>;
    for (let batch = 0; batch < batchesAhead; batch++) next();
    for await (const [message] of messages) {
      if (message.kind === "failed") throw fromErrorRecord(message.error);
      next();
      for (const { metadata, file } of decodeWalked(message.entries)) {
        signal.throwIfAborted();
        if (file === null) yield { metadata, file };
        else {
          const path = Buffer.concat([rootBytes, pathBytes(metadata.path, metadata.pathBase64)]);
          yield { metadata, file: { ...file, path } };
        }
      }
      if (message.findings === null) continue;
      Object.assign(findings, message.findings);
      return;
    }
    throw new Error("the thread that walks a volume ended by itself");
  } catch (error) {
    if (signal.aborted) throw signal.reason;
    throw error;
  } finally {
    // Not waited for: it may hang in a call on a share that does not answer.
    void thread.terminate();
  }
}
