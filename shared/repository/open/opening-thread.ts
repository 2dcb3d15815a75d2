// A thread that opens windows of packs (opening-crew.ts).
import { parentPort, workerData } from "node:worker_threads";
import { toErrorRecord } from "../../errors.ts";
import type { KeyBytes } from "../keys.ts";
import type { FromOpeningThread, ToOpeningThread } from "./opening-crew.ts";
import { openWindow } from "./sealed-window.ts";

const port = parentPort;
if (port === null) throw new TypeError("this file is a worker thread");
const chunkNameKey = workerData as KeyBytes;

port.on("message", ({ id, window }: ToOpeningThread) => {
  let answer: FromOpeningThread;
  try {
    answer = { id, content: openWindow(window, chunkNameKey) };
  } catch (error) {
    answer = { id, error: toErrorRecord(error) };
  }
  port.postMessage(answer, "content" in answer ? [answer.content.buffer] : []);
});
