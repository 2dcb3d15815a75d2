// The runs as they lie in the store, for when the swarm is dead: opened with the identity, or with the kit's
// controller key.
import { SkepError } from "../../shared/errors.ts";
import { deriveCatalogueKey } from "../../shared/repository/keys.ts";
import type { Catalogue } from "../../shared/repository/catalogue.ts";
import type { ControllerKey } from "../../shared/repository/controller-key.ts";
import { openAsOperator } from "../../shared/repository/open/operator.ts";
import type { RepositoryObject } from "../../shared/repository/repository-object.ts";
import { readRepositoryObject, type ReadRepositoryOptions } from "../../shared/repository/repository-reader.ts";
import { publicKeyOf } from "../../shared/repository/signature.ts";
import { openStore } from "../../shared/store/open.ts";
import type { Store } from "../../shared/store/store.ts";
import { accessControllerKey, accessIdentity, accessStore, type IdentityOptions, type StoreOptions } from "./access.ts";
import * as format from "./format.ts";
import type { Session } from "./session.ts";

export interface OpenedCatalogue {
  store: Store;
  repository: RepositoryObject;
  catalogue: Catalogue;
}

/** Opens store and catalogue for as long as `use` takes. Throws SKEP_CONTROLLER_KEY_DOES_NOT_FIT, SKEP_IDENTITY_DOES_NOT_FIT. */
export async function withCatalogue<T>(
  session: Session,
  options: StoreOptions & IdentityOptions,
  use: (opened: OpenedCatalogue) => Promise<T>,
): Promise<T> {
  const { location, credentials } = await accessStore(session, options);
  const controllerKey = options.identity === undefined ? await accessControllerKey(options) : null;
  const identity = controllerKey === null ? await accessIdentity(options) : null;
  const store = openStore(location, credentials);
  try {
    const reading = readingOptions(session);
    if (controllerKey !== null) return await use(await openWithControllerKey(store, controllerKey, reading));
    if (identity === null) throw new TypeError("neither a controller key nor an identity");
    const { repositoryObject, catalogue } = await openAsOperator(store, identity, reading);
    return await use({ store, repository: repositoryObject, catalogue });
  } finally {
    await store.close();
  }
}

/** Objects that somebody else put beside the repository object are named, and passed over. */
export function readingOptions({ output, signal }: Session): ReadRepositoryOptions {
  return {
    signal,
    onForeign: (fault, key) => {
      output.warn(`${key} does not count: ${format.visible(fault.message)}`);
    },
  };
}

export async function openWithControllerKey(
  store: Store,
  key: ControllerKey,
  reading: ReadRepositoryOptions,
): Promise<OpenedCatalogue> {
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
  const { repositoryId } = repository;
  if (repositoryId !== key.repositoryId) {
    throw doesNotFit(`the kit is for repository ${key.repositoryId}, ${store.address} holds ${repositoryId}`);
  }
  if (publicKeyOf(key.signingKey) !== repository.controllerPublicKey) {
    throw doesNotFit(`the repository at ${store.address} has another controller key than the kit`);
  }
  const catalogueKey = deriveCatalogueKey(Buffer.from(key.repositoryKey, "base64"), repositoryId);
  const controllerPublicKeys = [repository.controllerPublicKey];
  return { store, repository, catalogue: { store, repositoryId, catalogueKey, controllerPublicKeys } };
}
