// A recovery takes a repository over: the next version of the repository object names the next incarnation and another
// controller. The former controller's runs still count; what it would write from now on does not.
import { SkepError } from "../errors.ts";
import type { Store } from "../store/store.ts";
import { listSequences } from "./chain.ts";
import { layout } from "./layout.ts";
import { checkRootKey, encodeRepositoryObject, type RepositoryObject } from "./repository-object.ts";
import { readRepositoryObject } from "./repository-reader.ts";

const triesOnRace = 5;

/** `now` in ms since 1970. Throws SKEP_ROOT_KEY_REPLACED, and SKEP_REPOSITORY_RACE where others keep writing versions. */
export async function succeedController(options: {
  store: Store;
  rootPublicKey: string;
  rootPrivateKey: string;
  /** Of the controller to come. */
  controllerPublicKey: string;
  now: number;
  signal?: AbortSignal;
}): Promise<RepositoryObject> {
  const { store, rootPublicKey, rootPrivateKey, controllerPublicKey, now, signal } = options;
  const given = signal === undefined ? {} : { signal };
  for (let tries = 1; tries <= triesOnRace; tries++) {
    const present = await readRepositoryObject(store, rootPublicKey, given);
    if (present.controllerPublicKey === controllerPublicKey) return present;
    checkRootKey(present, rootPrivateKey);
    const lastSequence = (await listSequences(store, signal)).at(-1) ?? 0;
    const next: RepositoryObject = {
      ...present,
      version: present.version + 1,
      createdAt: new Date(now).toISOString(),
      incarnation: present.incarnation + 1,
      controllerPublicKey,
      formerControllerKeys: [...present.formerControllerKeys, { publicKey: present.controllerPublicKey, lastSequence }],
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
