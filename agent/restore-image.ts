// Gives this node's engine an image of a run: from the store through this process into the engine, on no disk but its own.
import { Readable } from "node:stream";
import type { RestoreKeys, TaskOf, TaskResultOf } from "../shared/contract/job.ts";
import { SkepError } from "../shared/errors.ts";
import { imageContent } from "../shared/repository/open/image-content.ts";
import { openSnapshot } from "../shared/repository/open/snapshot-reader.ts";
import type { AgentContext, Attempt } from "./context.ts";

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
    const names = await docker.loadImage(
      Readable.from(
        imageContent(snapshot, (doneBytes) => {
          attempt.onProgress({ phase: "load", doneBytes, totalBytes: sourceBytes, doneFiles: 0 });
        }),
        { objectMode: false },
      ),
      signal,
    );
    for (const name of names) {
      const found = await docker.image(name, signal);
      if (found !== null) return { kind: "restore-image", id: found.Id, present: false };
    }
    throw notAnImage(task, `docker said that it loaded ${names.join(", ")}, and has none of these`);
  } finally {
    snapshot.close();
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
