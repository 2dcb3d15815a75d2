// Looks whether everything that the runs name is there and is what it was, without an identity: chain, objects, refs against
// packs and index. What it finds says which snapshots it hurts. At any size a bounded part stands in memory.
import { SkepError } from "../../errors.ts";
import { plainPayloadBytes } from "../age-payload.ts";
import { digest } from "../blake3.ts";
import type { Catalogue } from "../catalogue.ts";
import type { ForeignObjects } from "../foreign.ts";
import { tellsNoVersions } from "../former-versions.ts";
import { layout } from "../layout.ts";
import type { PackRef } from "../refs.ts";
import type { Part, Run, StoredObject } from "../run.ts";
import { open } from "../sealed.ts";
import { packsOf } from "../upkeep-entry.ts";
import { surveyChain, type ChainSurvey } from "./chain-survey.ts";
import { deletedEntries, findCutOff, newestOf, type SeenEntry } from "./cut-off.ts";
import { Findings, type Finding } from "./finding.ts";
import { readIndexes } from "./index-objects.ts";
import { ObjectVersions } from "./object-versions.ts";
import { PackLedger, type LedgerPack, type NeededChunk } from "./pack-ledger.ts";
import { objectsOfPart } from "./part-objects.ts";
import { openRefs, type CatalogueKeys } from "./refs-lines.ts";

export interface CheckOptions {
  catalogue: Catalogue;
  keys: CatalogueKeys;
  /** Objects of which nothing can be opened without them: keys/… that the repository object names. */
  keyObjects: readonly string[];
  /** What does not count and was found where it stands in the way: in the row of the repository object, say. */
  foreign?: readonly ForeignObjects[];
  /** What is remembered of the chain's newest entry outside of the store; each must be there or forgotten. */
  seen?: readonly SeenEntry[];
  /** Looks into the content of packs, see check-content.ts; null: their being there and their sizes must do. */
  content: ContentCheck | null;
  signal: AbortSignal;
  onProgress?: (phase: CheckPhase, done: number) => void;
}
export type CheckPhase = "lists" | "index" | "runs" | "content";

export interface ContentCheck {
  /** True where this pack is to be read. */
  picks: (pack: string) => boolean;
  /** Null where the pack's bytes are what they should be. `chunks`: those that runs need. */
  faultOfPack: (pack: LedgerPack, chunks: Iterable<NeededChunk>) => Promise<SkepError | null>;
  /** Of a part's own objects: archives whole, the manifest. */
  faultsOfPart: (part: Part, run: Run) => Promise<SkepError[]>;
}

export interface CheckResult {
  runs: number;
  snapshots: number;
  packs: number;
  packBytes: number;
  readPacks: number;
  readBytes: number;
  /** Packs that no run needs: the next prunes take them. */
  unneededPacks: number;
  unneededBytes: number;
  /** The chain's newest entry: what the next check must find again. */
  newest: { sequence: number; digest: string } | null;
  /** At most 500 of one kind of object. */
  findings: Finding[];
  findingsLeftOut: number;
}

/** Snapshots that one finding names. */
const maxHurt = 100;
/** Objects up to this size are read and compared, larger ones only looked at unless the content is asked for. */
const cheapBytes = 256 * 1024;
const atOnce = 8;
const maxDocumentBytes = 64 * 1024 * 1024;
const packsPrefix = "packs/";

/** Throws only what the store throws for itself: unreachable, denied. */
export async function checkRepository(options: CheckOptions): Promise<CheckResult> {
  const ledger = new PackLedger();
  const versions = new ObjectVersions(options.keys.store, options.signal);
  try {
    return await new Check(options, ledger, versions).run();
  } finally {
    ledger.close();
    versions.close();
  }
}

class Check {
  readonly #options: CheckOptions;
  readonly #ledger: PackLedger;
  readonly #versions: ObjectVersions;
  readonly #result: Omit<CheckResult, "findings" | "findingsLeftOut"> = {
    ...{
      runs: 0,
      snapshots: 0,
      packs: 0,
      packBytes: 0,
      readPacks: 0,
      readBytes: 0,
      unneededPacks: 0,
      unneededBytes: 0,
    },
    newest: null,
  };
  /** Findings about packs, whose snapshots are looked for at the end. */
  readonly #hurtPacks = new Map<string, Finding>();
  readonly #findings = new Findings();

  constructor(options: CheckOptions, ledger: PackLedger, versions: ObjectVersions) {
    this.#options = options;
    this.#ledger = ledger;
    this.#versions = versions;
  }

  async run(): Promise<CheckResult> {
    await this.#listPacks();
    await this.#checkDocuments();
    await this.#readIndex();
    const survey = await this.#checkRuns();
    this.#checkLinks(survey);
    await this.#checkEnd(survey);
    this.#addForeign(survey.covers, "; what was written there first counts all the same");
    this.#addForeign(survey.foreign);
    await this.#checkPacks(new Set(packsOf(survey.upkeep?.doomed)));
    if (this.#hurtPacks.size > 0) await this.#findHurt();
    return { ...this.#result, findings: this.#findings.named, findingsLeftOut: this.#findings.leftOut };
  }

  async #listPacks(): Promise<void> {
    const { keys, signal, onProgress } = this.#options;
    for await (const { key, sizeBytes, storedAt } of keys.store.list(packsPrefix, signal)) {
      const pack = key.slice(key.lastIndexOf("/") + 1);
      if (!/^[0-9a-f]{64}$/.test(pack) || key !== layout.pack(pack)) continue;
      this.#ledger.addListed(pack, sizeBytes, Date.parse(storedAt));
      this.#result.packs++;
      this.#result.packBytes += sizeBytes;
      if (this.#result.packs % 1000 === 0) onProgress?.("lists", this.#result.packs);
    }
  }

  /** Keys, policy and enrolments. */
  async #checkDocuments(): Promise<void> {
    const { keys, keyObjects, foreign = [], signal } = this.#options;
    for (const objects of foreign) this.#addForeign(objects);
    for (const key of keyObjects) {
      if ((await keys.store.head(key, signal)) !== null) continue;
      this.#findings.add("error", "SKEP_KEY_MISSING", key, "it is missing: without it nothing can be opened", []);
    }
    for (const [type, prefix] of [
      ["policy", layout.policyPrefix],
      ["enrolment", layout.agentsPrefix],
    ] as const) {
      for await (const { key } of keys.store.list(prefix, signal)) await this.#checkDocument(type, key);
    }
  }

  async #checkDocument(type: "policy" | "enrolment", key: string): Promise<void> {
    const { catalogue, keys, signal } = this.#options;
    await this.#expectSound("warning", key, [], async () => {
      const sealed = await keys.store.get(key, maxDocumentBytes, signal);
      const expected = { type, repositoryId: catalogue.repositoryId, writerId: "" };
      if (sealed !== null) open(sealed, expected, catalogue.catalogueKey, `${key} at ${keys.store.address}`);
    });
  }

  async #readIndex(): Promise<void> {
    const { keys, signal, onProgress } = this.#options;
    let done = 0;
    for await (const { key, writerId, packs, fault } of readIndexes(keys, signal)) {
      if (fault !== null) this.#findings.add("warning", "SKEP_INDEX_UNREADABLE", key, fault.message, []);
      for (const ref of packs ?? []) this.#ledger.addIndexed(writerId, ref.pack, ref.chunks);
      onProgress?.("index", ++done);
    }
  }

  async #checkRuns(): Promise<ChainSurvey> {
    const { catalogue, signal, onProgress } = this.#options;
    return await surveyChain(catalogue, {
      signal,
      use: async (run) => {
        this.#result.runs++;
        const parts = run.parts.values();
        const work = async (): Promise<void> => {
          for (const part of parts) await this.#checkPart(run, part);
        };
        await Promise.all(Array.from({ length: atOnce }, work));
        onProgress?.("runs", this.#result.runs);
      },
    });
  }

  async #checkPart(run: Run, part: Part): Promise<void> {
    const hurts = [nameOf(run, part)];
    for (const object of objectsOfPart(part)) {
      if (object.key === part.refs?.key) continue;
      await this.#expectSound("error", object.key, hurts, () => this.#checkObject(object));
    }
    for (const fault of (await this.#options.content?.faultsOfPart(part, run)) ?? []) {
      this.#findings.add("error", fault.code, null, fault.message, hurts);
    }
    if (part.refs === undefined) return;
    this.#result.snapshots++;
    const { refs } = part;
    await this.#expectSound("error", refs.key, hurts, async () => {
      const named = { runId: run.id, writerId: part.nodeId, refs };
      const { lines } = await openRefs(this.#options.keys, named, this.#options.signal);
      for await (const { line, place } of lines) {
        const ref = this.#ledger.addNeeded(part.nodeId, line, place);
        if (ref !== null) this.#checkRef(ref, place, hurts);
      }
    });
  }

  async #checkObject(object: StoredObject): Promise<void> {
    const { store } = this.#options.keys;
    const place = `${object.key} at ${store.address}`;
    if (object.sizeBytes > cheapBytes) {
      const found = await store.head(object.key, this.#options.signal);
      if (found === null) throw missing(place);
      if (found.sizeBytes !== object.sizeBytes) {
        throw damaged(place, `it has ${found.sizeBytes} bytes, not ${object.sizeBytes}`);
      }
      // Another version was put there since, or the bucket was copied: its content tells.
      if (object.versionId === null || found.versionId === null || found.versionId === object.versionId) return;
    }
    const bytes = await store.get(object.key, Math.max(cheapBytes, object.sizeBytes), this.#options.signal);
    if (bytes === null) throw missing(place);
    if (bytes.length !== object.sizeBytes || digest(bytes) !== object.digest) {
      throw damaged(place, "it has another content than the run names");
    }
  }

  /** What refs say against what the index says, and against what fits into the pack at all. */
  #checkRef(ref: PackRef, place: string, hurts: string[]): void {
    const { sizeBytes, headerBytes, chunks } = ref;
    const plainBytes = plainPayloadBytes(sizeBytes - headerBytes);
    let end = 0;
    for (const [name, start, frame] of chunks) {
      if (start < end || plainBytes === null || start + frame > plainBytes) {
        this.#findings.add(
          "error",
          "SKEP_REFS_INVALID",
          null,
          `${place}: chunk ${name} cannot lie at byte ${start}`,
          hurts,
        );
        return;
      }
      end = start + frame;
    }
    const other = this.#ledger.findUnlikeIndex(ref);
    if (other === null) return;
    const message = `${place}: chunk ${other} of pack ${ref.pack} stands elsewhere in its writer's index`;
    this.#findings.add("error", "SKEP_REFS_INVALID", null, message, hurts);
  }

  #checkLinks({ gaps }: ChainSurvey): void {
    for (const { newer, older } of gaps) {
      const message =
        older === null
          ? "what came before it, which it names, is missing: runs may be gone"
          : `what came before it, which it names, is missing or another one; the next that is there is ${layout.run(older.sequence)}`;
      this.#findings.add("error", "SKEP_RUN_CHAIN_BROKEN", layout.run(newer.sequence), message, []);
    }
  }

  #addForeign(foreign: ForeignObjects, besides = ""): void {
    for (const { key, fault } of foreign) this.#findings.add("error", fault.code, key, fault.message + besides, []);
    this.#findings.leftOut += foreign.leftOut;
  }

  async #checkEnd(survey: ChainSurvey): Promise<void> {
    const { catalogue, keys, seen = [], signal } = this.#options;
    let hidden: number[] = [];
    try {
      hidden = await deletedEntries({ ...catalogue, store: keys.store }, survey, signal);
    } catch (error) {
      if (!tellsNoVersions(error)) throw error;
      const message = `deleted runs could not be listed, so only what was noted before tells that newest ones are gone: ${error.message}`;
      this.#findings.add("warning", "SKEP_DELETED_UNLISTED", layout.runsPrefix, message, []);
    }
    for (const { level, code, key, message, hurts } of findCutOff(survey, seen, hidden)) {
      this.#findings.add(level, code, key, message, hurts);
    }
    this.#result.newest = newestOf(survey);
  }

  async #checkPacks(doomed: ReadonlySet<string>): Promise<void> {
    const { content, keys, onProgress } = this.#options;
    const packs = this.#ledger.packs();
    const work = async (): Promise<void> => {
      for (const found of packs) {
        const key = layout.pack(found.pack);
        if (!found.isNeeded) {
          if (found.sizeBytes === null) continue;
          this.#result.unneededPacks++;
          this.#result.unneededBytes += found.sizeBytes;
          continue;
        }
        const place = `${key} at ${keys.store.address}`;
        if (found.sizeBytes === null) this.#hurtPack(found.pack, missing(place));
        else if (found.neededSizeBytes !== found.sizeBytes) {
          this.#hurtPack(
            found.pack,
            damaged(place, `it has ${found.sizeBytes} bytes, not ${String(found.neededSizeBytes)}`),
          );
        } else if (doomed.has(found.pack)) {
          this.#hurtPack(found.pack, damaged(place, "a prune gave it up, and yet a run needs it"));
        } else if (await this.#isPutOver(found.pack, found.sizeBytes)) {
          this.#hurtPack(found.pack, damaged(place, "something of its size was put over it"));
        } else if (content?.picks(found.pack) === true) {
          const fault = await content.faultOfPack(found, this.#ledger.neededChunks(found.pack));
          this.#result.readPacks++;
          this.#result.readBytes += found.sizeBytes;
          if (fault !== null) this.#hurtPack(found.pack, fault);
          onProgress?.("content", this.#result.readPacks);
        }
      }
    };
    await Promise.all(Array.from({ length: content === null ? 1 : 4 }, work));
  }

  /** One that has former versions, which none has unless a writer got no answer: only then it is worth its reading. */
  async #isPutOver(pack: string, sizeBytes: number): Promise<boolean> {
    const { keys, signal } = this.#options;
    const key = layout.pack(pack);
    if ((await this.#versions.of(key))?.isOnly !== false) return false;
    const bytes = await keys.store.get(key, sizeBytes, signal);
    return bytes !== null && digest(bytes) !== pack;
  }

  #hurtPack(pack: string, fault: SkepError): void {
    const finding = this.#findings.add("error", fault.code, layout.pack(pack), fault.message, []);
    if (finding !== null) this.#hurtPacks.set(pack, finding);
  }

  /** Goes through the refs once more, for those few packs. */
  async #findHurt(): Promise<void> {
    const { catalogue, keys, signal } = this.#options;
    await surveyChain(catalogue, {
      signal,
      use: async (run) => {
        for (const part of run.parts) {
          if (part.refs === undefined) continue;
          const named = { runId: run.id, writerId: part.nodeId, refs: part.refs };
          try {
            const { lines } = await openRefs(keys, named, signal);
            for await (const { line } of lines) {
              const hurts = this.#hurtPacks.get(/^\{"pack":"([0-9a-f]{64})"/.exec(line)?.[1] ?? "")?.hurts;
              if (hurts !== undefined && hurts.length < maxHurt) hurts.push(nameOf(run, part));
            }
          } catch (error) {
            if (!isFaultOfObject(error)) throw error; // found before
          }
        }
      },
    });
  }

  async #expectSound(level: Finding["level"], key: string, hurts: string[], act: () => Promise<void>): Promise<void> {
    try {
      await act();
    } catch (error) {
      if (!isFaultOfObject(error)) throw error;
      this.#findings.add(level, error.code, key, error.message, hurts);
    }
  }
}

/** Permanent, and not because the store refuses: the object itself is wrong. A damage on the way that stays is one. */
export function isFaultOfObject(error: unknown): error is SkepError {
  if (!(error instanceof SkepError)) return false;
  if (error.code === "SKEP_STORE_CORRUPT" || error.code === "SKEP_STORE_TOO_LARGE") return true;
  return error.permanent && !error.code.startsWith("SKEP_STORE_");
}

function nameOf(run: Run, part: Part): string {
  return part.kind === "volume" ? `${run.id}:${part.name}` : `${run.id} ${part.name}`;
}

function missing(place: string): SkepError {
  return new SkepError({
    code: "SKEP_OBJECT_MISSING",
    message: `${place} is missing`,
    permanent: true,
    hint: "it was deleted: look for it in the store's former versions",
  });
}

function damaged(place: string, why: string): SkepError {
  return new SkepError({
    code: "SKEP_OBJECT_DAMAGED",
    message: `${place}: ${why}`,
    permanent: true,
    hint: "it was damaged or replaced: bring it back from the store's former versions (docs/STORES.md, What was put over)",
  });
}
