// Keeps the store itself from deleting what kept runs need, for so long as the policy says: every object that a run names,
// the pages and packs of its refs, and what all runs need (keys, index, the chain, the policy). A run is protected only
// when all of it is locked. Locks only ever get longer, so this goes on beside runs and prunes; killed anywhere, the next pass
// does the rest. A pack that no kept run needs any more is locked no longer, and free when its time is over.
import { SkepError, toErrorRecord } from "../../errors.ts";
import { readStoreClock } from "../../store/clock.ts";
import type { Store } from "../../store/store.ts";
import { digest } from "../blake3.ts";
import { listSequences } from "../chain.ts";
import type { Catalogue } from "../catalogue.ts";
import { epochsOf, type RepositoryObject } from "../repository-object.ts";
import { layout } from "../layout.ts";
import { firstVersionsOf } from "../root-handover.ts";
import type { Protection, RunProtection } from "../protection.ts";
import { decodePackLine } from "../refs.ts";
import type { Part, Run } from "../run.ts";
import { getChecked } from "../stored-object.ts";
import { surveyChain } from "./chain-survey.ts";
import { LockLedger } from "./lock-ledger.ts";
import { objectsOfPart } from "./part-objects.ts";
import { openRefs, type CatalogueKeys } from "./refs-lines.ts";

const dayMs = 24 * 3_600_000;
/** Locked for so much longer than asked, so that not every pass has to write every lock anew. */
const slackShare = 0.25;
const atOnce = 8;
/** So many of one run's objects are tried in vain. */
const mostFaults = 100;
/** What a store takes. */
const maxObjectBytes = 64 * 1024 * 1024;

export interface ProtectOptions {
  catalogue: Catalogue;
  keys: CatalogueKeys;
  repository: RepositoryObject;
  lockDays: number;
  /** What the last pass found: a run that is locked for long enough is not looked at again. Null: all are. */
  known: Protection | null;
  /** Puts and locks nothing: tells what is locked. `now`: ms since 1970, for to ask the store's clock is to write. */
  lookOnly?: { now: number } | null;
  signal: AbortSignal;
  onProgress?: (phase: ProtectPhase, done: number) => void;
}
export type ProtectPhase = "common" | "objects" | "runs";

/** An object that must be locked. `sizeBytes` null: any will do. */
interface Wanted {
  key: string;
  sizeBytes: number | null;
  /** It was found in a list, and no run names it: a prune or a forget may take it away before it is looked at. */
  isListed?: boolean;
  /** As the run names it. */
  digest?: string;
  versionId?: string | null;
}

/** Throws only what may pass: the store is not reached, or slow. What stays is in the answer, as a fault. */
export async function protectRuns(options: ProtectOptions): Promise<Protection> {
  const ledger = new LockLedger();
  try {
    const now = options.lookOnly?.now ?? (await readStoreClock(options.keys.store, options.signal));
    return await new Pass(options, ledger, now).run();
  } finally {
    ledger.close();
  }
}

class Pass {
  readonly #options: ProtectOptions;
  readonly #ledger: LockLedger;
  readonly #store: Store;
  readonly #now: number;
  readonly #leastUntil: number;
  readonly #lockUntil: number;
  #looked = 0;

  constructor(options: ProtectOptions, ledger: LockLedger, now: number) {
    this.#options = options;
    this.#ledger = ledger;
    this.#store = options.keys.store;
    this.#now = now;
    this.#leastUntil = now + options.lockDays * dayMs;
    this.#lockUntil = now + Math.ceil(options.lockDays * dayMs * (1 + slackShare));
  }

  async run(): Promise<Protection> {
    const { catalogue, known, lockDays, lookOnly = null, signal, onProgress } = this.#options;
    const writtenAt = new Date(this.#now).toISOString();
    const runs: RunProtection[] = [];
    const common = await this.#hold(() => this.#commonObjects(), "common");
    const fault = typeof common === "number" ? null : toErrorRecord(common);
    if (fault?.code === "SKEP_STORE_NO_LOCK") return { format: 1, writtenAt, lockDays, fault, runs };
    const before = new Map((known?.runs ?? []).map((each) => [each.id, each]));
    await surveyChain(catalogue, {
      signal,
      use: async (run) => {
        const last = before.get(run.id);
        const refs = digest(Buffer.from(run.parts.map((part) => part.refs?.key ?? "").join("\n")));
        const isSame = last?.until != null && last.refs === refs;
        const holds = isSame && Date.parse(last.until ?? "") >= this.#leastUntil && lookOnly === null;
        runs.push(holds ? last : { id: run.id, refs, ...(await this.#protect(run, common)) });
        onProgress?.("runs", runs.length);
      },
    });
    return { format: 1, writtenAt, lockDays, fault, runs };
  }

  /**
   * `common`: until when is locked what all runs need. Its fault makes no run's own objects any less worth a lock, and what is
   * locked of them is noted all the same: while that fault lasts, no pass looks at them again.
   */
  async #protect(run: Run, common: number | SkepError): Promise<Pick<RunProtection, "until" | "fault">> {
    const found = await this.#hold((onFault) => this.#objectsOf(run, onFault), "objects");
    if (typeof found !== "number") return { until: null, fault: toErrorRecord(found) };
    const until = typeof common === "number" ? Math.min(found, common) : found;
    if (until > this.#now) return { until: new Date(until).toISOString(), fault: null };
    const fault = new SkepError({
      code: "SKEP_RUN_NOT_PROTECTED",
      message: `not all that run ${run.id} needs is locked at ${this.#store.address}`,
      permanent: true,
      hint: "the controller locks it within minutes after a run; or `skep protect`",
    });
    return { until: null, fault: toErrorRecord(fault) };
  }

  /** Until when all of them are locked, ms since 1970; or what some could not be locked for: all the others are. */
  async #hold(
    list: (onFault: (fault: SkepError) => void) => AsyncGenerator<Wanted>,
    phase: ProtectPhase,
  ): Promise<number | SkepError> {
    let least = this.#lockUntil;
    const faults: SkepError[] = [];
    const onFault = (fault: SkepError): void => {
      faults.push(fault);
    };
    const objects = list(onFault);
    const work = async (): Promise<void> => {
      while (!isHopeless(faults)) {
        const next = await objects.next().catch((error: unknown) => {
          if (!(error instanceof SkepError) || !error.permanent) throw error;
          onFault(error); // a prefix that may not be listed, say; what was told before it is locked
          return null;
        });
        if (next === null || next.done === true) return;
        const found = await this.#lockOf(next.value);
        this.#options.onProgress?.(phase, ++this.#looked);
        if (typeof found === "number") least = Math.min(least, found);
        else onFault(found);
      }
    };
    try {
      await Promise.all(Array.from({ length: atOnce }, work));
      return oneOf(faults) ?? least;
    } finally {
      await objects.return(undefined);
    }
  }

  async #lockOf(wanted: Wanted): Promise<number | SkepError> {
    const known = this.#ledger.find(wanted.key);
    if (known !== null) return known;
    let found: number | SkepError;
    try {
      const until = await this.#lock(wanted);
      // Not noted down: a kept run that needs it after all finds it missing.
      if (until === null) return this.#lockUntil;
      found = until;
    } catch (error) {
      if (!(error instanceof SkepError) || !error.permanent) throw error;
      found = error;
    }
    this.#ledger.add(wanted.key, found);
    return found;
  }

  /** Null where it is gone, and may be. */
  async #lock({ key, sizeBytes, isListed = false, digest: named, versionId }: Wanted): Promise<number | null> {
    const { lookOnly = null, signal } = this.#options;
    const place = `${key} at ${this.#store.address}`;
    const found = await this.#store.head(key, signal);
    if (found === null && isListed) return null;
    if (found === null) throw unfit("SKEP_OBJECT_MISSING", `${place} is missing`);
    if (sizeBytes !== null && found.sizeBytes !== sizeBytes) {
      throw unfit("SKEP_OBJECT_DAMAGED", `${place} has ${found.sizeBytes} bytes, not ${sizeBytes}`);
    }
    // Another version than the run names: put over it, or the bucket was copied. What lies there now must be the same.
    if (versionId != null && found.versionId !== versionId && named !== undefined) {
      await getChecked(
        this.#store,
        { key, sizeBytes: found.sizeBytes, digest: named, versionId },
        maxObjectBytes,
        signal,
      );
    }
    const lockedUntil = found.lockedUntil === null ? 0 : Date.parse(found.lockedUntil);
    if (lookOnly !== null || lockedUntil >= this.#leastUntil) return lockedUntil;
    await this.#store.lock(key, found.versionId, this.#lockUntil, signal);
    return this.#lockUntil;
  }

  async *#commonObjects(): AsyncGenerator<Wanted> {
    const { repository, signal } = this.#options;
    const handovers = firstVersionsOf(repository.rootHandovers, this.#store.address);
    const named = [
      // Without them, who has a former root key deceives who knows no later one.
      ...[...new Set([...handovers, repository.version])].map((version) => layout.repository(version)),
      layout.repositoryKey(repository.repositoryKeyVersion),
      ...epochsOf(repository).map(({ number, keyVersion }) => layout.epochKey(number, keyVersion)),
    ];
    for (const key of named) yield { key, sizeBytes: null };
    for (const sequence of await listSequences(this.#store, signal)) {
      yield { key: layout.run(sequence), sizeBytes: null, isListed: true };
    }
    for (const prefix of [layout.policyPrefix, "index/"]) {
      for await (const { key } of this.#store.list(prefix, signal)) yield { key, sizeBytes: null, isListed: true };
    }
  }

  async *#objectsOf(run: Run, onFault: (fault: SkepError) => void): AsyncGenerator<Wanted> {
    yield { key: layout.run(run.sequence), sizeBytes: null };
    for (const part of run.parts) {
      for (const object of objectsOfPart(part)) yield object;
      try {
        yield* this.#packsOf(run, part);
      } catch (error) {
        if (!(error instanceof SkepError) || !error.permanent) throw error;
        onFault(error); // refs that cannot be read, say; those of the other parts can
      }
    }
  }

  async *#packsOf(run: Run, { nodeId, refs }: Part): AsyncGenerator<Wanted> {
    if (refs === undefined) return;
    const { keys, signal } = this.#options;
    const { header, lines } = await openRefs(keys, { runId: run.id, writerId: nodeId, refs }, signal);
    for (const { object, sizeBytes } of header.pages) yield { key: layout.refs(run.id, object), sizeBytes };
    for await (const { line, place } of lines) {
      const { pack, sizeBytes } = decodePackLine(line, place);
      yield { key: layout.pack(pack), sizeBytes };
    }
  }
}

/** True where asking on for the next hundred thousand objects would give the same answer. */
function isHopeless(faults: readonly SkepError[]): boolean {
  return faults.length >= mostFaults || faults.some(({ code }) => code === "SKEP_STORE_NO_LOCK");
}

/** The first of them, with how many more there are; null for none. */
function oneOf([first, ...more]: readonly SkepError[]): SkepError | null {
  if (first === undefined || more.length === 0) return first ?? null;
  const { code, message, permanent, hint } = first;
  const count = more.length + 1 >= mostFaults ? `${more.length} more and perhaps others` : `${more.length} more`;
  const told = `${message}; and ${count}, such as: ${more[0]?.message ?? ""}`;
  return new SkepError({ code, message: told, permanent, ...(hint !== undefined && { hint }), cause: first });
}

function unfit(code: "SKEP_OBJECT_MISSING" | "SKEP_OBJECT_DAMAGED", message: string): SkepError {
  return new SkepError({
    code,
    message,
    permanent: true,
    hint: "look for it in the store's former versions; `skep check` tells what else it hurts",
  });
}
