// How much memory the process took for a while, beyond what it had: by the kernel's own high-water mark, which also sees
// what was freed at once. proc(5): 5 in clear_refs sets the mark back to what is resident now.
import { closeSync, openSync, readSync, writeSync } from "node:fs";

export class PeakMemory {
  readonly #reset = openSync("/proc/self/clear_refs", "w");
  readonly #status = openSync("/proc/self/status", "r");
  readonly #text = Buffer.alloc(4096);
  #before = 0;

  begin(): void {
    writeSync(this.#reset, "5", 0);
    this.#before = this.#peak();
  }

  /** Since begin(). */
  grownBytes(): number {
    return this.#peak() - this.#before;
  }

  #peak(): number {
    const length = readSync(this.#status, this.#text, 0, this.#text.length, 0);
    const kilobytes = /^VmHWM:\s+(\d+) kB$/m.exec(this.#text.toString("latin1", 0, length))?.[1];
    if (kilobytes === undefined) throw new Error("/proc/self/status does not tell VmHWM");
    return Number(kilobytes) * 1024;
  }

  close(): void {
    closeSync(this.#reset);
    closeSync(this.#status);
  }
}
