// What the controller and the operators keep in the store under the catalogue key: policy, enrolments and the record
// of locks as numbered versions, each sealed. The runs are in run-chain.ts.
import type { z } from "zod";
import { SkepError, type ErrorCode } from "../errors.ts";
import type { ObjectKey, Store } from "../store/store.ts";
import type { ControllerKey } from "./controller-key.ts";
import { deriveCatalogueKey, type KeyBytes } from "./keys.ts";
import { layout, numberOfKey, writerIdPattern } from "./layout.ts";
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
/** Codes of what somebody else put there. */
const foreign = new Set<ErrorCode>(["SKEP_SEALED_INVALID", "SKEP_DOCUMENT_INVALID", "SKEP_STORE_TOO_LARGE"]);

export interface Versioned<T> {
  version: number;
  content: T;
}

/** Adds a version of the policy; its number. */
export function putPolicy(catalogue: Catalogue, policy: unknown, signal?: AbortSignal): Promise<number> {
  return putNextVersion(catalogue, "policy", layout.policyPrefix, layout.policy, policy, signal);
}

/** The latest policy, or that of one version; null where there is none. Throws SKEP_SEALED_INVALID, SKEP_DOCUMENT_INVALID. */
export async function readPolicy<T>(
  catalogue: Catalogue,
  schema: z.ZodType<T>,
  version?: number,
  signal?: AbortSignal,
): Promise<Versioned<T> | null> {
  const wanted = version ?? (await latestVersion(catalogue.store, layout.policyPrefix, layout.policy, signal));
  return wanted === 0 ? null : readVersion(catalogue, "policy", layout.policy(wanted), wanted, schema, signal);
}

/**
 * Adds a version of the record of locks; its number. Counted from the newest that opens: a foreign object under the highest
 * number of all must not end the row.
 */
export async function putProtection(
  catalogue: Catalogue,
  protection: Protection,
  signal?: AbortSignal,
): Promise<number> {
  const taken = new Set(await versionsOf(catalogue.store, layout.protectionPrefix, layout.protection, signal));
  let next = ((await newestProtection(catalogue, [...taken], () => undefined, signal))?.version ?? 0) + 1;
  while (taken.has(next)) next++;
  return await putVersion(catalogue, "protection", next, layout.protection, protection, signal);
}

/** Told of each object that does not open, or is none of ours. */
export type OnFault = (fault: SkepError, key: ObjectKey) => void;

/**
 * The newest that opens; null where there is none. It is a record, and every writer can put something under its prefix: that
 * must stop nobody. Without `onFault` it throws as readPolicy.
 */
export async function readProtection(
  catalogue: Catalogue,
  { signal, onFault }: { signal?: AbortSignal; onFault?: OnFault } = {},
): Promise<Protection | null> {
  const versions = await versionsOf(catalogue.store, layout.protectionPrefix, layout.protection, signal);
  return (await newestProtection(catalogue, versions, onFault, signal))?.content ?? null;
}

async function newestProtection(
  catalogue: Catalogue,
  versions: readonly number[],
  onFault: OnFault | undefined,
  signal: AbortSignal | undefined,
): Promise<Versioned<Protection> | null> {
  for (const version of versions.toSorted((a, b) => b - a)) {
    const key = layout.protection(version);
    try {
      const found = await readVersion(catalogue, "protection", key, version, protectionSchema, signal);
      if (found !== null) return found;
    } catch (error) {
      if (onFault === undefined || !(error instanceof SkepError && foreign.has(error.code))) throw error;
      onFault(error, key);
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
  const keyOf = (version: number): ObjectKey => layout.agent(writerId, version);
  return putNextVersion(catalogue, "enrolment", `${layout.agentsPrefix}${writerId}/`, keyOf, enrolment, signal);
}

/** The latest enrolment of one writer; null where there is none. */
export async function readEnrolment<T>(
  catalogue: Catalogue,
  writerId: string,
  schema: z.ZodType<T>,
  signal?: AbortSignal,
): Promise<Versioned<T> | null> {
  const keyOf = (version: number): ObjectKey => layout.agent(writerId, version);
  const version = await latestVersion(catalogue.store, `${layout.agentsPrefix}${writerId}/`, keyOf, signal);
  return version === 0 ? null : readVersion(catalogue, "enrolment", keyOf(version), version, schema, signal);
}

/** The latest enrolment of every writer, by writer id. */
export async function readEnrolments<T>(
  catalogue: Catalogue,
  schema: z.ZodType<T>,
  signal?: AbortSignal,
): Promise<Map<string, Versioned<T>>> {
  const versions = new Map<string, number>();
  for await (const { key } of catalogue.store.list(layout.agentsPrefix, signal)) {
    const writerId = key.split("/")[1] ?? "";
    const version = numberOfKey(key);
    if (version === null || !writerIdPattern.test(writerId) || key !== layout.agent(writerId, version)) continue;
    versions.set(writerId, Math.max(version, versions.get(writerId) ?? 0));
  }
  const enrolments = new Map<string, Versioned<T>>();
  for (const [writerId, version] of versions) {
    const key = layout.agent(writerId, version);
    const found = await readVersion(catalogue, "enrolment", key, version, schema, signal);
    if (found !== null) enrolments.set(writerId, found);
  }
  return enrolments;
}

async function latestVersion(
  store: Store,
  prefix: string,
  keyOf: (version: number) => ObjectKey,
  signal?: AbortSignal,
): Promise<number> {
  return (await versionsOf(store, prefix, keyOf, signal)).reduce((latest, version) => Math.max(latest, version), 0);
}

async function versionsOf(
  store: Store,
  prefix: string,
  keyOf: (version: number) => ObjectKey,
  signal?: AbortSignal,
): Promise<number[]> {
  const versions: number[] = [];
  for await (const { key } of store.list(prefix, signal)) {
    const version = numberOfKey(key);
    if (version !== null && key === keyOf(version)) versions.push(version);
  }
  return versions;
}

async function putNextVersion(
  catalogue: Catalogue,
  type: SealedType,
  prefix: string,
  keyOf: (version: number) => ObjectKey,
  content: unknown,
  signal?: AbortSignal,
): Promise<number> {
  const next = (await latestVersion(catalogue.store, prefix, keyOf, signal)) + 1;
  return await putVersion(catalogue, type, next, keyOf, content, signal);
}

/** Under that number, or the next that is free. */
async function putVersion(
  catalogue: Catalogue,
  type: SealedType,
  first: number,
  keyOf: (version: number) => ObjectKey,
  content: unknown,
  signal?: AbortSignal,
): Promise<number> {
  const header = { type, repositoryId: catalogue.repositoryId, epoch: 0, writerId: "" };
  // The key is inside: a document copied to another key (an old policy as the newest) doesn't pass for it.
  for (let version = first; ; version++) {
    const plain = Buffer.from(JSON.stringify({ key: keyOf(version), content }), "utf8");
    const sealed = seal(plain, header, catalogue.catalogueKey);
    const stored = await catalogue.store.putIfAbsent(keyOf(version), sealed, { ...(signal && { signal }) });
    if (stored !== null) return version;
  }
}

async function readVersion<T>(
  catalogue: Catalogue,
  type: SealedType,
  key: ObjectKey,
  version: number,
  schema: z.ZodType<T>,
  signal?: AbortSignal,
): Promise<Versioned<T> | null> {
  const sealed = await catalogue.store.get(key, maxDocumentBytes, signal);
  if (sealed === null) return null;
  const place = `${key} at ${catalogue.store.address}`;
  const expected = { type, repositoryId: catalogue.repositoryId, writerId: "" };
  const text = Buffer.from(open(sealed, expected, catalogue.catalogueKey, place, maxDocumentBytes)).toString("utf8");
  const document: unknown = JSON.parse(text);
  const invalid = (why: string): SkepError =>
    new SkepError({
      code: "SKEP_DOCUMENT_INVALID",
      message: `${place}: ${why}`,
      permanent: true,
      hint: "it was written by another version of Skep, or copied there: check who can write to the store",
    });
  if (typeof document !== "object" || document === null || !("key" in document) || !("content" in document)) {
    throw invalid("it has another shape");
  }
  if (document.key !== key) throw invalid("it was written for another key");
  const content = schema.safeParse(document.content);
  if (!content.success) throw invalid(`it has another shape: ${content.error.message}`);
  return { version, content: content.data };
}
