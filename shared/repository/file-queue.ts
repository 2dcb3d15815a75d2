// Hands the files of a walk to the crew: large ones one by one, small ones in batches that share chunks.
import type { PackCrew } from "./pack-crew.ts";
import { readLargeFile } from "./file-content.ts";
import type { FileRead, FileToRead } from "./pack-worker-messages.ts";
import { smallFileBytes } from "./small-file-reader.ts";
import type { SourceFile } from "./snapshot.ts";
import type { SnapshotTally } from "./snapshot-tally.ts";

/** A batch of small files ends after a name that says so, or at these. */
const usualBatchBytes = 4 * 1024 * 1024;
const maxBatchBytes = 16 * 1024 * 1024;
const maxBatchFiles = 2048;

type Receive = (read: FileRead) => void;

export class FileQueue {
  readonly #crew: PackCrew;
  readonly #tally: SnapshotTally;
  #batch: { file: SourceFile; receive: Receive }[] = [];
  #batchBytes = 0;

  constructor(crew: PackCrew, tally: SnapshotTally) {
    this.#crew = crew;
    this.#tally = tally;
  }

  /** Resolves when the next file may come; `receive` gets what was read, by then or later. */
  async add(file: SourceFile, sortKey: Buffer, receive: Receive): Promise<void> {
    if (file.sizeBytes < smallFileBytes) {
      this.#batch.push({ file, receive });
      this.#batchBytes += file.sizeBytes;
      if (this.#batchEnds(sortKey)) this.flush();
      return;
    }
    // Tasks of a large file wait here, so that no more of them than there are workers pile up.
    while (this.#crew.isBusy) await this.#crew.progress();
    this.#crew.follow(readLargeFile(this.#crew, toRead(file), this.#tally).then(receive));
  }

  /** Sends the batch, however small. */
  flush(): void {
    const batch = this.#batch;
    if (batch.length === 0) return;
    this.#batch = [];
    this.#batchBytes = 0;
    const files = batch.map(({ file }) => toRead(file));
    this.#crew.follow(
      this.#crew.run({ kind: "small-files", files }).then((result) => {
        this.#tally.totals.newBytes += result.newBytes;
        for (const [at, { receive }] of batch.entries()) {
          const read = result.files[at];
          if (read === undefined) throw new TypeError("a pack worker left a file out");
          this.#tally.countRead(read.sizeBytes);
          receive(read);
        }
      }),
    );
  }

  /**
   * The name decides, not the moment: read again without a cache, the same files share the same chunks. The batch
   * is long enough that its last, shorter chunk weighs little.
   */
  #batchEnds(sortKey: Buffer): boolean {
    if (this.#batchBytes >= maxBatchBytes || this.#batch.length >= maxBatchFiles) return true;
    return this.#batchBytes >= usualBatchBytes && (sortKey.at(-1) ?? 0) % 4 === 0;
  }
}

function toRead({ path, sizeBytes, mtimeNs, ctimeNs, inode }: SourceFile): FileToRead {
  return { path: path.toString("latin1"), sizeBytes, mtimeNs, ctimeNs, inode };
}
