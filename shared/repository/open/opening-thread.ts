// A thread that opens windows of packs, keeps them in memory that all threads see, and writes stretches of them into files,
// until it is told to let one go (opening-crew.ts). Orders are carried out as they come.
import { parentPort, workerData } from "node:worker_threads";
import { toErrorRecord } from "../../errors.ts";
import { systemErrorName } from "../../system-error.ts";
import { writeVerified } from "../../verified-write.ts";
import type { KeyBytes } from "../keys.ts";
import type { FromOpeningThread, ToOpeningThread } from "./opening-crew.ts";
import { openWindow } from "./sealed-window.ts";

/** Of memory that waits for the next window: making it anew costs as much as filling it, and V8 lets go of it late. */
const maxFreeBytes = 32 * 1024 * 1024;
const minRoomBytes = 64 * 1024;

const port = parentPort;
if (port === null) throw new TypeError("this file is a worker thread");
const chunkNameKey = workerData as KeyBytes;
const windows = new Map<number, Uint8Array>();
/** By their size, a power of two. */
const free = new Map<number, Uint8Array[]>();
let freeBytes = 0;

function takeRoom(bytes: number): Uint8Array {
  const roomBytes = Math.max(minRoomBytes, 2 ** Math.ceil(Math.log2(bytes)));
  const room = free.get(roomBytes)?.pop();
  if (room === undefined) return new Uint8Array(new SharedArrayBuffer(roomBytes));
  freeBytes -= roomBytes;
  return room;
}

function giveBack(room: Uint8Array): void {
  if (freeBytes + room.length > maxFreeBytes) return;
  const same = free.get(room.length);
  if (same === undefined) free.set(room.length, [room]);
  else same.push(room);
  freeBytes += room.length;
}

function contentOf(window: number): Uint8Array {
  const content = windows.get(window);
  if (content === undefined) throw new TypeError(`window ${window} is not here`);
  return content;
}

function carryOut(order: ToOpeningThread): FromOpeningThread | null {
  switch (order.kind) {
    case "open":
      windows.set(order.window, openWindow(order.sealed, chunkNameKey, takeRoom));
      return { kind: "done", id: order.id };
    case "write": {
      const { window, start, end, descriptor, position } = order;
      const isVerified = writeVerified(descriptor, contentOf(window).subarray(start, end), position);
      return { kind: "written", id: order.id, isVerified };
    }
    case "show":
      return { kind: "shown", id: order.id, content: contentOf(order.window) };
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
  if (answer !== null) port.postMessage(answer);
});
