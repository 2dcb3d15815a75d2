// Writes the content of one restored file and reads it back, piece by piece, while it is still in memory. What is a hole is
// not written and not read.
import { ftruncateSync } from "node:fs";
import { SkepError } from "../errors.ts";
import { lengthOf, type ContentPiece, type WritablePiece } from "../repository/open/snapshot-reader.ts";
import { writeVerified } from "../verified-write.ts";

export class FileWriter {
  readonly #descriptor: number;
  readonly #show: () => string;
  #at = 0;
  #endsInHole = false;

  /** `descriptor`: of an empty file, for reading and writing. `show` names the file for an error. */
  constructor(descriptor: number, show: () => string) {
    this.#descriptor = descriptor;
    this.#show = show;
  }

  /** Bytes so far. */
  get sizeBytes(): number {
    return this.#at;
  }

  /** Throws SKEP_RESTORE_NOT_VERIFIED, and what the file system throws. */
  async write(piece: ContentPiece | WritablePiece): Promise<void> {
    let isVerified = true;
    if ("bytes" in piece) isVerified = writeVerified(this.#descriptor, piece.bytes, this.#at);
    else if ("writeTo" in piece) isVerified = await piece.writeTo(this.#descriptor, this.#at);
    if (!isVerified) throw this.#notVerified();
    this.#at += lengthOf(piece);
    this.#endsInHole = "zeroBytes" in piece;
  }

  end(): void {
    // A hole at the end is only made by the size.
    if (this.#endsInHole) ftruncateSync(this.#descriptor, this.#at);
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
