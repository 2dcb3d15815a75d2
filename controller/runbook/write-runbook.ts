// The runbook as a part of its run: one archive with the text, the reader and the lists of what each volume needs, sealed to
// the epoch's recipient like every other. It is written when all other parts are known and before the run object.
import { readFile } from "node:fs/promises";
import { writeArchive, type ArchiveFile } from "../../shared/repository/archive-writer.ts";
import { layout, newObjectId } from "../../shared/repository/layout.ts";
import type { NewRun } from "../../shared/repository/run-chain.ts";
import type { Part } from "../../shared/repository/run.ts";
import type { RepositoryObject } from "../../shared/repository/repository-object.ts";
import type { StoreLocation } from "../../shared/store/location.ts";
import type { Store } from "../../shared/store/store.ts";
import { readingPlace } from "./fetch-script.ts";
import { readerName, renderRunbook } from "./runbook-text.ts";

export const runbookName = "RUNBOOK.md";
const readerPath = new URL(`./${readerName}`, import.meta.url);
/** Who wrote it, where an agent's node id stands in other parts. */
export const runbookWriter = "controller";
/** Packs that are listed, all volumes together: 70 bytes each. A larger run's are fetched all. */
const listedPacks = 200_000;

export interface RunbookOptions {
  store: Store;
  location: StoreLocation;
  repository: RepositoryObject;
  /** By key of a part's refs: the packs that it needs. */
  packs: ReadonlyMap<string, readonly string[]>;
  /** ms since 1970. */
  now: number;
}

/** The run with its runbook as the last part; as it is where there is nothing to restore. Throws what the store throws. */
export async function withRunbook(run: NewRun, options: RunbookOptions): Promise<NewRun> {
  const { store, repository, now } = options;
  const place = readingPlace(options.location);
  const restorable = run.parts.some(({ archive, manifest }) => archive !== undefined || manifest !== undefined);
  if (place === null || !restorable) return run;
  const id = newObjectId();
  const ownKey = layout.archive(run.id, id);
  const lists = listsOf(run.parts, options.packs);
  const text = renderRunbook({
    ...{ run, place, ownKey, repositoryId: repository.repositoryId },
    epoch: { number: repository.epoch.number, keyVersion: repository.epochKeyVersion },
    lists: new Map([...lists].map(([part, { path }]) => [part, path])),
  });
  const file = (path: string, content: Uint8Array): ArchiveFile => ({
    ...{ path, mode: 0o600, mtimeMs: now, sizeBytes: content.length, content },
  });
  const files = [
    file(runbookName, Buffer.from(text)),
    file(readerName, await readFile(readerPath)),
    ...[...lists.values()].map(({ path, keys }) => file(path, Buffer.from(`${keys.join("\n")}\n`))),
  ];
  const { archive, sourceBytes } = await writeArchive({
    ...{ store, runId: run.id, epoch: repository.epoch, files, id },
  });
  const storedBytes = archive.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
  const at = new Date(now).toISOString();
  const part: Part = {
    ...{ kind: "runbook", name: "runbook", nodeId: runbookWriter, hostname: "", status: "done" },
    ...{ startedAt: at, endedAt: at, attempt: 1, warnings: [], warningsLeftOut: 0, epoch: repository.epoch.number },
    totals: { files: files.length, directories: 0, others: 0, sourceBytes, newBytes: sourceBytes, storedBytes },
    archive,
  };
  return { ...run, parts: [...run.parts, part] };
}

/** For each volume a file with the keys of its manifest and packs, while there are not too many. */
function listsOf(parts: readonly Part[], packs: RunbookOptions["packs"]): Map<Part, { path: string; keys: string[] }> {
  const lists = new Map<Part, { path: string; keys: string[] }>();
  let listed = 0;
  for (const part of parts) {
    const { manifest, refs } = part;
    const needed = refs === undefined ? undefined : packs.get(refs.key);
    if (manifest === undefined || needed === undefined) continue;
    listed += needed.length;
    if (listed > listedPacks) break;
    const path = `objects/${String(lists.size + 1).padStart(4, "0")}.txt`;
    lists.set(part, { path, keys: [manifest.key, ...needed.map((pack) => layout.pack(pack))] });
  }
  return lists;
}
