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
import { keptVersions } from "./kept-versions.ts";
import { checkKey, checkPrefix } from "./key.ts";
import { checkRange, checkSize, refuseLock } from "./limits.ts";
import type { StoreCredentials } from "./location.ts";
import { probeKey, raceCreation } from "./probe.ts";
import { retried, withDeadline, type RetryPlan } from "./retry.ts";
import type {
  S3Door,
  S3ObjectInfo,
  S3Page,
  S3Put,
  S3PutOutcome,
  S3Version,
  S3VersionsMarker,
  S3VersionsPage,
} from "./s3.ts";
import { addressOf, type S3Settings } from "./s3-settings.ts";
import { Slots } from "./slots.ts";
import type {
  ObjectHead,
  ObjectInfo,
  ObjectKey,
  ObjectVersion,
  PutOptions,
  Store,
  StoreAbilities,
  Stored,
} from "./store.ts";

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
  readonly #settings: S3Settings;
  readonly #credentials: StoreCredentials;
  #opened: Promise<S3Door> | null = null;
  readonly #slots: Slots;
  readonly #patience: S3Patience;
  /** Null: not proven either way. */
  #creationExcludes: boolean | null = null;

  constructor(settings: S3Settings, credentials: StoreCredentials, patience: S3Patience = defaultPatience) {
    this.#settings = settings;
    this.#credentials = credentials;
    this.address = addressOf(settings);
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

  async get(
    key: ObjectKey,
    maxBytes: number,
    signal?: AbortSignal,
    versionId: string | null = null,
  ): Promise<Uint8Array | null> {
    checkKey(key);
    return await this.#patiently(`get ${key}`, maxBytes, signal, async (inner) =>
      (await this.#door()).get(key, versionId, maxBytes, inner),
    );
  }

  async getRange(
    key: ObjectKey,
    start: number,
    end: number,
    signal?: AbortSignal,
    into?: Uint8Array,
  ): Promise<Uint8Array | null> {
    checkRange(checkKey(key), start, end, this.address);
    if (start === end) return (await this.head(key, signal)) === null ? null : new Uint8Array();
    return await this.#patiently(`get ${key}`, end - start, signal, async (inner) =>
      (await this.#door()).getRange(key, start, end, inner, into),
    );
  }

  async head(key: ObjectKey, signal?: AbortSignal): Promise<ObjectHead | null> {
    checkKey(key);
    const found = await this.#patiently(`look at ${key}`, 0, signal, async (inner) =>
      (await this.#door()).head(key, inner),
    );
    if (found === null) return null;
    const { sizeBytes, storedAt, versionId, lockedUntil } = found;
    return { key, sizeBytes, storedAt, versionId, lockedUntil };
  }

  async lock(key: ObjectKey, versionId: string | null, until: number, signal?: AbortSignal): Promise<void> {
    checkKey(key);
    const isLocked = await this.#patiently(`lock ${key}`, 0, signal, async (inner) =>
      (await this.#door()).lock(key, versionId, until, inner),
    );
    if (!isLocked) throw refuseLock(key, this.address);
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

  async *listDeleted(prefix: string, signal?: AbortSignal): AsyncGenerator<ObjectKey> {
    for await (const { deleted } of this.#versionPages(prefix, signal)) yield* deleted;
  }

  async *listVersions(prefix: string, signal?: AbortSignal): AsyncGenerator<ObjectVersion> {
    yield* keptVersions(this.#versionPages(prefix, signal));
  }

  async *#versionPages(prefix: string, signal: AbortSignal | undefined): AsyncGenerator<S3VersionsPage> {
    checkPrefix(prefix);
    let from: S3VersionsMarker | null = null;
    do {
      const page: S3VersionsPage = await this.#patiently(`list versions of ${prefix}`, 0, signal, async (inner) =>
        (await this.#door()).listVersions(prefix, from, inner),
      );
      yield page;
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
    const versions: S3Version[] = [];
    const put = async (text: string, how: Omit<S3Put, "checksums">): Promise<boolean> => {
      const outcome = await this.#put(key, Buffer.from(text), how, signal);
      if (outcome.outcome !== "stored") return false;
      if (outcome.versionId !== null) versions.push({ key, versionId: outcome.versionId });
      return true;
    };
    const read = async (): Promise<Uint8Array | null> => {
      let bytes: Uint8Array | null = null;
      await allowed(async () => {
        bytes = await this.get(key, 1024, signal);
      });
      return bytes; // what may not be read back proves nothing
    };
    const conditionalWrites = await raceCreation(
      (bytes) => put(Buffer.from(bytes).toString(), { ifAbsent: true, token: newToken() }),
      read,
    );
    this.#creationExcludes = conditionalWrites;
    const overwrites = await allowed(() => put("overwritten", { ifAbsent: false }));
    const hasVersions = versions.length > 0;
    const objectLock = hasVersions && (await this.#probeLock(key, put, signal));
    const deletesVersions = hasVersions && (await allowed(() => this.#deleteAll(versions, signal)));
    const deletes = await allowed(() => this.delete([key], signal));
    if (deletesVersions) await allowed(() => this.#deleteMarks(key, signal));
    const destroys = hasVersions ? deletesVersions : overwrites || deletes;
    return { conditionalWrites, versions: hasVersions, objectLock, deletes, destroys };
  }

  async close(): Promise<void> {
    (await this.#opened)?.close();
  }

  /** Made with the first request: who has a folder, or only asks for help, does not wait for the S3 client to be loaded. */
  #door(): Promise<S3Door> {
    this.#opened ??= import("./s3.ts").then(
      ({ S3Door }) => new S3Door(this.#settings, this.#credentials),
      (error: unknown) => {
        // Too many files were open, say: the next request tries again.
        this.#opened = null;
        throw error;
      },
    );
    return this.#opened;
  }

  async #listPage(prefix: string, from: string | null, signal: AbortSignal | undefined): Promise<S3Page> {
    return await this.#patiently(`list ${prefix}`, 0, signal, async (inner) =>
      (await this.#door()).listPage(prefix, from, inner),
    );
  }

  /** Locks a version of the probe's object for two seconds, and waits until it is free again. */
  async #probeLock(
    key: ObjectKey,
    put: (text: string, how: Omit<S3Put, "checksums">) => Promise<boolean>,
    signal: AbortSignal | undefined,
  ): Promise<boolean> {
    const look = async (): Promise<S3ObjectInfo | null> =>
      await this.#patiently(`look at ${key}`, 0, signal, async (inner) => (await this.#door()).head(key, inner));
    try {
      const found = await look();
      if (found === null) return false;
      // By the store's clock, which tells whole seconds here: one more.
      const lockedUntil = new Date(Date.parse(found.storedAt) + 1000 + probeLockMs);
      await put("locked", { ifAbsent: false, lockedUntil });
      const isLocked = (await look())?.lockedUntil != null;
      await sleep(probeLockMs + 1000, undefined, signal === undefined ? {} : { signal });
      return isLocked;
    } catch (error) {
      if (error instanceof SkepError && error.permanent) return false; // refused: no lock there, or no right to it
      signal?.throwIfAborted();
      throw error;
    }
  }

  /** What the deletion of the probe's object left of it. */
  async #deleteMarks(key: ObjectKey, signal: AbortSignal | undefined): Promise<void> {
    const { versions, marks } = await this.#patiently(`list versions of ${key}`, 0, signal, async (inner) =>
      (await this.#door()).listVersions(key, null, inner),
    );
    if (versions.length + marks.length > 0) await this.#deleteAll([...versions, ...marks], signal);
  }

  async #deleteAll(versions: readonly S3Version[], signal: AbortSignal | undefined): Promise<void> {
    refuseTogether(await this.#delete(versions, signal), versions.length, this.address);
  }

  /** Those refused for good. What may pass is tried again, alone. */
  async #delete(objects: readonly { key: ObjectKey }[], signal: AbortSignal | undefined): Promise<Refusal[]> {
    const refused: Refusal[] = [];
    let open = objects;
    const attempt = async (inner: AbortSignal): Promise<void> => {
      const failed = await (await this.#door()).delete(open, inner);
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
        const outcome = await (await this.#door()).put(key, bytes, { ...put, checksums }, inner);
        if (outcome.outcome !== "taken" || isSure) return outcome;
        const found = await (await this.#door()).head(key, inner);
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
async function allowed(act: () => Promise<unknown>): Promise<boolean> {
  try {
    await act();
    return true;
  } catch (error) {
    if (error instanceof SkepError && error.code === "SKEP_STORE_DENIED") return false;
    throw error;
  }
}
