// What the controller and the operators keep in the store under the catalogue key: policy, enrolments and the record
// of locks, each a row of numbered versions, sealed. The newest that opens counts, and the next one takes the first free
// number above it: what somebody else put into a row neither counts nor ends it. The runs are in run-chain.ts.
import type { z } from "zod";
import { SkepError, type ErrorCode } from "../errors.ts";
import { shapeFaults } from "../fault-list.ts";
import { parseJsonText } from "../json-text.ts";
import type { ObjectKey, Store } from "../store/store.ts";
import type { ControllerKey } from "./controller-key.ts";
import type { OnFault } from "./foreign.ts";
import { FirstVersions } from "./former-versions.ts";
import { deriveCatalogueKey, type KeyBytes } from "./keys.ts";
import { freeAbove, layout, numberOfKey, writerIdPattern } from "./layout.ts";
import type { RepositoryObject } from "./repository-object.ts";
import { open, seal, type SealedType } from "./sealed.ts";
import { protectionSchema, type Protection } from "./protection.ts";
import { publicKeyOf } from "./signature.ts";

export interface Catalogue {
  store: Store;
  repositoryId: string;
  catalogueKey: KeyBytes;
  /** Whose signature counts on runs: the present controller's. */
  controllerPublicKey: string;
  /** Of former controllers, on runs up to a sequence number. */
  formerControllerKeys: RepositoryObject["formerControllerKeys"];
}

/** `former`: as the repository object names them. */
export function catalogueOfController(
  store: Store,
  key: ControllerKey,
  former: Catalogue["formerControllerKeys"],
): Catalogue {
  return {
    store,
    repositoryId: key.repositoryId,
    catalogueKey: deriveCatalogueKey(Buffer.from(key.repositoryKey, "base64"), key.repositoryId),
    controllerPublicKey: publicKeyOf(key.signingKey),
    formerControllerKeys: former,
  };
}

/** A sealed JSON document; bounded by what a store takes (64 MiB). */
const maxDocumentBytes = 64 * 1024 * 1024;
/** Codes of what somebody else put there; a newer format too, as of the entries of the chain. */
const foreign = new Set<ErrorCode>([
  "SKEP_SEALED_INVALID",
  "SKEP_DOCUMENT_INVALID",
  "SKEP_STORE_TOO_LARGE",
  "SKEP_REPOSITORY_FORMAT_NEWER",
]);

export interface Versioned<T> {
  version: number;
  content: T;
}

interface Row {
  type: SealedType;
  prefix: string;
  keyOf: (version: number) => ObjectKey;
}
const policyRow: Row = { type: "policy", prefix: layout.policyPrefix, keyOf: layout.policy };
const protectionRow: Row = { type: "protection", prefix: layout.protectionPrefix, keyOf: layout.protection };
function enrolmentRow(writerId: string): Row {
  const keyOf = (version: number): ObjectKey => layout.agent(writerId, version);
  return { type: "enrolment", prefix: `${layout.agentsPrefix}${writerId}/`, keyOf };
}

export interface ReadOptions {
  signal?: AbortSignal | undefined;
  /** Without it the fault of a foreign object above what counts is thrown: SKEP_SEALED_INVALID, SKEP_DOCUMENT_INVALID, SKEP_STORE_TOO_LARGE. */
  onFault?: OnFault | undefined;
  /** Told beside onFault of the foreign object under the number right above what counts: it may be put over a newer one that counted. */
  onDoubt?: OnFault | undefined;
}

/** Adds a version of the policy; its number. */
export function putPolicy(catalogue: Catalogue, policy: unknown, signal?: AbortSignal): Promise<number> {
  return putNext(catalogue, policyRow, policy, signal);
}

/** The latest policy; null where there is none. Throws SKEP_DOCUMENT_INVALID where it has another shape. */
export async function readPolicy<T>(
  catalogue: Catalogue,
  schema: z.ZodType<T>,
  options: ReadOptions = {},
): Promise<Versioned<T> | null> {
  return await readNewest(catalogue, policyRow, schema, options);
}

/** That version; null where it is not there. Throws SKEP_SEALED_INVALID, SKEP_DOCUMENT_INVALID. */
export async function readPolicyVersion<T>(
  catalogue: Catalogue,
  schema: z.ZodType<T>,
  version: number,
  signal?: AbortSignal,
): Promise<Versioned<T> | null> {
  let found: Versioned<unknown> | null;
  try {
    found = await openVersion(catalogue, policyRow, version, signal);
  } catch (error) {
    const firsts = new FirstVersions(catalogue.store, () => policyRow.keyOf(version), signal);
    found = isForeign(error) ? await openFirst(catalogue, policyRow, version, firsts) : null;
    if (found === null) throw error;
  }
  return found && fit(catalogue, policyRow, found, schema);
}

/** Adds a version of the record of locks; its number. */
export function putProtection(catalogue: Catalogue, protection: Protection, signal?: AbortSignal): Promise<number> {
  return putNext(catalogue, protectionRow, protection, signal);
}

/** The newest that opens and has the right shape; null where there is none: it is a record, and an older one costs time alone. */
export async function readProtection(catalogue: Catalogue, options: ReadOptions = {}): Promise<Protection | null> {
  const versions = await versionsOf(catalogue.store, protectionRow, options.signal);
  for await (const found of newestFirst(catalogue, protectionRow, versions, options)) {
    try {
      return fit(catalogue, protectionRow, found, protectionSchema).content;
    } catch (error) {
      passOver(error, protectionRow.keyOf(found.version), options);
    }
  }
  return null;
}

/** Adds a version of one writer's enrolment; its number. */
export function putEnrolment(
  catalogue: Catalogue,
  writerId: string,
  enrolment: unknown,
  signal?: AbortSignal,
): Promise<number> {
  return putNext(catalogue, enrolmentRow(writerId), enrolment, signal);
}

/** The latest enrolment of one writer; null where there is none. */
export async function readEnrolment<T>(
  catalogue: Catalogue,
  writerId: string,
  schema: z.ZodType<T>,
  options: ReadOptions = {},
): Promise<Versioned<T> | null> {
  return await readNewest(catalogue, enrolmentRow(writerId), schema, options);
}

/** The latest enrolment of every writer that has one, by writer id. */
export async function readEnrolments<T>(
  catalogue: Catalogue,
  schema: z.ZodType<T>,
  options: ReadOptions = {},
): Promise<Map<string, Versioned<T>>> {
  const versions = new Map<string, number[]>();
  for await (const { key } of catalogue.store.list(layout.agentsPrefix, options.signal)) {
    const writerId = key.split("/")[1] ?? "";
    const version = numberOfKey(key);
    if (version === null || !writerIdPattern.test(writerId) || key !== layout.agent(writerId, version)) continue;
    const known = versions.get(writerId);
    if (known === undefined) versions.set(writerId, [version]);
    else known.push(version);
  }
  const enrolments = new Map<string, Versioned<T>>();
  const firsts = new FirstVersions(catalogue.store, () => layout.agentsPrefix, options.signal);
  for (const [writerId, ofWriter] of versions) {
    const row = enrolmentRow(writerId);
    for await (const found of newestFirst(catalogue, row, ofWriter, options, firsts)) {
      enrolments.set(writerId, fit(catalogue, row, found, schema));
      break;
    }
  }
  return enrolments;
}

async function readNewest<T>(
  catalogue: Catalogue,
  row: Row,
  schema: z.ZodType<T>,
  options: ReadOptions,
): Promise<Versioned<T> | null> {
  const versions = await versionsOf(catalogue.store, row, options.signal);
  for await (const found of newestFirst(catalogue, row, versions, options)) return fit(catalogue, row, found, schema);
  return null;
}

async function versionsOf(store: Store, { prefix, keyOf }: Row, signal?: AbortSignal): Promise<number[]> {
  const versions: number[] = [];
  for await (const { key } of store.list(prefix, signal)) {
    const version = numberOfKey(key);
    if (version !== null && key === keyOf(version)) versions.push(version);
  }
  return versions;
}

/** Those that open, also in the first version of a key that something was put over. What does not is told of. */
async function* newestFirst(
  catalogue: Catalogue,
  row: Row,
  versions: readonly number[],
  options: ReadOptions,
  firsts = new FirstVersions(catalogue.store, () => row.prefix, options.signal),
): AsyncGenerator<Versioned<unknown>> {
  let above: { version: number; fault: SkepError } | null = null;
  const tellOfDoubt = (counts: number): void => {
    if (above?.version === counts + 1) options.onDoubt?.(above.fault, row.keyOf(above.version));
  };
  for (const version of versions.toSorted((a, b) => b - a)) {
    let found: Versioned<unknown> | null = null;
    try {
      found = await openVersion(catalogue, row, version, options.signal);
    } catch (error) {
      const fault = passOver(error, row.keyOf(version), options);
      found = await openFirst(catalogue, row, version, firsts);
      if (found === null) above = { version, fault };
    }
    if (found === null) continue;
    tellOfDoubt(version);
    yield found;
  }
  tellOfDoubt(0);
}

function passOver(error: unknown, key: ObjectKey, { onFault }: ReadOptions): SkepError {
  if (onFault === undefined || !isForeign(error)) throw error;
  onFault(error, key);
  return error;
}

function isForeign(error: unknown): error is SkepError {
  return error instanceof SkepError && foreign.has(error.code);
}

async function putNext(catalogue: Catalogue, row: Row, content: unknown, signal?: AbortSignal): Promise<number> {
  const { type, keyOf } = row;
  const taken = await versionsOf(catalogue.store, row, signal);
  let newest = 0;
  // Whoever reads tells of what is foreign.
  for await (const { version } of newestFirst(catalogue, row, taken, { signal, onFault: () => undefined })) {
    newest = version;
    break;
  }
  const header = { type, repositoryId: catalogue.repositoryId, epoch: 0, writerId: "" };
  // The key is inside: a document copied to another key (an old policy as the newest) doesn't pass for it.
  for (let version = freeAbove(newest, taken); ; version++) {
    const plain = Buffer.from(JSON.stringify({ key: keyOf(version), content }), "utf8");
    const sealed = seal(plain, header, catalogue.catalogueKey);
    const stored = await catalogue.store.putIfAbsent(keyOf(version), sealed, { ...(signal && { signal }) });
    if (stored !== null) return version;
  }
}

/** Of this repository and for this key; null where it is gone. */
async function openVersion(
  catalogue: Catalogue,
  row: Row,
  version: number,
  signal: AbortSignal | undefined,
): Promise<Versioned<unknown> | null> {
  const key = row.keyOf(version);
  const sealed = await catalogue.store.get(key, maxDocumentBytes, signal);
  return sealed === null ? null : { version, content: openDocument(catalogue, row.type, key, sealed) };
}

/** Null where the store has no former version of it, or that one does not open either. */
async function openFirst(
  catalogue: Catalogue,
  { type, keyOf }: Row,
  version: number,
  firsts: FirstVersions,
): Promise<Versioned<unknown> | null> {
  const key = keyOf(version);
  const sealed = await firsts.of(key, maxDocumentBytes);
  try {
    return sealed === null ? null : { version, content: openDocument(catalogue, type, key, sealed) };
  } catch (error) {
    if (isForeign(error)) return null;
    throw error;
  }
}

/** Whether these bytes are a policy of this repository, under this key. Throws SKEP_SEALED_INVALID, SKEP_DOCUMENT_INVALID. */
export function opensAsPolicy(catalogue: Catalogue, key: ObjectKey, sealed: Uint8Array): true {
  openDocument(catalogue, policyRow.type, key, sealed);
  return true;
}

function openDocument(catalogue: Catalogue, type: SealedType, key: ObjectKey, sealed: Uint8Array): unknown {
  const place = `${key} at ${catalogue.store.address}`;
  const expected = { type, repositoryId: catalogue.repositoryId, writerId: "" };
  const document = parseJsonText(open(sealed, expected, catalogue.catalogueKey, place, maxDocumentBytes));
  if (typeof document !== "object" || document === null || !("key" in document) || !("content" in document)) {
    throw invalid(place, "it has another shape");
  }
  if (document.key !== key) throw invalid(place, "it was written for another key");
  return document.content;
}

function fit<T>(
  { store }: Catalogue,
  { keyOf }: Row,
  { version, content }: Versioned<unknown>,
  schema: z.ZodType<T>,
): Versioned<T> {
  const fitted = schema.safeParse(content);
  if (fitted.success) return { version, content: fitted.data };
  throw invalid(`${keyOf(version)} at ${store.address}`, `it has another shape: ${shapeFaults(fitted.error)}`);
}

function invalid(place: string, why: string): SkepError {
  return new SkepError({
    code: "SKEP_DOCUMENT_INVALID",
    message: `${place}: ${why}`,
    permanent: true,
    hint: "it was written by another version of Skep, or copied there: check who can write to the store",
  });
}
