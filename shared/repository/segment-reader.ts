// Reads one stretch of a large file into chunks. Holes are not read: the chunks are cut out of the data as if there
// were none, and the holes are put between their extents.
import { findData, findHole } from "../system-calls.ts";
import type { ChunkSink } from "./chunk-sink.ts";
import { ExtentList, insertHoles, type Hole } from "./extent-records.ts";
import { checkOpened, closeFile, describeRead, isUnchanged, openFile, readFully, statOpened } from "./file-reading.ts";
import type { FileRead, FileToRead } from "./pack-worker-messages.ts";

/** A shorter hole is read as zero bytes: an extent costs some hundred bytes of manifest. */
export const minHoleBytes = 64 * 1024;

/** `buffer` holds at least two of the largest chunks. `count` is told of bytes as they are behind it. Throws what the file system throws, SKEP_NOT_THIS_FILE among it. */
export async function readSegment(
  file: FileToRead,
  start: number,
  end: number,
  buffer: Buffer,
  sink: ChunkSink,
  count: (bytes: number) => void = () => undefined,
): Promise<FileRead> {
  const descriptor = openFile(file);
  try {
    const before = statOpened(descriptor);
    checkOpened(descriptor, file, before);
    const limit = Math.min(end, Number(before.size));
    // st_blocks counts 512 bytes each (stat(2)).
    const ranges = before.blocks * 512n < before.size ? dataRanges(descriptor, start, limit) : [{ start, end: limit }];
    const extents = new ExtentList();
    const holes: Hole[] = [];
    let position = start;
    let countedTo = start;
    let dataBytes = 0;
    let held = 0;
    let isCut = false;
    for (const range of ranges) {
      if (range.start > position) holes.push({ after: dataBytes, lengthBytes: range.start - position });
      position = range.start;
      while (position < range.end && !isCut) {
        const wanted = Math.min(buffer.length - held, range.end - position);
        const got = readFully(descriptor, buffer, held, wanted, position);
        isCut = got < wanted;
        position += got;
        dataBytes += got;
        held += got;
        if (held < buffer.length) continue;
        const at = await sink.storeCut(buffer, 0, held, false, extents);
        buffer.copyWithin(0, at, held);
        held -= at;
        count(position - countedTo);
        countedTo = position;
      }
      if (isCut) break;
    }
    await sink.storeCut(buffer, 0, held, true, extents);
    if (!isCut && position < limit) {
      holes.push({ after: dataBytes, lengthBytes: limit - position });
      position = limit;
    }
    const after = statOpened(descriptor);
    const steady = isUnchanged({ ...describeRead(before, Number(before.size), true) }, after);
    return {
      ...describeRead(after, Math.max(0, position - start), steady),
      extents: insertHoles(extents.take(), holes),
      contentDigest: null,
    };
  } finally {
    closeFile(descriptor);
  }
}

/** Where [start, end) has data, in order, with the short holes between. */
function* dataRanges(descriptor: number, start: number, end: number): Generator<{ start: number; end: number }> {
  const dataFrom = (offset: number): number =>
    Math.min(offset < end ? (findData(descriptor, offset) ?? end) : end, end);
  let from = dataFrom(start);
  if (from - start < minHoleBytes) from = start;
  while (from < end) {
    let to = from;
    let next = from;
    do {
      // Null: it became shorter meanwhile, which reading finds.
      to = Math.min(findHole(descriptor, next) ?? end, end);
      next = dataFrom(to);
    } while (next < end && next - to < minHoleBytes);
    yield { start: from, end: to };
    from = next;
  }
}
