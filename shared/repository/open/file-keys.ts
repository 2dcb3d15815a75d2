// Collects what an agent needs to restore one part, and no more: the age file keys of the manifest and of the packs
// that its refs name. Reads only the headers of those packs. The identity stays here.
import { SkepError } from "../../errors.ts";
import type { RestoreKeys } from "../../contract/job.ts";
import type { Store } from "../../store/store.ts";
import type { Part, StoredObject } from "../run.ts";
import { layout } from "../layout.ts";
import type { PackRef } from "../refs.ts";
import { getChecked } from "../stored-object.ts";
import { findHeaderEnd, openAgeHeader } from "./age.ts";
import type { PackKeys } from "./chunk-places.ts";
import type { Operator } from "./operator.ts";
import { readRefs } from "./refs-reader.ts";

const parallelReads = 16;
/** A root names some thousand extents. */
export const maxManifestRootBytes = 64 * 1024 * 1024;

/** What opens one snapshot: all packs' keys beforehand, or each when it is needed. */
export type SnapshotKeys = Omit<RestoreKeys, "packs"> & { packs: PackKeys };

export type RestorablePart = Pick<Part, "nodeId" | "epoch" | "manifest" | "refs" | "name">;

/**
 * Throws SKEP_PART_NOT_RESTORABLE where the part has no snapshot, SKEP_OBJECT_MISSING, SKEP_OBJECT_DAMAGED,
 * SKEP_IDENTITY_DOES_NOT_FIT, SKEP_AGE_INVALID, and what the refs throw.
 */
export async function collectRestoreKeys(
  store: Store,
  operator: Operator,
  part: RestorablePart,
  signal?: AbortSignal,
): Promise<RestoreKeys> {
  const { manifest, refs, epoch } = part;
  if (manifest === undefined || refs === undefined || epoch === undefined) throw notRestorable(part);
  const keys = operator.writerKeys(part.nodeId);
  const { repositoryId } = operator.repositoryObject;
  const place = { store, repositoryId, writerId: part.nodeId, sealKey: keys.seal };
  const packs: RestoreKeys["packs"] = {};
  const { packs: named } = await readRefs(place, refs, signal);
  const pending = named[Symbol.asyncIterator]();
  const failure = new AbortController();
  const stop = signal === undefined ? failure.signal : AbortSignal.any([signal, failure.signal]);
  const readHeaders = async (): Promise<void> => {
    try {
      for (let next = await pending.next(); next.done !== true; next = await pending.next()) {
        const fileKey = await readPackKey(store, operator, next.value, stop);
        packs[next.value.pack] = Buffer.from(fileKey).toString("base64");
      }
    } catch (error) {
      failure.abort(error);
      throw error;
    }
  };
  await Promise.all(Array.from({ length: parallelReads }, readHeaders));
  return {
    manifest: Buffer.from(await readManifestKey(store, operator, manifest, epoch, signal)).toString("base64"),
    packs,
    chunkNameKey: Buffer.from(keys.chunkName).toString("base64"),
    sealKey: Buffer.from(keys.seal).toString("base64"),
  };
}

/**
 * For a reader that has the identity itself and wants part of a snapshot: each pack's header is read when the pack is
 * first needed. Throws as collectRestoreKeys does.
 */
export async function snapshotKeys(
  store: Store,
  operator: Operator,
  part: RestorablePart,
  signal?: AbortSignal,
): Promise<SnapshotKeys> {
  const { manifest, epoch } = part;
  if (manifest === undefined || epoch === undefined) throw notRestorable(part);
  const { chunkName, seal } = operator.writerKeys(part.nodeId);
  return {
    manifest: Buffer.from(await readManifestKey(store, operator, manifest, epoch, signal)).toString("base64"),
    packs: (pack) => readPackKey(store, operator, pack, signal),
    chunkNameKey: Buffer.from(chunkName).toString("base64"),
    sealKey: Buffer.from(seal).toString("base64"),
  };
}

function notRestorable({ name }: RestorablePart): SkepError {
  return new SkepError({
    code: "SKEP_PART_NOT_RESTORABLE",
    message: `${name} has no snapshot in this run`,
    permanent: true,
    hint: "`skep runs` lists other runs; `skep show RUN` says why this one has none",
  });
}

async function readPackKey(
  store: Store,
  operator: Operator,
  pack: Omit<PackRef, "chunks">,
  signal: AbortSignal | undefined,
): Promise<Uint8Array> {
  const key = layout.pack(pack.pack);
  const place = `${key} at ${store.address}`;
  const header = await store.getRange(key, 0, pack.headerBytes, signal);
  if (header === null) {
    throw new SkepError({
      code: "SKEP_OBJECT_MISSING",
      message: `${place} is missing`,
      permanent: true,
      hint: "it was deleted: look for it in the store's former versions; `skep check` tells what else it hurts",
    });
  }
  return await openAgeHeader(header, [await operator.epochIdentity(pack.epoch)], place);
}

async function readManifestKey(
  store: Store,
  operator: Operator,
  manifest: StoredObject,
  epoch: number,
  signal: AbortSignal | undefined,
): Promise<Uint8Array> {
  const place = `${manifest.key} at ${store.address}`;
  const file = await getChecked(store, manifest, maxManifestRootBytes, signal);
  const header = file.subarray(0, findHeaderEnd(file) ?? 0);
  return await openAgeHeader(header, [await operator.epochIdentity(epoch)], place);
}
