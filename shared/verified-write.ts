// Writes bytes into an open file and reads them back while they are still in memory: what the file system took is what
// it gives. Synchronous: up to some MiB it takes less than handing the bytes to another thread.
import { readSync, writeSync } from "node:fs";

const stepBytes = 1024 * 1024;
/** Of this thread, for what is read back. */
let back = Buffer.alloc(0);

/** False where what is read back differs. Throws what the file system throws. */
export function writeVerified(descriptor: number, bytes: Uint8Array, position: number): boolean {
  for (let at = 0; at < bytes.length; at += stepBytes) {
    const step = bytes.subarray(at, at + stepBytes);
    for (let done = 0; done < step.length;) {
      done += writeSync(descriptor, step, done, step.length - done, position + at + done);
    }
    if (!readsBack(descriptor, step, position + at)) return false;
  }
  return true;
}

function readsBack(descriptor: number, bytes: Uint8Array, position: number): boolean {
  if (back.length < bytes.length) back = Buffer.allocUnsafeSlow(Math.max(64 * 1024, bytes.length));
  for (let done = 0; done < bytes.length;) {
    const got = readSync(descriptor, back, done, bytes.length - done, position + done);
    if (got === 0) return false;
    done += got;
  }
  return back.compare(bytes, 0, bytes.length, 0, bytes.length) === 0;
}
