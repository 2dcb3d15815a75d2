// Keeps the store itself from deleting what kept runs need, for so long as the policy says: every object that a run names,
// the pages and packs of its refs, and what all runs need (keys, index, the chain, the policy, the kits). A run is protected only
// when all of it is locked, and only what was proven to be the right bytes is locked: who may put can put something over any
// object, and a lock on that would let the right version go. Locks only ever get longer, so this goes on beside runs and prunes; killed anywhere, the next pass
// does the rest. A pack that no kept run needs any more is locked no longer, and free when its time is over.
import { SkepError, toErrorRecord } from "../../errors.ts";
import { readStoreClock } from "../../store/clock.ts";
import type { ObjectHead, Store } from "../../store/store.ts";
import { digest } from "../blake3.ts";
import type { Catalogue } from "../catalogue.ts";
import type { RepositoryObject } from "../repository-object.ts";
import { layout } from "../layout.ts";
import type { Protection, RunProtection } from "../protection.ts";
import { decodePackLine } from "../refs.ts";
import type { Part, Run } from "../run.ts";
import { surveyChain } from "./chain-survey.ts";
import { commonObjects, hasDigest, type Wanted } from "./common-objects.ts";
import { LockLedger } from "./lock-ledger.ts";
import { ObjectVersions } from "./object-versions.ts";
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

/** Throws only what may pass: the store is not reached, or slow. What stays is in the answer, as a fault. */
export async function protectRuns(options: ProtectOptions): Promise<Protection> {
  const ledger = new LockLedger();
  const versions = new ObjectVersions(options.keys.store, options.signal);
  try {
    const now = options.lookOnly?.now ?? (await readStoreClock(options.keys.store, options.signal));
    return await new Pass(options, { ledger, versions }, now).run();
  } finally {
    ledger.close();
    versions.close();
  }
}

class Pass {
  readonly #options: ProtectOptions;
  readonly #ledger: LockLedger;
  readonly #versions: ObjectVersions;
  readonly #store: Store;
  readonly #now: number;
  readonly #leastUntil: number;
  readonly #lockUntil: number;
  #looked = 0;

  constructor(
    options: ProtectOptions,
    { ledger, versions }: { ledger: LockLedger; versions: ObjectVersions },
    now: number,
  ) {
    this.#options = options;
    this.#ledger = ledger;
    this.#versions = versions;
    this.#store = options.keys.store;
    this.#now = now;
    this.#leastUntil = now + options.lockDays * dayMs;
    this.#lockUntil = now + Math.ceil(options.lockDays * dayMs * (1 + slackShare));
  }

  async run(): Promise<Protection> {
    const { catalogue, known, lockDays, lookOnly = null, signal, onProgress } = this.#options;
    const writtenAt = new Date(this.#now).toISOString();
    const runs: RunProtection[] = [];
    const common = await this.#hold(() => commonObjects(this.#options), "common");
    let fault = typeof common === "number" ? null : toErrorRecord(common);
    if (fault?.code === "SKEP_STORE_NO_LOCK") return { format: 1, writtenAt, lockDays, fault, runs };
    const before = new Map((known?.runs ?? []).map((each) => [each.id, each]));
    const { upkeepLinks } = await surveyChain(catalogue, {
      signal,
      use: async (run, link) => {
        const last = before.get(run.id);
        const refs = digest(Buffer.from(run.parts.map((part) => part.refs?.key ?? "").join("\n")));
        const isSame = last?.until != null && last.refs === refs;
        const holds = isSame && Date.parse(last.until ?? "") >= this.#leastUntil && lookOnly === null;
        runs.push(holds ? last : { id: run.id, refs, ...(await this.#protect(run, link.digest, common)) });
        onProgress?.("runs", runs.length);
      },
    });
    const entries = upkeepLinks.map((link) => ({ ...entryOf(link.sequence, link.digest), isListed: true }));
    const upkeep = await this.#hold(() => entries, "common");
    if (typeof upkeep !== "number") fault ??= toErrorRecord(upkeep);
    return { format: 1, writtenAt, lockDays, fault, runs };
  }

  /**
   * `common`: until when is locked what all runs need. Its fault makes no run's own objects any less worth a lock, and what is
   * locked of them is noted all the same: while that fault lasts, no pass looks at them again.
   */
  async #protect(
    run: Run,
    entryDigest: string,
    common: number | SkepError,
  ): Promise<Pick<RunProtection, "until" | "fault">> {
    const found = await this.#hold((onFault) => this.#objectsOf(run, entryDigest, onFault), "objects");
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
    list: (onFault: (fault: SkepError) => void) => AsyncIterable<Wanted> | Iterable<Wanted>,
    phase: ProtectPhase,
  ): Promise<number | SkepError> {
    let least = this.#lockUntil;
    const faults: SkepError[] = [];
    const onFault = (fault: SkepError): void => {
      faults.push(fault);
    };
    const objects = oneByOne(list(onFault));
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

  /** Null where it is gone, or another's, and may be. */
  async #lock(wanted: Wanted): Promise<number | null> {
    const { key, isListed = false } = wanted;
    const { lookOnly = null, signal } = this.#options;
    const place = `${key} at ${this.#store.address}`;
    const found = await this.#store.head(key, signal);
    if (found === null && isListed) return null;
    if (found === null) throw unfit("SKEP_OBJECT_MISSING", `${place} is missing`);
    if (!(await this.#isRight(wanted, found))) {
      const isKept = await this.#lockOldest(wanted, found);
      if (isListed) return null;
      const { sizeBytes = null } = wanted;
      const why =
        sizeBytes === null || found.sizeBytes === sizeBytes
          ? "another content"
          : `${found.sizeBytes} bytes, not ${sizeBytes}`;
      const kept = isKept ? "; the right one is a former version, and is kept" : "";
      throw unfit("SKEP_OBJECT_DAMAGED", `${place} has ${why}: something was put over it${kept}`);
    }
    const lockedUntil = this.#until(found);
    if (lookOnly !== null || lockedUntil >= this.#leastUntil) return lockedUntil;
    await this.#store.lock(key, found.versionId, this.#lockUntil, signal);
    return this.#lockUntil;
  }

  /** Whether what lies there now, in the version that was found, is what was written by who should. */
  async #isRight(wanted: Wanted, found: ObjectHead): Promise<boolean> {
    const { key, sizeBytes = null, versionId = null, isOnce = false, isRight } = wanted;
    if (sizeBytes !== null && found.sizeBytes !== sizeBytes) return false;
    if (versionId !== null && found.versionId === versionId) return true;
    const versions = found.versionId === null ? null : await this.#versions.of(key);
    // Nobody knew the name before it was written, so that the first version is the writer's.
    const isFirst = versions?.oldest === found.versionId;
    if (isOnce && isFirst) return true;
    if (isRight === null) return versions === null || isFirst || (await this.#isOldest(key, versions.oldest));
    if (versions !== null) return await this.#proves(key, found.versionId, isRight);
    // Nothing tells of versions. It was read when it was locked; and to look at locks is no reason to read all there is.
    if (this.#until(found) >= this.#leastUntil || (isOnce && this.#options.lookOnly != null)) return true;
    if (!(await this.#proves(key, null, isRight))) return false;
    return (await this.#store.head(key, this.#options.signal))?.versionId === found.versionId;
  }

  /** ms since 1970; 0: not locked. */
  #until({ lockedUntil }: ObjectHead): number {
    return lockedUntil === null ? 0 : Date.parse(lockedUntil);
  }

  /** Put again by a writer that got no answer, it is another version of the same bytes. */
  async #isOldest(key: string, oldest: string): Promise<boolean> {
    const first = await this.#store.get(key, maxObjectBytes, this.#options.signal, oldest);
    const present = await this.#store.get(key, maxObjectBytes, this.#options.signal);
    return first !== null && present !== null && digest(first) === digest(present);
  }

  /** `versionId` null: what is there. */
  async #proves(key: string, versionId: string | null, isRight: (bytes: Uint8Array) => boolean): Promise<boolean> {
    try {
      const given = versionId === null ? [] : [versionId];
      const bytes = await this.#store.get(key, maxObjectBytes, this.#options.signal, ...given);
      return bytes !== null && isRight(bytes);
    } catch (error) {
      if (error instanceof SkepError && error.code === "SKEP_STORE_TOO_LARGE") return false;
      throw error;
    }
  }

  /** Something was put over it: the version that was written keeps its lock, until somebody brings it back. False where none is right. */
  async #lockOldest({ key, isRight }: Wanted, found: ObjectHead): Promise<boolean> {
    const { oldest } = (await this.#versions.of(key)) ?? { oldest: found.versionId };
    if (oldest === null || oldest === found.versionId) return false;
    if (isRight !== null && !(await this.#proves(key, oldest, isRight))) return false;
    const { lookOnly = null, signal } = this.#options;
    if (lookOnly === null) await this.#store.lock(key, oldest, this.#lockUntil, signal);
    return true;
  }

  async *#objectsOf(run: Run, entryDigest: string, onFault: (fault: SkepError) => void): AsyncGenerator<Wanted> {
    yield entryOf(run.sequence, entryDigest);
    for (const part of run.parts) {
      for (const object of objectsOfPart(part)) yield { ...object, isOnce: true, isRight: hasDigest(object.digest) };
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
    for (const { object, sizeBytes, digest: named } of header.pages) {
      yield { key: layout.refs(run.id, object), sizeBytes, isOnce: true, isRight: hasDigest(named) };
    }
    for await (const { line, place } of lines) {
      const { pack, sizeBytes } = decodePackLine(line, place);
      yield { key: layout.pack(pack), sizeBytes, isOnce: true, isRight: hasDigest(pack) };
    }
  }
}

/** `entryDigest`: of the bytes that were read and proven. */
function entryOf(sequence: number, entryDigest: string): Wanted {
  return { key: layout.run(sequence), isRight: hasDigest(entryDigest) };
}

async function* oneByOne(objects: AsyncIterable<Wanted> | Iterable<Wanted>): AsyncGenerator<Wanted> {
  yield* objects;
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
    hint: "bring the right one back from the store's former versions (docs/STORES.md, What was put over); `skep check` tells what else it hurts",
  });
}
