// Takes an image as the engine saves it, straight into a snapshot of one file. An image never changes under its id: one
// whose chunks are known is not asked of the engine again.
import type { TaskOf } from "../shared/contract/job.ts";
import type { TaskResultOf } from "../shared/contract/task-result.ts";
import { SkepError } from "../shared/errors.ts";
import { parseReference, registryOf } from "../shared/image-reference.ts";
import { imageFile } from "../shared/repository/image-file.ts";
import type { ImageFacts, Part } from "../shared/repository/run.ts";
import type { SourceEntries } from "../shared/repository/snapshot.ts";
import { writeSnapshot } from "../shared/repository/snapshot-writer.ts";
import type { AgentContext, Attempt } from "./context.ts";
import { openNodeCache } from "./node-cache.ts";
import { cutWarnings, partOf } from "./part.ts";

/** A registry that answers at all answers within it. */
const askTimeoutMs = 20_000;
/** A tar ends with two blocks of zeros (POSIX.1, pax). */
const tarEndBytes = 1024;

/** A part without content where `unlessPullable` and a registry gives the image. Throws SKEP_SOURCE_IMAGE_GONE, SKEP_SOURCE_IMAGE_TORN. */
export async function backupImage(
  task: TaskOf<"image">,
  context: AgentContext,
  attempt: Attempt,
): Promise<TaskResultOf<"image">> {
  const startedAt = new Date();
  const { docker, store, writerKeys, writerId, epoch, repositoryId } = context;
  const { imageId, names, runId, maxBytesPerSecond, unlessPullable } = task;
  const image = await docker.image(imageId, attempt.signal);
  if (image === null) throw gone(imageId, names);
  const info = await docker.info(attempt.signal);
  const subject = { kind: "image", name: names[0] ?? imageId, hostname: info.Name } as const;
  const facts: ImageFacts = {
    id: imageId,
    names: [...new Set([...names, ...image.RepoTags])].slice(0, 1000),
    digests: image.RepoDigests.slice(0, 1000),
    architecture: image.Architecture,
    os: image.Os,
  };
  const common = (): Part => ({ ...partOf(subject, context, attempt, startedAt), image: facts, status: "done" });
  if (unlessPullable) {
    const isPullable = async (asked: readonly string[]): Promise<boolean> => {
      for (const name of asked) if (await docker.isPullable(name, askTimeoutMs, attempt.signal)) return true;
      return false;
    };
    let all = names.length > 0;
    for (const asked of askedDigests(names, facts.digests)) all &&= await isPullable(asked);
    if (all) return { kind: "image", part: common() };
  }
  const cache = openNodeCache(context);
  try {
    const snapshot = await writeSnapshot({
      ...{ store, repositoryId, writerId, keys: writerKeys, epoch, runId, cache, maxBytesPerSecond },
      ...(task.absentPacks === undefined ? {} : { absentPacks: task.absentPacks }),
      volume: `image ${imageId}`,
      volumeIdentity: imageId,
      entries: entriesOf(savedImage(imageId, context, attempt.signal)),
      signal: attempt.signal,
      onProgress: attempt.onProgress,
      now: () => Date.now(),
    });
    const { warnings, warningsLeftOut, totals, manifest, refs } = snapshot;
    return {
      kind: "image",
      part: { ...common(), ...cutWarnings(warnings, warningsLeftOut), ...{ totals, manifest, refs } },
    };
  } finally {
    cache.close();
  }
}

/**
 * For each repository that `names` name, the digests by which its registry may give the image, which a service can be
 * told to run. None by a name that is an id, and of a registry on the node itself, which is lost with it. Pure.
 */
export function askedDigests(names: readonly string[], digests: readonly string[]): string[][] {
  const repositories = new Set(names.map((name) => parseReference(name)?.repository ?? null));
  return [...repositories].map((repository) =>
    digests.filter((digest) => {
      const reference = parseReference(digest);
      return reference?.repository === repository && !onNode.test(registryOf(reference));
    }),
  );
}

const onNode = /^(?:localhost|127\.[\d.]+|\[::1\])(?::\d+)?$/;

async function* savedImage(imageId: string, { docker }: AgentContext, signal: AbortSignal): AsyncGenerator<Uint8Array> {
  let tail = Buffer.alloc(0);
  let sizeBytes = 0;
  const content = await docker.saveImage(imageId, signal);
  try {
    for await (const piece of content as AsyncIterable<Buffer>) {
      sizeBytes += piece.length;
      tail = Buffer.concat([tail, piece.subarray(-tarEndBytes)]).subarray(-tarEndBytes);
      yield piece;
    }
  } catch (error) {
    signal.throwIfAborted();
    throw error instanceof SkepError ? error : torn(imageId, `${sizeBytes} bytes, then ${String(error)}`, error);
  }
  // An engine that fails half-way writes why into the content, and ends it as if it were whole.
  if (tail.length === tarEndBytes && sizeBytes % 512 === 0 && tail.every((byte) => byte === 0)) return;
  throw torn(imageId, `${sizeBytes} bytes that do not end as a tar does`);
}

function torn(imageId: string, what: string, cause?: unknown): SkepError {
  return new SkepError({
    code: "SKEP_SOURCE_IMAGE_TORN",
    message: `docker gave image ${imageId} only in part: ${what}`,
    permanent: false,
    hint: "`docker save` of it on that node says why; is the engine's disk full?",
    cause,
  });
}

async function* entriesOf(content: AsyncIterable<Uint8Array>): SourceEntries {
  const owner = { uid: 0, gid: 0, mtimeNs: "0" };
  yield { metadata: { path: "", type: "directory", mode: 0o700, ...owner }, file: null };
  await Promise.resolve();
  const metadata = { path: imageFile, type: "file" as const, mode: 0o600, ...owner };
  yield { metadata, file: null, stream: content, streamIsFixed: true };
}

function gone(imageId: string, names: readonly string[]): SkepError {
  return new SkepError({
    code: "SKEP_SOURCE_IMAGE_GONE",
    message: `image ${names[0] ?? ""} (${imageId}) is not on this node any more`,
    permanent: true,
    hint: "was it pruned? The next run takes it from another node that has it",
  });
}
