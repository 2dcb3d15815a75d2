// Skep as a process of its own for the benchmark: `init DIR`, `backup DIR SOURCE [force]`, `restore DIR TARGET`. With
// `force` no file counts as unchanged. The last line on stdout is JSON of what it measured.
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { walkVolume } from "../../agent/source/volume.ts";
import { writeTree } from "../../agent/tree-writer.ts";
import { ChunkCache } from "../../shared/repository/chunk-cache.ts";
import { createRepository, type CreatedRepository } from "../../shared/repository/create.ts";
import { deriveWriterKey, deriveWriterKeys } from "../../shared/repository/keys.ts";
import { newRunId } from "../../shared/repository/layout.ts";
import { collectRestoreKeys } from "../../shared/repository/open/file-keys.ts";
import { openAsOperator } from "../../shared/repository/open/operator.ts";
import { openSnapshot } from "../../shared/repository/open/snapshot-reader.ts";
import { writeSnapshot } from "../../shared/repository/snapshot-writer.ts";
import type { SnapshotResult } from "../../shared/repository/snapshot.ts";
import { openDirectory } from "../../shared/store/directory.ts";

const [command = "", folder = "", tree = "", force = ""] = process.argv.slice(2);
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

mkdirSync(storePath, { recursive: true });
const store = openDirectory(storePath);

async function backUp(): Promise<object> {
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
    volumeIdentity: force,
    entries: walkVolume(tree, [], new AbortController().signal).entries,
    cache,
    signal: new AbortController().signal,
    maxBytesPerSecond: 0,
    now: Date.now,
  });
  cache.close();
  writeState(state);
  return state.last.totals;
}

async function restore(): Promise<object> {
  const { made, last } = readState();
  if (last === null) throw new Error("nothing was backed up");
  const operator = await openAsOperator(store, made.identityFile);
  const part = { name: "bench", nodeId: writerId, epoch: 1, manifest: last.manifest, refs: last.refs };
  const keys = await collectRestoreKeys(store, operator, part);
  const { repositoryId } = made.repositoryObject;
  const snapshot = await openSnapshot({ store, repositoryId, writerId, ...part, keys });
  const source = { entries: snapshot.entries(), pieces: snapshot.pieces.bind(snapshot) };
  const { files } = await writeTree(tree, source, new AbortController().signal, () => undefined);
  snapshot.close();
  return { files };
}

let measured: object = {};
if (command === "init") {
  writeState({ made: await createRepository({ store, operatorName: "bench", now: Date.now() }), last: null });
} else if (command === "backup") measured = await backUp();
else if (command === "restore") measured = await restore();
else throw new Error(`unknown command ${command}`);
await store.close();
process.stdout.write(`${JSON.stringify({ ...measured, peakBytes: process.resourceUsage().maxRSS * 1024 })}\n`);
