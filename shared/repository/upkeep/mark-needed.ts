// Marks what the kept runs need, in a ledger: from the refs of all of them, the packs that are there, and every index.
import { layout } from "../layout.ts";
import type { Catalogue } from "../catalogue.ts";
import type { Run } from "../run.ts";
import { surveyChain, type ChainSurvey } from "./chain-survey.ts";
import { readIndexes } from "./index-objects.ts";
import type { PackLedger } from "./pack-ledger.ts";
import { objectsOfPart } from "./part-objects.ts";
import { openRefs, type CatalogueKeys } from "./refs-lines.ts";

const packsPrefix = "packs/";

export type MarkPhase = "runs" | "packs" | "index";

export interface MarkOptions {
  keys: CatalogueKeys;
  signal: AbortSignal;
  onProgress?: ((phase: MarkPhase, done: number) => void) | undefined;
}

/** Throws what the refs of a kept run throw, and the store. */
export async function markNeeded(
  catalogue: Catalogue,
  ledger: PackLedger,
  { keys, signal, onProgress }: MarkOptions,
): Promise<ChainSurvey> {
  const { store } = keys;
  let runs = 0;
  const survey = await surveyChain(catalogue, {
    signal,
    use: async (run) => {
      await markRun(run, ledger, keys, signal);
      onProgress?.("runs", ++runs);
    },
  });
  let packs = 0;
  for await (const { key, sizeBytes, storedAt } of store.list(packsPrefix, signal)) {
    const pack = key.slice(key.lastIndexOf("/") + 1);
    if (key === layout.pack(pack) && /^[0-9a-f]{64}$/.test(pack)) {
      ledger.addListed(pack, sizeBytes, Date.parse(storedAt));
      if (++packs % 1000 === 0) onProgress?.("packs", packs);
    }
  }
  let indexes = 0;
  for await (const index of readIndexes(keys, signal)) {
    for (const { pack } of index.packs ?? []) ledger.addIndexed(index.writerId, pack);
    onProgress?.("index", ++indexes);
  }
  return survey;
}

/** What the run's refs need, and every object that it names. A failed part's too: it names what it has. */
async function markRun(run: Run, ledger: PackLedger, keys: CatalogueKeys, signal: AbortSignal): Promise<void> {
  for (const part of run.parts) {
    for (const { key } of objectsOfPart(part)) ledger.addObject(key);
    if (part.refs === undefined) continue;
    const { header, lines } = await openRefs(keys, { runId: run.id, writerId: part.nodeId, refs: part.refs }, signal);
    for (const { object } of header.pages) ledger.addObject(layout.refs(run.id, object));
    for await (const { line, place } of lines) ledger.addNeeded(part.nodeId, line, place);
  }
}
