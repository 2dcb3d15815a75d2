// A recovery takes a repository over: the next version of the repository object names the next incarnation and another
// controller. The former controller's runs still count; what it would write from now on does not.
import { SkepError } from "../errors.ts";
import type { Store } from "../store/store.ts";
import type { Catalogue } from "./catalogue.ts";
import { listSequences, newestEntry } from "./chain.ts";
import type { OnFault } from "./foreign.ts";
import { layout } from "./layout.ts";
import { checkRootKey, encodeRepositoryObject, type RepositoryObject } from "./repository-object.ts";
import { findRepository, refuseUnproven } from "./repository-reader.ts";

const triesOnRace = 5;

/** `now` in ms since 1970. Throws SKEP_ROOT_KEY_REPLACED, SKEP_REPOSITORY_UNPROVEN, and SKEP_REPOSITORY_RACE where others keep writing versions. */
export async function succeedController(options: {
  store: Store;
  rootPublicKey: string;
  rootPrivateKey: string;
  /** Of the controller to come. */
  controllerPublicKey: string;
  now: number;
  /** Opens the chain, whose newest entry is the last on which the former controller's signature counts. */
  catalogueKey: Catalogue["catalogueKey"];
  /** Told of what lies above the repository object that counts, and is passed over. */
  onForeign: OnFault;
  /** True: also where a newer repository object may have been put over. */
  acceptForeign?: boolean;
  signal?: AbortSignal;
}): Promise<RepositoryObject> {
  const { store, rootPublicKey, rootPrivateKey, controllerPublicKey, now, catalogueKey, onForeign, signal } = options;
  const { acceptForeign = false } = options;
  const given = signal === undefined ? {} : { signal };
  for (let tries = 1; tries <= triesOnRace; tries++) {
    const found = await findRepository(store, rootPublicKey, { onForeign, ...given });
    const { object: present, nextVersion } = found;
    if (present.controllerPublicKey === controllerPublicKey) return present;
    if (!acceptForeign) refuseUnproven(found, store.address);
    checkRootKey(present, rootPrivateKey);
    // Not the highest number that is taken: whoever may put would choose for how long the former key counts.
    const { repositoryId, formerControllerKeys } = present;
    const catalogue = {
      ...{ store, repositoryId, catalogueKey },
      ...{ controllerPublicKey: present.controllerPublicKey, formerControllerKeys },
    };
    const newest = await newestEntry(catalogue, await listSequences(store, signal), signal);
    const former = { publicKey: present.controllerPublicKey, lastSequence: newest?.sequence ?? 0 };
    const next: RepositoryObject = {
      ...present,
      version: nextVersion,
      createdAt: new Date(now).toISOString(),
      incarnation: present.incarnation + 1,
      controllerPublicKey,
      formerControllerKeys: [...formerControllerKeys, former],
    };
    const key = layout.repository(next.version);
    const stored = await store.putIfAbsent(key, encodeRepositoryObject(next, rootPrivateKey), given);
    if (stored !== null) return next;
  }
  throw new SkepError({
    code: "SKEP_REPOSITORY_RACE",
    message: `the repository object at ${store.address} was written by somebody else each time`,
    permanent: false,
    hint: "is another recovery, or a change of keys, under way?",
  });
}
