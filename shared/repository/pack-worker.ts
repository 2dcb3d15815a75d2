// A thread that carries files through all stages: read, cut, name, compress, pack, encrypt, in reused buffers. Many
// of them make one snapshot; the main thread walks, stores and remembers, and never waits for a computation.
import { parentPort, workerData } from "node:worker_threads";
import { toErrorRecord } from "../errors.ts";
import { ChunkClaims } from "./chunk-claims.ts";
import { makeGearTable, maxChunkBytes } from "./chunker.ts";
import { ChunkSink } from "./chunk-sink.ts";
import { ExtentList } from "./extent-records.ts";
import { faultedFile, isReadFault } from "./file-reading.ts";
import { KnownChunks } from "./known-chunks.ts";
import { PackBuilder } from "./pack-builder.ts";
import type {
  FileRead,
  FromPackWorker,
  PackRoom,
  PackTask,
  PackTaskResult,
  PackWorkerSettings,
  ToPackWorker,
} from "./pack-worker-messages.ts";
import { ReadCounter } from "./read-counter.ts";
import { readSegment } from "./segment-reader.ts";
import { SmallFileReader } from "./small-file-reader.ts";

const readBufferBytes = 2 * maxChunkBytes;

const port = parentPort;
if (port === null) throw new TypeError("this file is a worker thread");
const settings = workerData as PackWorkerSettings;

const post = (message: FromPackWorker): void => {
  port.postMessage(message);
};

const rooms: PackRoom[] = [];
let waitingForRoom: ((room: PackRoom) => void) | null = null;

function takeRoom(): Promise<PackRoom> {
  const free = rooms.shift();
  if (free !== undefined) return Promise.resolve(free);
  return new Promise((resolve) => {
    waitingForRoom = resolve;
  });
}

function giveRoom(room: PackRoom): void {
  if (waitingForRoom === null) {
    rooms.push(room);
    return;
  }
  waitingForRoom(room);
  waitingForRoom = null;
}

const packs = new PackBuilder(takeRoom, (pack, buffer) => {
  post({ kind: "pack", pack, buffer });
});
const known = settings.cachePath === null ? null : new KnownChunks(settings.cachePath);
const sink = new ChunkSink({
  nameKey: settings.chunkNameKey,
  gear: makeGearTable(settings.chunkerKey),
  known,
  claims: new ChunkClaims(settings.claims),
  packs,
});
const readBuffer = Buffer.allocUnsafeSlow(readBufferBytes);
const counter = new ReadCounter(settings.readCount);
let countedBytes = 0;
const smallFiles = new SmallFileReader(settings.chunkNameKey, known, sink, readBuffer);

// The manifest's lines, on the one worker that gets them.
let lineBuffer: Buffer | null = null;
let lineBytes = 0;
let lineExtents = new ExtentList();

async function addLines(bytes: Uint8Array, isEnd: boolean): Promise<void> {
  lineBuffer ??= Buffer.allocUnsafeSlow(readBufferBytes);
  for (let taken = 0; taken < bytes.length || isEnd;) {
    const part = bytes.subarray(taken, taken + lineBuffer.length - lineBytes);
    lineBuffer.set(part, lineBytes);
    lineBytes += part.length;
    taken += part.length;
    const at = await sink.storeCut(lineBuffer, 0, lineBytes, isEnd && taken === bytes.length, lineExtents);
    lineBuffer.copyWithin(0, at, lineBytes);
    lineBytes -= at;
    if (isEnd && taken === bytes.length) return;
  }
}

/** What comes next begins anew: the manifest's lines after a stream's content. */
function takeLineExtents(): Uint8Array {
  const taken = lineExtents.take();
  lineExtents = new ExtentList();
  return taken;
}

function count(bytes: number): void {
  counter.add(bytes);
  countedBytes += bytes;
}

async function perform(task: PackTask): Promise<PackTaskResult> {
  const result = (files: FileRead[], lines: Uint8Array | null = null): PackTaskResult => {
    const counted = countedBytes;
    countedBytes = 0;
    return { files, lines, newBytes: sink.takeNewBytes(), countedBytes: counted };
  };
  switch (task.kind) {
    case "small-files":
      return result(await smallFiles.read(task.files));
    case "segment":
      try {
        return result([await readSegment(task.file, task.start, task.end, readBuffer, sink, count)]);
      } catch (error) {
        if (!isReadFault(error)) throw error;
        return result([faultedFile(task.file, error)]);
      }
    case "lines":
      await addLines(task.bytes, false);
      return result([]);
    case "end-lines":
      await addLines(new Uint8Array(0), true);
      return result([], takeLineExtents());
    case "flush":
      packs.finish();
      return result([]);
    case "checkpoint":
      known?.checkpoint();
      return result([]);
  }
}

const queue: { id: number; task: PackTask }[] = [];
let working = false;

async function work(): Promise<void> {
  if (working) return;
  working = true;
  for (let next = queue.shift(); next !== undefined; next = queue.shift()) {
    post({ kind: "done", id: next.id, result: await perform(next.task) });
  }
  working = false;
}

port.on("message", (message: ToPackWorker) => {
  if (message.kind === "room") {
    giveRoom(message.room);
    return;
  }
  queue.push(message);
  work().catch((error: unknown) => {
    post({ kind: "failed", error: toErrorRecord(error) });
  });
});
