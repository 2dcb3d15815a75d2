// The kit that a recovery brings to its machines.
import { mkdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { SkepError } from "../../shared/errors.ts";
import type { ObjectKey } from "../../shared/store/store.ts";
import { skepVersion } from "../../shared/version.ts";
import type { RecoveryTools } from "./recovery-tools.ts";
import { ownParts, packRuntimeKit, type KitArchitecture, type KitParts, type RuntimeKit } from "./runtime-kit.ts";
import { fetchKit, kitFor, readKits } from "./stored-kits.ts";

export interface KitOptions {
  signal: AbortSignal;
  /** Also of a stored kit in whose place this installation's is taken. */
  onFault: (fault: SkepError, key: ObjectKey) => void;
  /** Default: this installation. */
  own?: KitParts;
}

/** What a stored kit is that is not there as its list says. */
const spoilt: ReadonlySet<string> = new Set([
  "SKEP_OBJECT_MISSING",
  "SKEP_OBJECT_DAMAGED",
  "SKEP_KIT_DAMAGED",
  "SKEP_STORE_TOO_LARGE",
  "SKEP_STORE_CORRUPT",
]);

/** Each is made once, for all that ask; one that could not be made is made anew for who asks then. */
export function madeOnce<K, V>(make: (key: K) => Promise<V>): (key: K) => Promise<V> {
  const known = new Map<K, Promise<V>>();
  return (key) => {
    const before = known.get(key);
    if (before !== undefined) return before;
    const making = make(key);
    known.set(key, making);
    making.catch(() => known.delete(key));
    return making;
  };
}

/** From the store where there is a whole one of this Skep, else from this installation. Written into `folder`, or nothing is there. */
export async function kitForRecovery(
  tools: Pick<RecoveryTools, "operator" | "store">,
  folder: string,
  architecture: KitArchitecture,
  options: KitOptions,
): Promise<RuntimeKit> {
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const path = join(folder, `kit-${architecture}.tar.gz`);
  try {
    return await writeKit(tools, path, architecture, options);
  } catch (error) {
    await rm(path, { force: true });
    throw error;
  }
}

async function writeKit(
  { operator, store }: Pick<RecoveryTools, "operator" | "store">,
  path: string,
  architecture: KitArchitecture,
  { signal, onFault, own = ownParts() }: KitOptions,
): Promise<RuntimeKit> {
  const { repositoryId, rootPublicKey } = operator.repositoryObject;
  const kits = await readKits({ store, repositoryId, rootPublicKey }, { signal, onForeign: onFault });
  const stored = kitFor(kits, architecture, skepVersion);
  if (stored !== null) {
    try {
      return await fetchKit(store, stored, path, signal);
    } catch (error) {
      const replaceable = error instanceof SkepError && spoilt.has(error.code) && own.architecture === architecture;
      if (!replaceable) throw error;
      onFault(error, `kits/${stored.sha256}`);
    }
  }
  if (own.architecture === architecture) return await packRuntimeKit(path, own, signal);
  throw new SkepError({
    code: "SKEP_RUNTIME_KIT_INCOMPLETE",
    message: `a machine is of ${architecture}, this installation is for ${own.architecture}, and the store has no kit of Skep ${skepVersion}`,
    permanent: true,
    hint: `skep kit store --architecture ${architecture}, where npm reaches its registry`,
  });
}
