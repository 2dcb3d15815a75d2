// One repository in a folder, a writer, and the whole way there and back.
import { expect } from "chai";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { ChunkCache } from "../../../shared/repository/chunk-cache.ts";
import { createRepository, type CreatedRepository } from "../../../shared/repository/create.ts";
import { newRunId } from "../../../shared/repository/layout.ts";
import type { ManifestEntry } from "../../../shared/repository/manifest.ts";
import { collectRestoreKeys, type RestorablePart } from "../../../shared/repository/open/file-keys.ts";
import { openAsOperator } from "../../../shared/repository/open/operator.ts";
import { openSnapshot, type Snapshot } from "../../../shared/repository/open/snapshot-reader.ts";
import { writeSnapshot, type SnapshotOptions } from "../../../shared/repository/snapshot-writer.ts";
import type { SnapshotResult } from "../../../shared/repository/snapshot.ts";
import { deriveWriterKey, deriveWriterKeys } from "../../../shared/repository/keys.ts";
import { openDirectory } from "../../../shared/store/directory.ts";
import type { Store } from "../../../shared/store/store.ts";
import { makeScratch } from "./scratch.ts";
import { walk } from "./walk.ts";

export const writerId = "node1";

export interface Place {
  path: string;
  storePath: string;
  /** To be filled by the test. */
  source: string;
  cachePath: string;
  store: Store;
  made: CreatedRepository;
  remove: () => Promise<void>;
}

export async function makePlace(): Promise<Place> {
  const scratch = makeScratch();
  const storePath = join(scratch.path, "store");
  const source = join(scratch.path, "source");
  mkdirSync(storePath);
  mkdirSync(source);
  const store = openDirectory(storePath);
  const made = await createRepository({ store, operatorName: "anna", now: Date.now() });
  return {
    path: scratch.path,
    storePath,
    source,
    cachePath: join(scratch.path, "cache.sqlite"),
    store,
    made,
    remove: async () => {
      await store.close();
      scratch.remove();
    },
  };
}

export function openCache(place: Place, changed: { writerId?: string; incarnation?: number } = {}): ChunkCache {
  const { repositoryId } = place.made.repositoryObject;
  return ChunkCache.open(place.cachePath, { repositoryId, writerId, incarnation: 1, ...changed });
}

/** With the cache of the place, opened and closed, unless one is given. */
export async function backUp(place: Place, changed: Partial<SnapshotOptions> = {}): Promise<SnapshotResult> {
  const { repositoryId, epoch } = place.made.repositoryObject;
  const repositoryKey = Buffer.from(place.made.controllerKey.repositoryKey, "base64");
  const cache = changed.cache ?? openCache(place);
  try {
    return await writeSnapshot({
      store: place.store,
      repositoryId,
      writerId,
      keys: deriveWriterKeys(deriveWriterKey(repositoryKey, repositoryId, writerId), repositoryId),
      epoch,
      runId: newRunId(Date.now()),
      volume: "data",
      volumeIdentity: "1",
      entries: walk(place.source),
      signal: new AbortController().signal,
      maxBytesPerSecond: 0,
      // Files of a test are always fresh; an hour later they count as settled.
      now: () => Date.now() + 3_600_000,
      workers: 2,
      ...changed,
      cache,
    });
  } finally {
    if (changed.cache === undefined) cache.close();
  }
}

export async function openBack(
  place: Place,
  result: Pick<SnapshotResult, "manifest" | "refs">,
  signal?: AbortSignal,
  writer = writerId,
): Promise<Snapshot> {
  const operator = await openAsOperator(place.store, place.made.identityFile);
  const { manifest, refs } = result;
  const part: RestorablePart = { name: "host/data", nodeId: writer, epoch: 1, manifest, refs };
  const keys = await collectRestoreKeys(place.store, operator, part);
  const { repositoryId } = operator.repositoryObject;
  return await openSnapshot({
    store: place.store,
    repositoryId,
    writerId: writer,
    manifest,
    refs,
    keys,
    ...(signal && { signal }),
  });
}

export type Tree = Map<string, Omit<ManifestEntry, "extents" | "moreLines"> & { content?: Buffer }>;

/** The whole tree in memory; paths as latin1. */
export async function readBack(
  place: Place,
  result: Pick<SnapshotResult, "manifest" | "refs">,
  writer = writerId,
): Promise<Tree> {
  const snapshot = await openBack(place, result, undefined, writer);
  try {
    const tree: Tree = new Map();
    for await (const entry of snapshot.entries()) {
      const { path, pathBase64, extents, nextLineAt, moreLines, ...rest } = entry;
      expect(nextLineAt).to.be.greaterThan(0);
      expect(moreLines).to.be.undefined;
      const key = path === undefined ? Buffer.from(pathBase64 ?? "", "base64") : Buffer.from(path, "utf8");
      const content =
        extents === undefined ? {} : { content: Buffer.concat(await Array.fromAsync(snapshot.content(entry))) };
      tree.set(key.toString("latin1"), { ...rest, ...content });
    }
    return tree;
  } finally {
    snapshot.close();
  }
}
