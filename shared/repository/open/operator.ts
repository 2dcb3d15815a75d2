// What an operator's identity file opens: the repository key and with it every writer's keys, the epochs, the
// catalogue. Never reached from the controller's daemon nor from the backup path.
import { SkepError } from "../../errors.ts";
import type { Store } from "../../store/store.ts";
import type { Catalogue } from "../catalogue.ts";
import type { IdentityFile } from "../identity-file.ts";
import {
  deriveCatalogueKey,
  deriveKeyCheck,
  deriveWriterKey,
  deriveWriterKeys,
  type KeyBytes,
  type WriterKeys,
} from "../keys.ts";
import { layout } from "../layout.ts";
import { decodeRepositoryKey } from "../repository-key.ts";
import { epochsOf, type RepositoryObject } from "../repository-object.ts";
import { readRepositoryObject, type ReadRepositoryOptions } from "../repository-reader.ts";
import { decryptAge, recipientOf } from "./age.ts";

/** Key files hold a header of some recipients and a few lines. */
const maxKeyFileBytes = 1024 * 1024;

export interface Operator {
  repositoryObject: RepositoryObject;
  repositoryKey: KeyBytes;
  catalogueKey: KeyBytes;
  catalogue: Catalogue;
  /** The age identity (`AGE-SECRET-KEY-…`) of one epoch; read from the store once. */
  epochIdentity(epoch: number): Promise<string>;
  writerKey(writerId: string): KeyBytes;
  writerKeys(writerId: string): WriterKeys;
}

/**
 * Throws SKEP_IDENTITY_DOES_NOT_FIT where the file belongs to another repository or was removed from this one,
 * SKEP_KEY_MISSING where a key object is gone, and what readRepositoryObject throws.
 */
export async function openAsOperator(
  store: Store,
  identityFile: IdentityFile,
  options: ReadRepositoryOptions = {},
): Promise<Operator> {
  const { signal } = options;
  const repositoryObject = await readWithIdentity(store, identityFile, options);
  const { repositoryId } = repositoryObject;
  const keyObject = layout.repositoryKey(repositoryObject.repositoryKeyVersion);
  const repositoryKey = decodeRepositoryKey(await openKeyFile(store, keyObject, identityFile, signal), keyObject);
  if (deriveKeyCheck(repositoryKey, repositoryId) !== repositoryObject.repositoryKeyCheck) {
    throw keyMissing(`${keyObject} at ${store.address} holds another key than the repository object names`);
  }
  const catalogueKey = deriveCatalogueKey(repositoryKey, repositoryId);
  const epochs = new Map<number, Promise<string>>();
  const writerKey = (writerId: string): KeyBytes => deriveWriterKey(repositoryKey, repositoryId, writerId);
  return {
    repositoryObject,
    repositoryKey,
    catalogueKey,
    catalogue: {
      store,
      repositoryId,
      catalogueKey,
      controllerPublicKey: repositoryObject.controllerPublicKey,
      formerControllerKeys: repositoryObject.formerControllerKeys,
    },
    epochIdentity(epoch) {
      const known = epochs.get(epoch);
      if (known !== undefined) return known;
      const reading = readEpochIdentity(store, repositoryObject, identityFile, epoch, signal);
      epochs.set(epoch, reading);
      reading.catch(() => epochs.delete(epoch));
      return reading;
    },
    writerKey,
    writerKeys: (writerId) => deriveWriterKeys(writerKey(writerId), repositoryId),
  };
}

async function readWithIdentity(
  store: Store,
  identityFile: IdentityFile,
  options: ReadRepositoryOptions,
): Promise<RepositoryObject> {
  let object: RepositoryObject;
  try {
    object = await readRepositoryObject(store, identityFile.rootPublicKey, options);
  } catch (error) {
    if (!(error instanceof SkepError) || error.code !== "SKEP_SIGNATURE_INVALID") throw error;
    throw doesNotFit(`the repository at ${store.address} is not signed by the root key of this identity file`, error);
  }
  if (object.repositoryId !== identityFile.repositoryId) {
    throw doesNotFit(
      `the identity file is for repository ${identityFile.repositoryId}, ${store.address} holds ${object.repositoryId}`,
    );
  }
  return object;
}

function doesNotFit(message: string, cause?: unknown): SkepError {
  return new SkepError({
    code: "SKEP_IDENTITY_DOES_NOT_FIT",
    message,
    permanent: true,
    hint: "compare the store's address and the repository id with the recovery card",
    cause,
  });
}

function keyMissing(message: string): SkepError {
  return new SkepError({
    code: "SKEP_KEY_MISSING",
    message,
    permanent: true,
    hint: "without it nothing of the repository can be opened: look for it in the store's former versions or a copy",
  });
}

async function openKeyFile(
  store: Store,
  key: string,
  identityFile: IdentityFile,
  signal: AbortSignal | undefined,
): Promise<Buffer> {
  const place = `${key} at ${store.address}`;
  const file = await store.get(key, maxKeyFileBytes, signal);
  if (file === null) throw keyMissing(`${place} is missing`);
  return decryptAge(file, [identityFile.identity], place);
}

/** Every epoch's identity is proven by the recipient that the repository object names. */
async function readEpochIdentity(
  store: Store,
  repository: RepositoryObject,
  identityFile: IdentityFile,
  epoch: number,
  signal: AbortSignal | undefined,
): Promise<string> {
  const named = epochsOf(repository).find(({ number }) => number === epoch);
  if (named === undefined) throw keyMissing(`the repository object at ${store.address} names no epoch ${epoch}`);
  const key = layout.epochKey(epoch, named.keyVersion);
  const text = (await openKeyFile(store, key, identityFile, signal)).toString("utf8");
  const identity = text.split(/\r?\n/).find((line) => line.startsWith("AGE-SECRET-KEY-"));
  if (identity === undefined) throw keyMissing(`${key} at ${store.address} holds no age identity`);
  if ((await recipientOf(identity, key)) !== named.recipient) {
    throw keyMissing(`${key} at ${store.address} holds another identity than that of epoch ${epoch}`);
  }
  return identity;
}
