// Gets the content of one file read by the crew: small ones in batches, large ones in stretches that several workers
// take at once. A file that changes while it is read is read once more.
import { joinExtentRecords } from "./extent-records.ts";
import type { PackCrew } from "./pack-crew.ts";
import type { FileRead, FileToRead } from "./pack-worker-messages.ts";

/** Large files are cut here whatever their content, so that all workers can read one. */
const segmentBytes = 128 * 1024 * 1024;

export interface ReadTally {
  totals: { newBytes: number };
  /** Bytes of the source that are read; negative: they are not after all. */
  countRead: (bytes: number) => void;
}

/** Reads it whole, all stretches at one state of the file; `steady` is false where two attempts saw it change. */
export async function readLargeFile(crew: PackCrew, file: FileToRead, tally: ReadTally): Promise<FileRead> {
  const first = await readStretches(crew, file, tally);
  if (first.fault !== null || first.steady) return first;
  tally.countRead(-first.sizeBytes);
  return await readStretches(crew, file, tally);
}

/** What is counted in the end is the read's size. */
async function readStretches(crew: PackCrew, file: FileToRead, tally: ReadTally): Promise<FileRead> {
  const stretches = Math.max(1, Math.ceil(file.sizeBytes / segmentBytes));
  const reads: FileRead[] = [];
  const running: Promise<void>[] = [];
  let countedBytes = 0;
  for (let stretch = 0; stretch < stretches; stretch++) {
    while (stretch > 0 && crew.isBusy) await crew.progress();
    const start = stretch * segmentBytes;
    // The last one takes what was added since the walk.
    const end = stretch === stretches - 1 ? Number.MAX_SAFE_INTEGER : start + segmentBytes;
    running.push(
      crew.run({ kind: "segment", file, start, end }).then((result) => {
        tally.totals.newBytes += result.newBytes;
        const [read] = result.files;
        if (read === undefined) return;
        reads[stretch] = read;
        tally.countRead(read.sizeBytes);
        countedBytes += read.sizeBytes;
      }),
    );
  }
  await Promise.all(running);
  const joined = joinStretches(reads);
  tally.countRead(joined.sizeBytes - countedBytes);
  return joined;
}

function joinStretches(reads: readonly FileRead[]): FileRead {
  const [first] = reads;
  if (first === undefined) throw new TypeError("a file has at least one stretch");
  const faulted = reads.find((read) => read.fault !== null);
  if (faulted !== undefined) return faulted;
  const last = reads.at(-1) ?? first;
  const steady = reads.every(
    (read) =>
      read.steady && read.mtimeNs === first.mtimeNs && read.ctimeNs === first.ctimeNs && read.inode === first.inode,
  );
  return {
    ...last,
    sizeBytes: reads.reduce((sum, read) => sum + read.sizeBytes, 0),
    steady,
    extents: joinExtentRecords(reads.map((read) => read.extents)),
  };
}
