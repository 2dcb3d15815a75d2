// What all runs need, beside the chain itself: repository object, keys, policy, index, kits; each with how to know the right one.
import { SkepError } from "../../errors.ts";
import { digest } from "../blake3.ts";
import { opensAsPolicy, type Catalogue } from "../catalogue.ts";
import { decodeKitList } from "../kit-list.ts";
import { layout, numberOfKey } from "../layout.ts";
import { decodeRepositoryObject, epochsOf, type RepositoryObject } from "../repository-object.ts";
import { handoversOf } from "../root-handover.ts";
import { open } from "../sealed.ts";
import { newestKits } from "../newest-kits.ts";
import type { CatalogueKeys } from "./refs-lines.ts";

/** An object that must be locked. */
export interface Wanted {
  key: string;
  /** Null or absent: any. */
  sizeBytes?: number | null;
  /** It was found in a list, and no run names it: a prune or a forget may take it away before it is looked at, and it may be another's. */
  isListed?: boolean;
  /** As who wrote it was told. */
  versionId?: string | null;
  /** True where its name could not be known before it was written: random, or the digest of what is in it. */
  isOnce?: boolean;
  /** Null: only who wrote it first can tell. */
  isRight: ((bytes: Uint8Array) => boolean) | null;
}

export function hasDigest(named: string): (bytes: Uint8Array) => boolean {
  return (bytes) => digest(bytes) === named;
}

export async function* commonObjects(options: {
  catalogue: Catalogue;
  keys: CatalogueKeys;
  repository: RepositoryObject;
  signal: AbortSignal;
}): AsyncGenerator<Wanted> {
  const { catalogue, keys, repository, signal } = options;
  const { store, repositoryId } = keys;
  // Without them, who has a former root key deceives who knows no later one.
  const signers = new Map(
    handoversOf(repository.rootHandovers, store.address).map((each) => [each.firstVersion, each.to]),
  );
  signers.set(repository.version, repository.rootPublicKey);
  for (const [version, rootPublicKey] of signers) {
    const key = layout.repository(version);
    const isRight = proves((bytes) => decodeRepositoryObject(bytes, rootPublicKey, key).version === version);
    yield { key, isRight };
  }
  yield { key: layout.repositoryKey(repository.repositoryKeyVersion), isRight: null };
  for (const { number, keyVersion } of epochsOf(repository)) {
    yield { key: layout.epochKey(number, keyVersion), isRight: null };
  }
  for await (const { key } of store.list(layout.policyPrefix, signal)) {
    yield { key, isListed: true, isRight: proves((bytes) => opensAsPolicy(catalogue, key, bytes)) };
  }
  for await (const { key } of store.list("index/", signal)) {
    const writerId = key.split("/")[1] ?? "";
    const opens = (bytes: Uint8Array): boolean => {
      open(bytes, { type: "index", repositoryId, writerId }, keys.sealKeyOf(writerId), key);
      return true;
    };
    yield { key, isListed: true, isOnce: true, isRight: proves(opens) };
  }
  const { rootPublicKey } = repository;
  // Who looks for kits tells of what is foreign among their lists.
  const { list } = await newestKits({ store, repositoryId, rootPublicKey }, () => undefined, signal);
  if (list === null) return;
  const key = layout.kitList(list.version);
  yield { key, isRight: proves((bytes) => decodeKitList(bytes, rootPublicKey, key).version === numberOfKey(key)) };
  for (const piece of list.kits.flatMap(({ pieces }) => pieces)) yield { ...piece, isRight: hasDigest(piece.digest) };
}

/** What throws is not right. */
function proves(isRight: (bytes: Uint8Array) => boolean): (bytes: Uint8Array) => boolean {
  return (bytes) => {
    try {
      return isRight(bytes);
    } catch (error) {
      if (error instanceof SkepError && error.permanent) return false;
      throw error;
    }
  };
}
