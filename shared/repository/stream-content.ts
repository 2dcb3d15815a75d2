// The content of a stream, cut and stored as it comes, never staged: on the crew's first worker, in the place where the
// manifest's lines go afterwards. So it is read to its end before any of those is sent.
import type { PackCrew } from "./pack-crew.ts";
import type { ReadTally } from "./file-content.ts";

/** Extent records, and how long it was. Throws what the stream throws: then nothing of it counts. */
export async function readStream(
  crew: PackCrew,
  stream: AsyncIterable<Uint8Array>,
  tally: ReadTally,
): Promise<{ extents: Uint8Array; sizeBytes: number }> {
  let sizeBytes = 0;
  for await (const bytes of stream) {
    sizeBytes += bytes.length;
    // The worker takes the buffer's memory: a copy of its own.
    const { newBytes } = await crew.run({ kind: "lines", bytes: Uint8Array.from(bytes) }, true);
    tally.countRead(bytes.length);
    tally.totals.newBytes += newBytes;
  }
  const { lines, newBytes } = await crew.run({ kind: "end-lines" }, true);
  tally.totals.newBytes += newBytes;
  return { extents: lines ?? new Uint8Array(0), sizeBytes };
}
