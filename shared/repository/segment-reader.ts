// Reads one stretch of a large file into chunks.
import { ExtentList } from "./extent-records.ts";
import type { ChunkSink } from "./chunk-sink.ts";
import { checkOpened, closeFile, describeRead, isUnchanged, openFile, readFully, statOpened } from "./file-reading.ts";
import type { FileRead, FileToRead } from "./pack-worker-messages.ts";

/** `buffer` holds at least two of the largest chunks. Throws what the file system throws, SKEP_NOT_THIS_FILE among it. */
export async function readSegment(
  file: FileToRead,
  start: number,
  end: number,
  buffer: Buffer,
  sink: ChunkSink,
): Promise<FileRead> {
  const descriptor = openFile(file);
  try {
    const before = statOpened(descriptor);
    checkOpened(descriptor, file, before);
    const limit = Math.min(end, Number(before.size));
    const extents = new ExtentList();
    let position = start;
    let held = 0;
    for (let isEnd = position >= limit; !isEnd;) {
      const wanted = Math.min(buffer.length - held, limit - position);
      const got = readFully(descriptor, buffer, held, wanted, position);
      position += got;
      held += got;
      isEnd = got < wanted || position >= limit;
      const at = await sink.storeCut(buffer, 0, held, isEnd, extents);
      buffer.copyWithin(0, at, held);
      held -= at;
    }
    const after = statOpened(descriptor);
    const steady = isUnchanged({ ...describeRead(before, Number(before.size), true) }, after);
    return {
      ...describeRead(after, Math.max(0, position - start), steady),
      extents: extents.take(),
      contentDigest: null,
    };
  } finally {
    closeFile(descriptor);
  }
}
