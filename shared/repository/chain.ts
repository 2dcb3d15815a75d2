// The chain: numbered objects under runs/, each signed by the controller, sealed by the catalogue key, and naming its own
// number and the digest of the one before it. An entry is a run, or an upkeep entry that says what was forgotten. What
// is missing or replaced shows. Who appends creates the next number, which one alone can: so all appends have one order.
import { SkepError, type ErrorCode } from "../errors.ts";
import { shapeFaults } from "../fault-list.ts";
import { parseJsonText } from "../json-text.ts";
import type { ObjectKey, Store } from "../store/store.ts";
import { digest } from "./blake3.ts";
import { catalogueOfController, type Catalogue } from "./catalogue.ts";
import type { ControllerKey } from "./controller-key.ts";
import type { OnFault } from "./foreign.ts";
import { FirstVersions, firstVersion } from "./former-versions.ts";
import { freeAbove, layout, numberOfKey } from "./layout.ts";
import type { RepositoryObject } from "./repository-object.ts";
import { findRepository, refuseUnproven } from "./repository-reader.ts";
import { runSchema, type Run } from "./run.ts";
import { open, seal, sealedTypeOf } from "./sealed.ts";
import { publicKeyOf, signedSchema, signPayload, verifyPayload, type Signed } from "./signature.ts";
import { upkeepEntrySchema, type UpkeepEntry } from "./upkeep-entry.ts";

/** 64 MiB, what a store takes; a run of 200,000 parts needs some 20 MiB compressed. */
const maxEntryBytes = 64 * 1024 * 1024;
const maxPlainEntryBytes = 512 * 1024 * 1024;

export type EntryContent = { kind: "run"; run: Run } | { kind: "upkeep"; upkeep: UpkeepEntry };

export type ChainEntry = EntryContent & {
  key: ObjectKey;
  sequence: number;
  /** BLAKE3-256 of the object's bytes. */
  digest: string;
  previousDigest: string | null;
};

const contexts = { run: "skep/v1 run", upkeep: "skep/v1 upkeep" } as const;
const schemas = { run: runSchema, upkeep: upkeepEntrySchema } as const;

export async function listSequences(store: Store, signal?: AbortSignal): Promise<number[]> {
  const sequences: number[] = [];
  for await (const { key } of store.list(layout.runsPrefix, signal)) {
    const sequence = numberOfKey(key);
    if (sequence !== null && key === layout.run(sequence)) sequences.push(sequence);
  }
  return sequences.sort((a, b) => a - b);
}

/** Null where there is none. Throws SKEP_SEALED_INVALID, SKEP_SIGNATURE_INVALID, SKEP_RUN_INVALID, SKEP_STORE_TOO_LARGE, SKEP_REPOSITORY_FORMAT_NEWER (isFaultOfEntry). */
export async function readEntry(
  catalogue: Catalogue,
  sequence: number,
  signal?: AbortSignal,
): Promise<ChainEntry | null> {
  const sealed = await catalogue.store.get(layout.run(sequence), maxEntryBytes, signal);
  return sealed === null ? null : decodeEntry(catalogue, sequence, sealed);
}

/** Null where the store keeps no versions of it, or tells nothing of them. Throws as readEntry. */
export async function readFirstEntry(
  catalogue: Catalogue,
  sequence: number,
  signal?: AbortSignal,
): Promise<ChainEntry | null> {
  const sealed = await firstVersion(catalogue.store, layout.run(sequence), maxEntryBytes, signal);
  return sealed === null ? null : decodeEntry(catalogue, sequence, sealed);
}

/** Reads many entries; of one that something was put over the first version, where the store has it and it opens. */
export class EntryReader {
  readonly #catalogue: Catalogue;
  readonly #onCovered: OnFault;
  readonly #signal: AbortSignal | undefined;
  readonly #firsts: FirstVersions;

  /** `onCovered`: told of what was put over an entry that is read all the same. */
  constructor(catalogue: Catalogue, onCovered: OnFault, signal?: AbortSignal) {
    this.#catalogue = catalogue;
    this.#onCovered = onCovered;
    this.#signal = signal;
    this.#firsts = new FirstVersions(catalogue.store, layout.runsAround, signal);
  }

  /** As readEntry; what that throws is what lies there now. */
  async read(sequence: number): Promise<ChainEntry | null> {
    try {
      return await readEntry(this.#catalogue, sequence, this.#signal);
    } catch (error) {
      if (!isFaultOfEntry(error)) throw error;
      const first = await this.#readFirst(sequence);
      if (first === null) throw error;
      this.#onCovered(error, first.key);
      return first;
    }
  }

  async #readFirst(sequence: number): Promise<ChainEntry | null> {
    const sealed = await this.#firsts.of(layout.run(sequence), maxEntryBytes);
    try {
      return sealed === null ? null : decodeEntry(this.#catalogue, sequence, sealed);
    } catch (error) {
      if (isFaultOfEntry(error)) return null;
      throw error;
    }
  }
}

function decodeEntry(catalogue: Catalogue, sequence: number, sealed: Uint8Array): ChainEntry {
  const key = layout.run(sequence);
  const place = `${key} at ${catalogue.store.address}`;
  const kind: EntryContent["kind"] = sealedTypeOf(sealed) === "upkeep" ? "upkeep" : "run";
  const expected = { type: kind, repositoryId: catalogue.repositoryId, writerId: "" } as const;
  const plain = open(sealed, expected, catalogue.catalogueKey, place, maxPlainEntryBytes);
  const invalid = (why: string): SkepError =>
    new SkepError({
      code: "SKEP_RUN_INVALID",
      message: `${place} is not a run of this repository: ${why}`,
      permanent: true,
      hint: "it was written by a newer Skep, or not by this repository's controller",
    });
  const signed = signedSchema.safeParse(parseJsonText(plain));
  if (!signed.success) throw invalid("it is not signed");
  const payload = parseJsonText(verifyByAny(kind, signed.data, signersOf(catalogue, sequence), place));
  const parsed = schemas[kind].safeParse(payload);
  if (!parsed.success) throw invalid(shapeFaults(parsed.error));
  const { repositoryId, sequence: own, previousDigest } = parsed.data;
  if (repositoryId !== catalogue.repositoryId) throw invalid(`it belongs to ${repositoryId}`);
  if (own !== sequence) throw invalid(`it is number ${own} of the chain`);
  const content = (kind === "run" ? { kind, run: parsed.data } : { kind, upkeep: parsed.data }) as EntryContent;
  return { ...content, key, sequence, digest: digest(sealed), previousDigest };
}

/**
 * The newest that opens, of these numbers: what somebody else put there has no part in the chain. `onCovered`: as EntryReader;
 * who reads the whole chain tells of it, so that others need not.
 */
export async function newestEntry(
  catalogue: Catalogue,
  sequences: readonly number[],
  signal?: AbortSignal,
  onCovered: OnFault = () => undefined,
): Promise<ChainEntry | null> {
  const reader = new EntryReader(catalogue, onCovered, signal);
  for (const sequence of sequences.toReversed()) {
    try {
      const entry = await reader.read(sequence);
      if (entry !== null) return entry;
    } catch (error) {
      if (!isFaultOfEntry(error)) throw error;
    }
  }
  return null;
}

/** Counted from the newest entry. */
export function nextSequence(sequences: readonly number[], newest: ChainEntry | null): number {
  return freeAbove(newest?.sequence ?? 0, sequences);
}

/** The upkeep entry that counts after this entry; null where there is none. */
export async function upkeepAt(
  catalogue: Catalogue,
  entry: ChainEntry | null,
  signal?: AbortSignal,
): Promise<UpkeepEntry | null> {
  if (entry === null) return null;
  if (entry.kind === "upkeep") return entry.upkeep;
  const { upkeepSequence } = entry.run;
  if (upkeepSequence === null) return null;
  const named = await new EntryReader(catalogue, () => undefined, signal).read(upkeepSequence);
  if (named?.kind === "upkeep") return named.upkeep;
  throw new SkepError({
    code: "SKEP_UPKEEP_MISSING",
    message: `${layout.run(upkeepSequence)} at ${catalogue.store.address}, which ${entry.key} names, is missing or no upkeep entry`,
    permanent: true,
    hint: "bring it back from the store's former versions; where it is lost for good, `skep prune --accept-gaps` writes a new one",
  });
}

/** What counts now. Throws what readEntry throws for the entry that is named, SKEP_UPKEEP_MISSING. */
export async function newestUpkeep(catalogue: Catalogue, signal?: AbortSignal): Promise<UpkeepEntry | null> {
  const sequences = await listSequences(catalogue.store, signal);
  return await upkeepAt(catalogue, await newestEntry(catalogue, sequences, signal), signal);
}

export interface ToAppend {
  signal?: AbortSignal | undefined;
  /** Version and root key of the repository object that the writer knows: it takes no lower one. */
  known?: Pick<RepositoryObject, "version" | "rootPublicKey"> | undefined;
  /** True for what gives something up: refused where a newer repository object may have been put over. */
  givesUp?: boolean;
}

/**
 * Opens the catalogue for an append. Throws SKEP_REPOSITORY_FENCED where the repository has another incarnation than
 * the writer, or another controller key; SKEP_REPOSITORY_ROLLED_BACK, SKEP_REPOSITORY_UNPROVEN.
 */
export async function catalogueToAppend(
  store: Store,
  key: ControllerKey,
  incarnation: number,
  { signal, known, givesUp = false }: ToAppend = {},
): Promise<Catalogue> {
  const publicKey = publicKeyOf(key.signingKey);
  const found = await findRepository(store, known?.rootPublicKey ?? key.rootPublicKey, {
    // Who opened the repository told of what is foreign there.
    onForeign: () => undefined,
    ...(known && { minVersion: known.version }),
    ...(signal && { signal }),
  });
  if (givesUp) refuseUnproven(found, store.address);
  const { object: repository } = found;
  if (repository.incarnation !== incarnation || repository.controllerPublicKey !== publicKey) {
    throw new SkepError({
      code: "SKEP_REPOSITORY_FENCED",
      message: `the repository at ${store.address} is at incarnation ${repository.incarnation}${
        repository.controllerPublicKey === publicKey ? "" : " with another controller key"
      }; this controller is of incarnation ${incarnation} and may not write to it`,
      permanent: true,
      hint: "a recovery or a clone took the repository over: stop this controller, or give it the new kit",
    });
  }
  return catalogueOfController(store, key, repository.formerControllerKeys);
}

/** Signs, seals and creates the entry under its own number; false where that is taken. */
export async function putEntry(
  catalogue: Catalogue,
  key: ControllerKey,
  content: EntryContent,
  signal?: AbortSignal,
): Promise<boolean> {
  const payload = schemas[content.kind].parse(content.kind === "run" ? content.run : content.upkeep);
  const signed = signPayload(contexts[content.kind], JSON.stringify(payload), key.signingKey);
  const sealed = seal(
    Buffer.from(JSON.stringify(signed), "utf8"),
    { type: content.kind, repositoryId: key.repositoryId, epoch: 0, writerId: "" },
    catalogue.catalogueKey,
  );
  const stored = await catalogue.store.putIfAbsent(layout.run(payload.sequence), sealed, { ...(signal && { signal }) });
  return stored !== null;
}

function signersOf({ controllerPublicKey, formerControllerKeys }: Catalogue, sequence: number): string[] {
  const former = formerControllerKeys.filter(({ lastSequence }) => sequence <= lastSequence);
  return [controllerPublicKey, ...former.map(({ publicKey }) => publicKey)];
}

function verifyByAny(kind: EntryContent["kind"], signed: Signed, publicKeys: readonly string[], place: string): string {
  let fault: unknown = new TypeError("a catalogue needs a controller key");
  for (const publicKey of publicKeys) {
    try {
      return verifyPayload(contexts[kind], signed, publicKey, place);
    } catch (error) {
      fault = error;
    }
  }
  throw fault;
}

/**
 * An object that is larger than any store takes from us was put there by somebody else; and so was one of a newer format,
 * of which the repository object would have told, under its signature: the entry's own word for it is nobody's.
 */
const faultsOfEntry = new Set<ErrorCode>([
  "SKEP_SEALED_INVALID",
  "SKEP_SIGNATURE_INVALID",
  "SKEP_RUN_INVALID",
  "SKEP_STORE_TOO_LARGE",
  "SKEP_REPOSITORY_FORMAT_NEWER",
]);

export function isFaultOfEntry(error: unknown): error is SkepError {
  return error instanceof SkepError && faultsOfEntry.has(error.code);
}
