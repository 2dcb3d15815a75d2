// The small files below keys/: the repository key and every epoch's identity, each encrypted to all operators. They are
// never changed: a change of operators writes them anew, as the next version, which counts once the repository object
// names it. What nobody names is of an attempt that died.
import { SkepError } from "../errors.ts";
import type { ObjectKey, Store } from "../store/store.ts";
import { encryptAge, type AgeIdentity } from "./age.ts";
import type { KeyBytes } from "./keys.ts";
import { layout } from "./layout.ts";
import { encodeRepositoryKey } from "./repository-key.ts";

const mostVersions = 10_000;

/** The version that it became. */
export async function putRepositoryKey(
  store: Store,
  repositoryKey: KeyBytes,
  recipients: readonly string[],
  signal?: AbortSignal,
): Promise<number> {
  const file = await encryptAge(encodeRepositoryKey(repositoryKey), recipients);
  return await putFreeVersion(store, layout.repositoryKey, file, signal);
}

/** As an identity file that age-keygen writes, so that `age -d -i` takes it from there. The version that it became. */
export async function putEpochKey(
  store: Store,
  repositoryId: string,
  epoch: { number: number } & AgeIdentity,
  recipients: readonly string[],
  signal?: AbortSignal,
): Promise<number> {
  const { number, identity, recipient } = epoch;
  const text = `# epoch ${number} of Skep repository ${repositoryId}\n# public key: ${recipient}\n${identity}\n`;
  const file = await encryptAge(Buffer.from(text, "utf8"), recipients);
  return await putFreeVersion(store, (version) => layout.epochKey(number, version), file, signal);
}

/** Takes the lowest free version: an earlier attempt that died, or one that races with this, keeps its own. */
async function putFreeVersion(
  store: Store,
  keyOf: (version: number) => ObjectKey,
  bytes: Uint8Array,
  signal: AbortSignal | undefined,
): Promise<number> {
  for (let version = 1; version <= mostVersions; version++) {
    const stored = await store.putIfAbsent(keyOf(version), bytes, { ...(signal && { signal }) });
    if (stored !== null) return version;
  }
  throw new SkepError({
    code: "SKEP_KEY_VERSIONS",
    message: `all ${mostVersions} versions of ${keyOf(1)} at ${store.address} are taken`,
    permanent: true,
    hint: "who writes there? Skep makes a version for each change of operators",
  });
}
