// An image out of its snapshot, as `docker load` takes it.
import { imageFile } from "../image-file.ts";
import type { Snapshot } from "./snapshot-reader.ts";

/** `onBytes`: how many there were so far. Empty where the snapshot is none of an image. */
export async function* imageContent(
  snapshot: Snapshot,
  onBytes: (doneBytes: number) => void,
): AsyncGenerator<Uint8Array> {
  let done = 0;
  for await (const entry of snapshot.entries()) {
    if (entry.path !== imageFile) continue;
    for await (const bytes of snapshot.content(entry)) {
      done += bytes.length;
      onBytes(done);
      yield bytes;
    }
  }
}
