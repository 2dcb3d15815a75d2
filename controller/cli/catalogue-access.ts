// The runs as they lie in the store, for when the swarm is dead: opened with the identity, or with the kit's
// controller key.
import { SkepError } from "../../shared/errors.ts";
import { catalogueOfController, type Catalogue } from "../../shared/repository/catalogue.ts";
import type { ControllerKey } from "../../shared/repository/controller-key.ts";
import { ForeignObjects, type OnFault } from "../../shared/repository/foreign.ts";
import type { IdentityFile } from "../../shared/repository/identity-file.ts";
import { deriveWriterKey, deriveWriterKeys, type KeyBytes } from "../../shared/repository/keys.ts";
import { openAsOperator, type Operator } from "../../shared/repository/open/operator.ts";
import type { RepositoryObject } from "../../shared/repository/repository-object.ts";
import { readRepositoryObject, type ReadRepositoryOptions } from "../../shared/repository/repository-reader.ts";
import { publicKeyOf } from "../../shared/repository/signature.ts";
import type { CatalogueKeys } from "../../shared/repository/upkeep/refs-lines.ts";
import { openStore } from "../../shared/store/open.ts";
import type { Store } from "../../shared/store/store.ts";
import {
  accessControllerKey,
  accessIdentity,
  accessStore,
  type IdentityOptions,
  type StoreAccess,
  type StoreOptions,
} from "./access.ts";
import * as format from "./format.ts";
import type { Session } from "./session.ts";

export interface OpenedCatalogue {
  access: StoreAccess;
  /** Of which was warned: above the repository object that counts. */
  foreign: ForeignObjects;
  store: Store;
  repository: RepositoryObject;
  repositoryKey: KeyBytes;
  catalogue: Catalogue;
}

/** What opens every writer's index and refs. */
export function catalogueKeysOf({ store, repository, repositoryKey }: OpenedCatalogue): CatalogueKeys {
  const { repositoryId } = repository;
  const sealKeyOf = (writerId: string): KeyBytes =>
    deriveWriterKeys(deriveWriterKey(repositoryKey, repositoryId, writerId), repositoryId).seal;
  return { store, repositoryId, sealKeyOf };
}

/** Opens store and catalogue, with the identity if one is named, else with the kit's controller key, for as long as `use` takes. */
export async function withCatalogue<T>(
  session: Session,
  options: StoreOptions & IdentityOptions,
  use: (opened: OpenedCatalogue) => Promise<T>,
): Promise<T> {
  const key = options.identity === undefined ? await accessControllerKey(options) : null;
  if (key === null) return await withOperator(session, options, use);
  return await withControllerKey(session, options, key, use);
}

/** With all that the identity opens. Throws SKEP_IDENTITY_DOES_NOT_FIT. */
export async function withOperator<T>(
  session: Session,
  options: StoreOptions & IdentityOptions,
  use: (opened: OpenedCatalogue & { operator: Operator }) => Promise<T>,
): Promise<T> {
  return await withOperatorOf(session, options, await accessIdentity(session, options), use);
}

/** As withOperator, of an identity file that was read already. */
export async function withOperatorOf<T>(
  session: Session,
  options: StoreOptions,
  identity: IdentityFile,
  use: (opened: OpenedCatalogue & { operator: Operator }) => Promise<T>,
): Promise<T> {
  return await withStore(session, options, async (access, store) => {
    const foreign = new ForeignObjects();
    const operator = await openAsOperator(store, identity, readingOptions(session, foreign));
    const { repositoryObject: repository, repositoryKey, catalogue } = operator;
    return await use({ access, foreign, store, repository, repositoryKey, catalogue, operator });
  });
}

/** Throws SKEP_CONTROLLER_KEY_DOES_NOT_FIT. */
export async function withControllerKey<T>(
  session: Session,
  options: StoreOptions,
  key: ControllerKey,
  use: (opened: OpenedCatalogue) => Promise<T>,
): Promise<T> {
  return await withStore(session, options, async (access, store) => {
    const foreign = new ForeignObjects();
    const repository = await readWithControllerKey(store, key, readingOptions(session, foreign));
    const repositoryKey = Buffer.from(key.repositoryKey, "base64");
    const catalogue = catalogueOfController(store, key, repository.formerControllerKeys);
    return await use({ access, foreign, store, repository, repositoryKey, catalogue });
  });
}

/** Opens the store alone, for as long as `use` takes. */
export async function withStore<T>(
  session: Session,
  options: StoreOptions,
  use: (access: StoreAccess, store: Store) => Promise<T>,
): Promise<T> {
  const access = await accessStore(session, options);
  const store = openStore(access.location, access.credentials);
  try {
    return await use(access, store);
  } finally {
    await store.close();
  }
}

/** Objects that somebody else put beside the repository object are named, and passed over. */
export function readingOptions(session: Session, foreign = new ForeignObjects()): ReadRepositoryOptions {
  return { signal: session.signal, onForeign: warnOfForeign(session, foreign) };
}

/** Those that `foreign` names; of the others that there are more. */
export function warnOfForeign({ output }: Session, foreign = new ForeignObjects()): OnFault {
  return (fault, key) => {
    if (foreign.add(fault, key))
      output.warn(`what lies at ${key} now does not count: ${format.visible(fault.message)}`);
    else if (foreign.leftOut === 1)
      output.warn("nor do more objects, which are not named here: `skep check` counts them");
  };
}

async function readWithControllerKey(
  store: Store,
  key: ControllerKey,
  reading: ReadRepositoryOptions,
): Promise<RepositoryObject> {
  const doesNotFit = (message: string, cause?: unknown): SkepError =>
    new SkepError({
      code: "SKEP_CONTROLLER_KEY_DOES_NOT_FIT",
      message,
      permanent: true,
      hint: "give the kit of this repository with --kit; the recovery card names its id",
      cause,
    });
  let repository: RepositoryObject;
  try {
    repository = await readRepositoryObject(store, key.rootPublicKey, reading);
  } catch (error) {
    if (!(error instanceof SkepError) || error.code !== "SKEP_SIGNATURE_INVALID") throw error;
    throw doesNotFit(`the repository at ${store.address} is not signed by the root key that the kit pins`, error);
  }
  if (repository.repositoryId !== key.repositoryId) {
    throw doesNotFit(
      `the kit is for repository ${key.repositoryId}, ${store.address} holds ${repository.repositoryId}`,
    );
  }
  if (publicKeyOf(key.signingKey) !== repository.controllerPublicKey) {
    throw doesNotFit(`the repository at ${store.address} has another controller key than the kit`);
  }
  return repository;
}
