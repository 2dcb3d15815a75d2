// An image out of its snapshot, as `docker load` takes it.
import { SkepError } from "../../errors.ts";
import { imageFile } from "../image-file.ts";
import type { Snapshot, SnapshotEntry } from "./snapshot-reader.ts";

/** What `docker save` gave. `place`: of the manifest. Throws SKEP_RESTORE_IMAGE where it is the snapshot of something else. */
export async function imageEntry(snapshot: Snapshot, place: string): Promise<SnapshotEntry> {
  let found: SnapshotEntry | null = null;
  // To its end: only then all of it was checked.
  for await (const entry of snapshot.entries()) if (entry.path === imageFile) found = entry;
  if (found !== null) return found;
  throw new SkepError({
    code: "SKEP_RESTORE_IMAGE",
    message: `${place} is the snapshot of something else than an image`,
    permanent: true,
    hint: "load the image from elsewhere: docker load",
  });
}

/** `onBytes`: how many there were so far. */
export async function* imageContent(
  snapshot: Snapshot,
  entry: SnapshotEntry,
  onBytes: (doneBytes: number) => void,
): AsyncGenerator<Uint8Array> {
  let done = 0;
  for await (const bytes of snapshot.content(entry)) {
    done += bytes.length;
    onBytes(done);
    yield bytes;
  }
}
