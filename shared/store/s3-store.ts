// A store in an S3 bucket: each object one PUT, tried again with growing pauses while the failure may pass.
//
// Creation: where a probe proved it, `If-None-Match: *` decides alone. Before that a look comes first, since some
// servers take the header and ignore it; where the server refuses the header (501), the look is all there is.
// A creation whose answer was lost is tried again under the same token: if the key is then taken, a look at the
// object's token tells whether it was ours.
import { randomBytes } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { SkepError } from "../errors.ts";
import { checksumsOf, type Checksums } from "./body.ts";
import { refuseTogether, type Refusal } from "./delete-errors.ts";
import { checkKey, checkPrefix } from "./key.ts";
import { checkRange, checkSize } from "./limits.ts";
import type { StoreCredentials } from "./location.ts";
import { probeKey, raceCreation } from "./probe.ts";
import { retried, withDeadline, type RetryPlan } from "./retry.ts";
import { S3Door, type S3Page, type S3Put, type S3PutOutcome, type S3Settings } from "./s3.ts";
import { Slots } from "./slots.ts";
import type { ObjectInfo, ObjectKey, PutOptions, Store, StoreAbilities, Stored } from "./store.ts";

export interface S3Patience extends RetryPlan {
  /** One request without its bytes. */
  requestMs: number;
  /** The slowest line that is waited for; the bytes of an object add to requestMs at this pace. */
  slowestBytesPerSecond: number;
}

export const defaultPatience: S3Patience = {
  attempts: 6,
  firstPauseMs: 250,
  longestPauseMs: 15_000,
  random: Math.random,
  requestMs: 60_000,
  slowestBytesPerSecond: 64 * 1024,
};

/** S3's limit for one list or batch of deletions. */
const batchKeys = 1000;
/** How long a probe locks its own object. */
const probeLockMs = 2000;

type Act<T> = (signal: AbortSignal) => Promise<T>;

export class S3Store implements Store {
  readonly address: string;
  readonly #door: S3Door;
  readonly #slots: Slots;
  readonly #patience: S3Patience;
  /** Null: not proven either way. */
  #creationExcludes: boolean | null = null;

  constructor(settings: S3Settings, credentials: StoreCredentials, patience: S3Patience = defaultPatience) {
    this.#door = new S3Door(settings, credentials);
    this.address = this.#door.address;
    this.#slots = new Slots(settings.connections);
    this.#patience = patience;
  }

  async put(key: ObjectKey, bytes: Uint8Array, options: PutOptions = {}): Promise<Stored> {
    checkSize(checkKey(key), bytes, this.address);
    const outcome = await this.#put(key, bytes, { ifAbsent: false }, options.signal);
    return { sizeBytes: bytes.byteLength, versionId: outcome.outcome === "stored" ? outcome.versionId : null };
  }

  async putIfAbsent(key: ObjectKey, bytes: Uint8Array, options: PutOptions = {}): Promise<Stored | null> {
    checkSize(checkKey(key), bytes, this.address);
    const { signal } = options;
    if (this.#creationExcludes !== true && (await this.head(key, signal)) !== null) return null;
    if (this.#creationExcludes !== false) {
      const outcome = await this.#put(key, bytes, { ifAbsent: true, token: newToken() }, signal);
      if (outcome.outcome === "stored") return { sizeBytes: bytes.byteLength, versionId: outcome.versionId };
      if (outcome.outcome === "taken") return null;
      this.#creationExcludes = false;
    }
    return await this.put(key, bytes, options);
  }

  async get(key: ObjectKey, maxBytes: number, signal?: AbortSignal): Promise<Uint8Array | null> {
    checkKey(key);
    return await this.#patiently(`get ${key}`, maxBytes, signal, (inner) => this.#door.get(key, maxBytes, inner));
  }

  async getRange(key: ObjectKey, start: number, end: number, signal?: AbortSignal): Promise<Uint8Array | null> {
    checkRange(checkKey(key), start, end, this.address);
    if (start === end) return (await this.head(key, signal)) === null ? null : new Uint8Array();
    return await this.#patiently(`get ${key}`, end - start, signal, (inner) =>
      this.#door.getRange(key, start, end, inner),
    );
  }

  async head(key: ObjectKey, signal?: AbortSignal): Promise<ObjectInfo | null> {
    checkKey(key);
    const found = await this.#patiently(`look at ${key}`, 0, signal, (inner) => this.#door.head(key, inner));
    return found === null ? null : { key, sizeBytes: found.sizeBytes, storedAt: found.storedAt };
  }

  async *list(prefix: string, signal?: AbortSignal): AsyncGenerator<ObjectInfo> {
    checkPrefix(prefix);
    let from: string | null = null;
    do {
      const page: S3Page = await this.#listPage(prefix, from, signal);
      yield* page.objects;
      from = page.next;
    } while (from !== null);
  }

  async delete(keys: readonly ObjectKey[], signal?: AbortSignal): Promise<void> {
    keys.forEach(checkKey);
    const refused: Refusal[] = [];
    for (let start = 0; start < keys.length; start += batchKeys) {
      const batch = keys.slice(start, start + batchKeys).map((key) => ({ key }));
      refused.push(...(await this.#delete(batch, signal)));
    }
    refuseTogether(refused, keys.length, this.address);
  }

  async probe(signal?: AbortSignal): Promise<StoreAbilities> {
    const key = probeKey();
    const versionIds = new Set<string>();
    const create = async (bytes: Uint8Array): Promise<boolean> => {
      const outcome = await this.#put(key, bytes, { ifAbsent: true, token: newToken() }, signal);
      if (outcome.outcome === "stored" && outcome.versionId !== null) versionIds.add(outcome.versionId);
      return outcome.outcome === "stored";
    };
    const excludes = await raceCreation(create, () => this.get(key, 1024, signal));
    this.#creationExcludes = excludes;
    const overwrites = await allowed(async () => {
      const { versionId } = await this.put(key, Buffer.from("overwritten"), signal === undefined ? {} : { signal });
      if (versionId !== null) versionIds.add(versionId);
    });
    const objectLock = versionIds.size > 0 && (await this.#probeLock(key, signal));
    const deletesVersions = versionIds.size > 0 && (await allowed(() => this.#deleteVersions(key, signal)));
    const deletes = await allowed(() => this.delete([key], signal));
    if (deletesVersions) await this.#deleteVersions(key, signal); // the mark that the deletion left
    return {
      conditionalWrites: excludes,
      versions: versionIds.size > 0,
      objectLock,
      deletes,
      destroys: versionIds.size > 0 ? deletesVersions : overwrites || deletes,
    };
  }

  close(): Promise<void> {
    this.#door.close();
    return Promise.resolve();
  }

  async #listPage(prefix: string, from: string | null, signal: AbortSignal | undefined): Promise<S3Page> {
    return await this.#patiently(`list ${prefix}`, 0, signal, (inner) => this.#door.listPage(prefix, from, inner));
  }

  /** Locks a version of the probe's object for two seconds, and waits until it is free again. */
  async #probeLock(key: ObjectKey, signal: AbortSignal | undefined): Promise<boolean> {
    const bytes = Buffer.from("locked");
    const found = await this.head(key, signal);
    if (found === null) return false;
    // By the store's clock, which tells whole seconds: rounded up.
    const lockedUntil = new Date(Date.parse(found.storedAt) + 1000 + probeLockMs);
    try {
      await this.#put(key, bytes, { ifAbsent: false, lockedUntil }, signal);
    } catch (error) {
      if (error instanceof SkepError && error.permanent) return false;
      throw error;
    }
    const locked = await this.#patiently(`look at ${key}`, 0, signal, (inner) => this.#door.head(key, inner));
    await sleep(probeLockMs + 1000, undefined, signal === undefined ? {} : { signal });
    return locked?.isLocked === true;
  }

  async #deleteVersions(key: ObjectKey, signal: AbortSignal | undefined): Promise<void> {
    const versions = await this.#patiently(`list versions of ${key}`, 0, signal, (inner) =>
      this.#door.listVersions(key, inner),
    );
    if (versions.length === 0) return;
    refuseTogether(await this.#delete(versions, signal), versions.length, this.address);
  }

  /** Those refused for good. What may pass is tried again, alone. */
  async #delete(objects: readonly { key: ObjectKey }[], signal: AbortSignal | undefined): Promise<Refusal[]> {
    const refused: Refusal[] = [];
    let open = objects;
    const attempt = async (inner: AbortSignal): Promise<void> => {
      const failed = await this.#door.delete(open, inner);
      refused.push(...failed.filter(({ error }) => error.permanent));
      const passing = failed.filter(({ error }) => !error.permanent);
      const keys = new Set(passing.map(({ key }) => key));
      open = open.filter(({ key }) => keys.has(key));
      if (passing[0] !== undefined) throw passing[0].error;
    };
    try {
      await this.#patiently("delete objects", 0, signal, attempt);
    } catch (error) {
      if (open.length === objects.length) throw error;
      refused.push(...open.map(({ key }) => ({ key, error })));
    }
    return refused;
  }

  async #put(
    key: ObjectKey,
    bytes: Uint8Array,
    put: Omit<S3Put, "checksums">,
    signal: AbortSignal | undefined,
  ): Promise<S3PutOutcome> {
    let checksums: Checksums | null = null;
    let isSure = true;
    return await this.#patiently(`put ${key}`, bytes.byteLength, signal, async (inner) => {
      checksums ??= await checksumsOf(bytes);
      inner.throwIfAborted();
      try {
        const outcome = await this.#door.put(key, bytes, { ...put, checksums }, inner);
        if (outcome.outcome !== "taken" || isSure) return outcome;
        const found = await this.#door.head(key, inner);
        const isOurs = put.token !== undefined && found?.token === put.token;
        return isOurs ? { outcome: "stored", versionId: found.versionId } : outcome;
      } catch (error) {
        isSure = false; // the answer may have been lost, not the request
        throw error;
      }
    });
  }

  /** In a slot of its own each time, within the time that so many bytes may take, again and again by the plan. */
  async #patiently<T>(what: string, bytes: number, signal: AbortSignal | undefined, act: Act<T>): Promise<T> {
    const { requestMs, slowestBytesPerSecond } = this.#patience;
    const limitMs = requestMs + Math.ceil((bytes / slowestBytesPerSecond) * 1000);
    const late = (): SkepError =>
      new SkepError({
        code: "SKEP_STORE_UNREACHABLE",
        message: `gave up to ${what} at ${this.address} after ${(limitMs / 1000).toFixed(0)} s`,
        permanent: false,
        hint: "check the line to the store, and whether it is overloaded",
      });
    return await retried(this.#patience, signal, () =>
      this.#slots.use(signal, () => withDeadline(limitMs, signal, late, act)),
    );
  }
}

function newToken(): string {
  return randomBytes(16).toString("hex");
}

/** True when the act succeeded, false when these credentials may not do it. */
async function allowed(act: () => Promise<void>): Promise<boolean> {
  try {
    await act();
    return true;
  } catch (error) {
    if (error instanceof SkepError && error.code === "SKEP_STORE_DENIED") return false;
    throw error;
  }
}
