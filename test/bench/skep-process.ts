// Skep as a process of its own for the benchmark: `init DIR`, `backup DIR SOURCE [force]`, `restore DIR TARGET`,
// `file DIR TARGET PATH`. With `force` no file counts as unchanged. The store is DIR/store, or the bucket that
// SKEP_BENCH_S3 names. Prints its peak memory.
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { walkVolume } from "../../agent/source/volume.ts";
import { ChunkCache } from "../../shared/repository/chunk-cache.ts";
import { createRepository, type CreatedRepository } from "../../shared/repository/create.ts";
import { deriveWriterKey, deriveWriterKeys } from "../../shared/repository/keys.ts";
import { newRunId } from "../../shared/repository/layout.ts";
import { collectRestoreKeys, snapshotKeys } from "../../shared/repository/open/file-keys.ts";
import { openAsOperator } from "../../shared/repository/open/operator.ts";
import { openSnapshot, type Snapshot } from "../../shared/repository/open/snapshot-reader.ts";
import { entriesBelow } from "../../shared/repository/open/subtree.ts";
import { writeSnapshot } from "../../shared/repository/snapshot-writer.ts";
import type { SnapshotResult } from "../../shared/repository/snapshot.ts";
import { openDirectory } from "../../shared/store/directory.ts";
import type { Store } from "../../shared/store/store.ts";
import { writeTree } from "../../shared/tree/tree-writer.ts";

const [command = "", folder = "", tree = "", last = ""] = process.argv.slice(2);
const storePath = join(folder, "store");
const statePath = join(folder, "state.json");
const writerId = "bench";

interface State {
  made: CreatedRepository;
  last: SnapshotResult | null;
}
const readState = (): State => JSON.parse(readFileSync(statePath, "utf8")) as State;
const writeState = (state: State): void => {
  writeFileSync(statePath, JSON.stringify(state), { mode: 0o600 });
};

async function openBenchStore(): Promise<Store> {
  const text = process.env["SKEP_BENCH_S3"];
  if (text === undefined) {
    mkdirSync(storePath, { recursive: true });
    return openDirectory(storePath);
  }
  const { endpoint, region, bucket } = JSON.parse(text) as Record<"endpoint" | "region" | "bucket", string>;
  const url = `s3://${bucket}/skep-${process.env["ROUND"] ?? ""}`;
  const accessKeyId = process.env["AWS_ACCESS_KEY_ID"] ?? "";
  const secretAccessKey = process.env["AWS_SECRET_ACCESS_KEY"] ?? "";
  // Its client takes long to load.
  const { openStore } = await import("../../shared/store/open.ts");
  return openStore({ url, endpoint, region }, { accessKeyId, secretAccessKey });
}
const store = await openBenchStore();

async function backUp(): Promise<void> {
  const state = readState();
  const { repositoryId, epoch } = state.made.repositoryObject;
  const repositoryKey = Buffer.from(state.made.controllerKey.repositoryKey, "base64");
  const cache = ChunkCache.open(join(folder, "cache.sqlite"), { repositoryId, writerId, incarnation: 1 });
  state.last = await writeSnapshot({
    store,
    repositoryId,
    writerId,
    keys: deriveWriterKeys(deriveWriterKey(repositoryKey, repositoryId, writerId), repositoryId),
    epoch,
    runId: newRunId(Date.now()),
    volume: "bench",
    volumeIdentity: last,
    entries: walkVolume(tree, [], new AbortController().signal).entries,
    cache,
    signal: new AbortController().signal,
    maxBytesPerSecond: 0,
    now: Date.now,
  });
  cache.close();
  writeState(state);
}

async function openLast(onlyPart: boolean): Promise<Snapshot> {
  const { made, last: result } = readState();
  if (result === null) throw new Error("nothing was backed up");
  const operator = await openAsOperator(store, made.identityFile);
  const part = { name: "bench", nodeId: writerId, epoch: 1, manifest: result.manifest, refs: result.refs };
  const keys = await (onlyPart ? snapshotKeys(store, operator, part) : collectRestoreKeys(store, operator, part));
  return await openSnapshot({ store, repositoryId: made.repositoryObject.repositoryId, writerId, ...part, keys });
}

async function restore(): Promise<void> {
  const snapshot = await openLast(false);
  const source = { entries: snapshot.entries(), pieces: snapshot.writablePieces.bind(snapshot) };
  await writeTree(tree, source, new AbortController().signal, () => undefined);
  snapshot.close();
}

async function restoreFile(path: string): Promise<void> {
  const snapshot = await openLast(true);
  for await (const entry of entriesBelow(snapshot, Buffer.from(path))) {
    const content = Buffer.concat(await Array.fromAsync(snapshot.content(entry)));
    writeFileSync(join(tree, basename(path)), content, { mode: entry.mode });
  }
  snapshot.close();
}

if (command === "init") {
  writeState({ made: await createRepository({ store, operatorName: "bench", now: Date.now() }), last: null });
} else if (command === "backup") await backUp();
else if (command === "restore") await restore();
else if (command === "file") await restoreFile(last);
else throw new Error(`unknown command ${command}`);
await store.close();
process.stdout.write(`${JSON.stringify({ peakBytes: process.resourceUsage().maxRSS * 1024 })}\n`);
