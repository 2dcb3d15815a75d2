// Gives this node's engine an image of a run: from the store through this process into the engine, on no disk but its own.
import { Readable } from "node:stream";
import type { RestoreKeys, TaskOf } from "../shared/contract/job.ts";
import type { TaskResultOf } from "../shared/contract/task-result.ts";
import { SkepError } from "../shared/errors.ts";
import { imageContent, imageEntry } from "../shared/repository/open/image-content.ts";
import { openSnapshot, type SnapshotEntry } from "../shared/repository/open/snapshot-reader.ts";
import type { AgentContext, Attempt } from "./context.ts";
import { withoutLayersThere } from "./image-layers.ts";

/** Throws SKEP_RESTORE_IMAGE where the content is no image, SKEP_RESTORE_KEYS_MISSING, and what store and engine throw. */
export async function restoreImage(
  task: TaskOf<"restore-image">,
  context: AgentContext,
  keys: RestoreKeys | null,
  attempt: Attempt,
): Promise<TaskResultOf<"restore-image">> {
  const { docker, store, repositoryId } = context;
  const { image, manifest, refs, writerId, sourceBytes } = task;
  const { signal } = attempt;
  const present = await docker.image(image.id, signal);
  if (present !== null) return { kind: "restore-image", id: image.id, present: true };
  if (keys === null) {
    throw new SkepError({
      code: "SKEP_RESTORE_KEYS_MISSING",
      message: `image ${image.id} can't be opened without its keys`,
      permanent: true,
      hint: "an image comes back over standard input alone: `skep recover run`, `skep restore image`",
    });
  }
  const snapshot = await openSnapshot({ store, repositoryId, writerId, manifest, refs, keys, signal });
  try {
    const entry = await imageEntry(snapshot, manifest.key);
    const load = (part: SnapshotEntry): Promise<string[]> => {
      const leftOut = (entry.sizeBytes ?? 0) - (part.sizeBytes ?? 0);
      const content = imageContent(snapshot, part, (doneBytes) => {
        attempt.onProgress({ phase: "load", doneBytes: leftOut + doneBytes, totalBytes: sourceBytes, doneFiles: 0 });
      });
      return docker.loadImage(Readable.from(content, { objectMode: false }), signal);
    };
    const names = await loadWhatIsMissing(load, entry, await withoutLayersThere(snapshot, entry, docker, signal));
    for (const name of names) {
      const found = await docker.image(name, signal);
      if (found !== null) return { kind: "restore-image", id: found.Id, present: false };
    }
    throw notAnImage(task, `docker said that it loaded ${names.join(", ")}, and has none of these`);
  } finally {
    snapshot.close();
  }
}

/** `missing`: without the layers that were there a moment ago; null where that is all of it. */
async function loadWhatIsMissing(
  load: (part: SnapshotEntry) => Promise<string[]>,
  whole: SnapshotEntry,
  missing: SnapshotEntry | null,
): Promise<string[]> {
  if (missing === null) return await load(whole);
  try {
    return await load(missing);
  } catch (error) {
    // An image was removed meanwhile, or the engine wants its layers after all.
    if (!(error instanceof SkepError) || error.code !== "SKEP_DOCKER_FAILED") throw error;
    return await load(whole);
  }
}

function notAnImage({ image, manifest }: TaskOf<"restore-image">, why: string): SkepError {
  return new SkepError({
    code: "SKEP_RESTORE_IMAGE",
    message: `${manifest.key} does not give image ${image.id}: ${why}`,
    permanent: true,
    hint: "load the image from elsewhere: docker load",
  });
}
