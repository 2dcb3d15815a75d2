// A thread that opens windows of packs, keeps them in buffers of its own, and writes stretches of them into files, until it
// is told to give one away or to let it go (opening-crew.ts). Orders are carried out as they come.
import { parentPort, workerData } from "node:worker_threads";
import { toErrorRecord } from "../../errors.ts";
import { systemErrorName } from "../../system-error.ts";
import { writeVerified } from "../../verified-write.ts";
import { maxChunkBytes } from "../chunker.ts";
import type { KeyBytes } from "../keys.ts";
import type { FromOpeningThread, ToOpeningThread } from "./opening-crew.ts";
import { openWindow } from "./sealed-window.ts";

/** Large buffers that wait for the next window: making one anew costs as much as filling it. */
const maxFree = 4;
/** A window has at most this, but may have far less: then its buffer is of its own length. */
const largeBytes = maxChunkBytes;
const minLargeBytes = largeBytes / 4;

const port = parentPort;
if (port === null) throw new TypeError("this file is a worker thread");
const chunkNameKey = workerData as KeyBytes;
const windows = new Map<number, Uint8Array<ArrayBuffer>>();
const free: Uint8Array<ArrayBuffer>[] = [];

function takeBuffer(bytes: number): Uint8Array<ArrayBuffer> {
  if (bytes < minLargeBytes || bytes > largeBytes) return new Uint8Array(bytes);
  return free.pop() ?? new Uint8Array(largeBytes);
}

function giveBack(content: Uint8Array<ArrayBuffer>): void {
  if (content.length === largeBytes && free.length < maxFree) free.push(content);
}

function contentOf(window: number): Uint8Array<ArrayBuffer> {
  const content = windows.get(window);
  if (content === undefined) throw new TypeError(`window ${window} is not here`);
  return content;
}

function carryOut(order: ToOpeningThread): FromOpeningThread | null {
  switch (order.kind) {
    case "open":
      windows.set(order.window, openWindow(order.sealed, chunkNameKey, takeBuffer));
      return { kind: "done", id: order.id };
    case "write": {
      const { window, start, end, descriptor, position } = order;
      const isVerified = writeVerified(descriptor, contentOf(window).subarray(start, end), position);
      return { kind: "written", id: order.id, isVerified };
    }
    case "take": {
      const content = contentOf(order.window);
      windows.delete(order.window);
      return { kind: "taken", id: order.id, content };
    }
    case "drop":
      giveBack(contentOf(order.window));
      windows.delete(order.window);
      return null;
  }
}

port.on("message", (order: ToOpeningThread) => {
  let answer: FromOpeningThread | null;
  try {
    answer = carryOut(order);
  } catch (error) {
    if (order.kind === "drop") throw error;
    answer = { kind: "failed", id: order.id, error: toErrorRecord(error), systemError: systemErrorName(error) };
  }
  if (answer !== null) port.postMessage(answer, answer.kind === "taken" ? [answer.content.buffer] : []);
});
