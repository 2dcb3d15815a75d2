// Gets the content of one file read by the crew: small ones in batches, large ones in stretches that several workers
// take at once. A file that changes while it is read is read once more.
import { joinExtentRecords } from "./extent-records.ts";
import type { PackCrew } from "./pack-crew.ts";
import type { FileRead, FileToRead } from "./pack-worker-messages.ts";

/** Large files are cut here whatever their content, so that all workers can read one. */
const segmentBytes = 128 * 1024 * 1024;

export interface ReadTotals {
  newBytes: number;
}

/** Reads it whole, all stretches at one state of the file; `steady` is false where two attempts saw it change. */
export async function readLargeFile(crew: PackCrew, file: FileToRead, totals: ReadTotals): Promise<FileRead> {
  const first = await readStretches(crew, file, totals);
  if (first.fault !== null || first.steady) return first;
  return await readStretches(crew, file, totals);
}

async function readStretches(crew: PackCrew, file: FileToRead, totals: ReadTotals): Promise<FileRead> {
  const stretches = Math.max(1, Math.ceil(file.sizeBytes / segmentBytes));
  const reads: FileRead[] = [];
  const running: Promise<void>[] = [];
  for (let stretch = 0; stretch < stretches; stretch++) {
    while (stretch > 0 && crew.isBusy) await crew.progress();
    const start = stretch * segmentBytes;
    // The last one takes what was added since the walk.
    const end = stretch === stretches - 1 ? Number.MAX_SAFE_INTEGER : start + segmentBytes;
    running.push(
      crew.run({ kind: "segment", file, start, end }).then((result) => {
        totals.newBytes += result.newBytes;
        const [read] = result.files;
        if (read !== undefined) reads[stretch] = read;
      }),
    );
  }
  await Promise.all(running);
  return joinStretches(reads);
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
