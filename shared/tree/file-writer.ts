// Writes the content of one restored file and reads it back: stretch by stretch, while it is still in memory, so that
// a file of any size takes no more than a stretch. What is a hole is not written and not read.
import { ftruncateSync, read, readSync, write, writeSync } from "node:fs";
import { promisify } from "node:util";
import { SkepError } from "../errors.ts";
import { Digester } from "../repository/blake3.ts";
import type { ContentPiece } from "../repository/open/snapshot-reader.ts";

const writeAsync = promisify(write);
const readAsync = promisify(read);

/** Up to here a call takes less than handing it to another thread. */
const smallBytes = 256 * 1024;
const stretchBytes = 32 * 1024 * 1024;
const readBytes = 1024 * 1024;

export class FileWriter {
  readonly #descriptor: number;
  readonly #show: () => string;
  #at = 0;
  /** Where the stretch began that was not read back yet. */
  #stretchStart = 0;
  #digester = new Digester();
  #buffer: Buffer | null = null;

  /** `descriptor`: of an empty file, for reading and writing. `show` names the file for an error. */
  constructor(descriptor: number, show: () => string) {
    this.#descriptor = descriptor;
    this.#show = show;
  }

  /** Bytes so far. */
  get sizeBytes(): number {
    return this.#at;
  }

  /** Content that is one small piece: written, compared, done. */
  writeSmall(bytes: Uint8Array): void {
    for (let done = 0; done < bytes.length;) {
      done += writeSync(this.#descriptor, bytes, done, bytes.length - done, done);
    }
    const back = Buffer.allocUnsafe(bytes.length);
    let got = 0;
    for (let read = -1; read !== 0 && got < back.length; got += read) {
      read = readSync(this.#descriptor, back, got, back.length - got, got);
    }
    if (got !== bytes.length || Buffer.compare(back, bytes) !== 0) throw this.#notVerified();
    this.#at = this.#stretchStart = bytes.length;
  }

  async write(piece: ContentPiece): Promise<void> {
    if ("zeroBytes" in piece) {
      await this.#verify();
      this.#at += piece.zeroBytes;
      this.#stretchStart = this.#at;
      return;
    }
    const { bytes } = piece;
    this.#digester.update(bytes);
    for (let done = 0; done < bytes.length;) {
      const { bytesWritten } = await writeAsync(this.#descriptor, bytes, done, bytes.length - done, this.#at + done);
      done += bytesWritten;
    }
    this.#at += bytes.length;
    if (this.#at - this.#stretchStart >= stretchBytes) await this.#verify();
  }

  /** Throws SKEP_RESTORE_NOT_VERIFIED. */
  async end(): Promise<void> {
    await this.#verify();
    // A hole at the end is only made by the size.
    ftruncateSync(this.#descriptor, this.#at);
  }

  async #verify(): Promise<void> {
    if (this.#stretchStart === this.#at) return;
    const written = this.#digester.hex();
    this.#digester = new Digester();
    const back = new Digester();
    this.#buffer ??= Buffer.allocUnsafeSlow(readBytes);
    for (let at = this.#stretchStart; at < this.#at;) {
      const wanted = Math.min(this.#buffer.length, this.#at - at);
      const { bytesRead } = await readAsync(this.#descriptor, this.#buffer, 0, wanted, at);
      if (bytesRead === 0) break;
      back.update(this.#buffer.subarray(0, bytesRead));
      at += bytesRead;
    }
    if (back.hex() !== written) throw this.#notVerified();
    this.#stretchStart = this.#at;
  }

  #notVerified(): SkepError {
    return new SkepError({
      code: "SKEP_RESTORE_NOT_VERIFIED",
      message: `${this.#show()} read back differs from what was written`,
      permanent: false,
      hint: "the disk or its filesystem does not keep what is written: check its log",
    });
  }
}

export function isSmall(sizeBytes: number): boolean {
  return sizeBytes <= smallBytes;
}
