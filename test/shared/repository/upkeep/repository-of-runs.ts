// A repository with runs of one volume of each node, and what looks after it.
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { commitRun } from "../../../../controller/commit.ts";
import { childId, concludeRun, type NodeFacts, type Outcome } from "../../../../controller/run-plan.ts";
import { catalogueOfController, type Catalogue } from "../../../../shared/repository/catalogue.ts";
import { newestUpkeep } from "../../../../shared/repository/chain.ts";
import { ChunkCache } from "../../../../shared/repository/chunk-cache.ts";
import type { CreatedRepository } from "../../../../shared/repository/create.ts";
import { deriveWriterKey, deriveWriterKeys, type WriterKeys } from "../../../../shared/repository/keys.ts";
import { newRunId } from "../../../../shared/repository/layout.ts";
import { appendRun, readRuns } from "../../../../shared/repository/run-chain.ts";
import type { Part, Run } from "../../../../shared/repository/run.ts";
import type { SnapshotResult } from "../../../../shared/repository/snapshot.ts";
import { writeSnapshot } from "../../../../shared/repository/snapshot-writer.ts";
import { absentPacksOf } from "../../../../shared/repository/upkeep/absent-packs.ts";
import type { Appender } from "../../../../shared/repository/upkeep/append-upkeep.ts";
import { fenceAt } from "../../../../shared/repository/upkeep/prune-plan.ts";
import type { PruneOptions } from "../../../../shared/repository/upkeep/prune.ts";
import type { CatalogueKeys } from "../../../../shared/repository/upkeep/refs-lines.ts";
import { readStoreClock } from "../../../../shared/store/clock.ts";
import type { Store } from "../../../../shared/store/store.ts";
import { readBack, type Place } from "../snapshots.ts";
import { walk } from "../walk.ts";

export interface Node {
  id: string;
  source: string;
  cachePath: string;
}

/** What of a place these functions need. */
export interface Home {
  store: Store;
  made: Pick<CreatedRepository, "controllerKey" | "repositoryObject">;
}

export function makeNode(place: Pick<Place, "path">, id: string): Node {
  const source = join(place.path, `source-${id}`);
  mkdirSync(source, { recursive: true });
  return { id, source, cachePath: join(place.path, `cache-${id}.sqlite`) };
}

export function appenderOf({ store, made }: Home): Appender {
  return { store, key: made.controllerKey, incarnation: 1 };
}

export function catalogueOf({ store, made }: Home): Catalogue {
  return catalogueOfController(store, made.controllerKey, []);
}

export function writerKeysOf({ made }: Home, writerId: string): WriterKeys {
  const { repositoryId, repositoryKey } = made.controllerKey;
  return deriveWriterKeys(deriveWriterKey(Buffer.from(repositoryKey, "base64"), repositoryId, writerId), repositoryId);
}

export function keysOf(home: Home): CatalogueKeys {
  const { repositoryId } = home.made.controllerKey;
  return { store: home.store, repositoryId, sealKeyOf: (writerId) => writerKeysOf(home, writerId).seal };
}

/** All at once unless told otherwise. */
export function pruneOptions(home: Home, terms: Partial<PruneOptions["terms"]> = {}): PruneOptions {
  return {
    ...appenderOf(home),
    keys: keysOf(home),
    terms: { graceMs: 0, sparseShare: 0.5, retireBytes: 1 << 30, ...terms },
    exclusive: false,
    signal: new AbortController().signal,
  };
}

/** What an agent does: the node's snapshot, which no run names yet. */
export async function takeSnapshot(
  home: Home,
  node: Node,
  runId: string,
  absentPacks: readonly string[] = [],
): Promise<SnapshotResult> {
  const { repositoryId, epoch } = home.made.repositoryObject;
  const cache = ChunkCache.open(node.cachePath, { repositoryId, writerId: node.id, incarnation: 1 });
  try {
    return await writeSnapshot({
      store: home.store,
      repositoryId,
      writerId: node.id,
      keys: writerKeysOf(home, node.id),
      epoch,
      runId,
      volume: "data",
      volumeIdentity: "1",
      entries: walk(node.source),
      cache,
      signal: new AbortController().signal,
      maxBytesPerSecond: 0,
      // Files of a test are always fresh; an hour later they count as settled.
      now: () => Date.now() + 3_600_000,
      workers: 1,
      absentPacks,
    });
  } finally {
    cache.close();
  }
}

/** What a controller does with what the agents said. */
export async function commit(
  home: Home,
  runId: string,
  snapshots: readonly { node: Pick<Node, "id">; result: SnapshotResult }[],
): Promise<Run> {
  const time = new Date().toISOString();
  const volume = { name: "data", driver: "local", options: {}, labels: {}, scope: "local" as const };
  const nodes = new Map<string, { hostname: string; outcome: Outcome<NodeFacts> }>();
  const volumes = new Map<string, Outcome<Part>>();
  for (const { node, result } of snapshots) {
    const base = {
      ...{ nodeId: node.id, hostname: node.id, status: "done" as const, startedAt: time, endedAt: time, attempt: 1 },
      ...{ warnings: [], warningsLeftOut: 0, epoch: 1 },
    };
    const found = [{ facts: volume, sharedId: null, usedBy: [], users: [] }];
    const facts: NodeFacts = {
      kind: "node",
      part: { ...base, kind: "node", name: node.id },
      volumes: found,
      images: [],
      notCovered: [],
    };
    nodes.set(node.id, { hostname: node.id, outcome: { state: "done", result: facts } });
    const { manifest, refs, totals } = result;
    const part: Part = { ...base, kind: "volume", name: `${node.id}/data`, manifest, refs, totals, volume };
    volumes.set(childId(runId, "volume", node.id, "data"), { state: "done", result: part });
  }
  const frame = {
    ...{ id: runId, trigger: "standalone" as const, schedule: null, policyVersion: null },
    ...{ startedAt: time, endedAt: time, skepVersion: "0", warnings: [] },
    select: { include: ["*"], exclude: [] },
  };
  const { store, key, incarnation } = appenderOf(home);
  return await commitRun({
    catalogue: catalogueOf(home),
    keys: keysOf(home),
    repository: home.made.repositoryObject,
    location: { url: store.address },
    runId,
    outcomes: { raft: null, definitions: null, nodes, volumes },
    conclude: (found) => concludeRun(frame, found),
    append: (run, options) => appendRun(store, key, incarnation, run, options),
  });
}

/** A whole run of these nodes, told what a prune retired. */
export async function backUpRun(home: Home, ...nodes: Node[]): Promise<Run> {
  const runId = newRunId(Date.now());
  const upkeep = await newestUpkeep(catalogueOf(home));
  const snapshots: { node: Node; result: SnapshotResult }[] = [];
  for (const node of nodes) {
    const result = await takeSnapshot(home, node, runId, absentPacksOf(upkeep, node.id, 2000));
    snapshots.push({ node, result });
  }
  return await commit(home, runId, snapshots);
}

/** What the run has of that node's volume, read whole with the identity: contents by path. */
export async function restored(place: Place, run: Run, node: Node): Promise<Map<string, Buffer>> {
  const part = run.parts.find(({ kind, nodeId }) => kind === "volume" && nodeId === node.id);
  if (part?.manifest === undefined || part.refs === undefined) throw new Error(`${run.id} has nothing of ${node.id}`);
  const tree = await readBack(place, { manifest: part.manifest, refs: part.refs }, node.id);
  return new Map([...tree].flatMap(([path, { content }]) => (content === undefined ? [] : [[path, content] as const])));
}

/** Newest first. */
export async function runsOf(home: Home): Promise<Run[]> {
  const runs: Run[] = [];
  for await (const { run, chain } of readRuns(catalogueOf(home))) {
    if (chain === "broken") throw new Error(`what is before run ${run.id} is missing`);
    runs.push(run);
  }
  return runs;
}

export async function keysUnder(store: Store, prefix: string): Promise<string[]> {
  return await Array.fromAsync(store.list(prefix), ({ key }) => key);
}

/** S3's clock tells whole seconds, its listing milliseconds: for up to a second what was just put is of the future. */
export async function untilAllIsPast(store: Store): Promise<void> {
  const storedAt = await Array.fromAsync(store.list("packs/"), (object) => Date.parse(object.storedAt));
  while ((await readStoreClock(store)) < Math.max(...storedAt)) await sleep(100);
}

/** Ids tell whole seconds, and a prune gives up nothing of a run that began in the second of its own. */
export async function untilLaterRunsHaveLaterIds({ id }: Run): Promise<void> {
  while (fenceAt(Date.now()) <= id) await sleep(20);
}
