// The thread in which a volume is walked (volume.ts): gives batches of entries as they are asked for.
import { parentPort, workerData } from "node:worker_threads";
import { toErrorRecord } from "../../shared/errors.ts";
import { pathFilter } from "./path-glob.ts";
import { walkTree, type WalkedEntry, type WalkFindings } from "./tree-walk.ts";
import { encodeWalked, type FromWalkThread, type WalkThreadSettings } from "./walk-messages.ts";

const entriesPerBatch = 500;

const port = parentPort;
if (port === null) throw new TypeError("this file is a worker thread");
const { root, excludePaths } = workerData as WalkThreadSettings;
const findings: WalkFindings = { warnings: [], warningsLeftOut: 0, complete: true };
const walk = walkTree(root, pathFilter(excludePaths), findings);

function nextBatch(): FromWalkThread {
  const batch: WalkedEntry[] = [];
  let isEnd = false;
  try {
    while (batch.length < entriesPerBatch && !isEnd) {
      const next = walk.next();
      if (next.done === true) isEnd = true;
      else batch.push(next.value);
    }
  } catch (error) {
    return { kind: "failed", error: toErrorRecord(error) };
  }
  return { kind: "entries", entries: encodeWalked(batch), findings: isEnd ? findings : null };
}

port.on("message", () => {
  port.postMessage(nextBatch());
});
