// Packs the kit of this installation, and puts it into the store.
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { KitList } from "../../shared/repository/kit-list.ts";
import { skepVersion } from "../../shared/version.ts";
import { foreignParts } from "../recovery/foreign-parts.ts";
import { ownParts, packRuntimeKit, type KitArchitecture } from "../recovery/runtime-kit.ts";
import type { KitPlace } from "../../shared/repository/newest-kits.ts";
import { storeKits } from "../recovery/stored-kits.ts";

export async function packAndStore(
  place: KitPlace,
  rootPrivateKey: string,
  architecture: KitArchitecture,
  signal: AbortSignal,
): Promise<KitList> {
  const folder = await mkdtemp(join(tmpdir(), "skep-kit-"));
  try {
    const own = ownParts();
    const parts = own.architecture === architecture ? own : await foreignParts(architecture, folder, signal);
    const kit = await packRuntimeKit(join(folder, "kit.tar.gz"), parts, signal);
    return await storeKits(place, [kit], { rootPrivateKey, skepVersion, now: Date.now(), signal });
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
