// The kit that a recovery brings to its machines.
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { SkepError } from "../../shared/errors.ts";
import type { ObjectKey } from "../../shared/store/store.ts";
import { skepVersion } from "../../shared/version.ts";
import type { RecoveryTools } from "./recovery-tools.ts";
import { ownParts, packRuntimeKit, type KitArchitecture, type RuntimeKit } from "./runtime-kit.ts";
import { fetchKit, kitFor, readKits } from "./stored-kits.ts";

/** From the store where there is one of this Skep, else from this installation. Written into `folder`. */
export async function kitForRecovery(
  { operator, store }: Pick<RecoveryTools, "operator" | "store">,
  folder: string,
  architecture: KitArchitecture,
  { signal, onFault }: { signal: AbortSignal; onFault: (fault: SkepError, key: ObjectKey) => void },
): Promise<RuntimeKit> {
  const { repositoryId, rootPublicKey } = operator.repositoryObject;
  const kits = await readKits({ store, repositoryId, rootPublicKey }, { signal, onForeign: onFault });
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const path = join(folder, `kit-${architecture}.tar.gz`);
  const stored = kitFor(kits, architecture, skepVersion);
  if (stored !== null) return await fetchKit(store, stored, path, signal);
  const own = ownParts();
  if (own.architecture === architecture) return await packRuntimeKit(path, own);
  throw new SkepError({
    code: "SKEP_RUNTIME_KIT_INCOMPLETE",
    message: `a machine is of ${architecture}, this installation is for ${own.architecture}, and the store has no kit of Skep ${skepVersion}`,
    permanent: true,
    hint: `skep kit store --architecture ${architecture}, where npm reaches its registry`,
  });
}
