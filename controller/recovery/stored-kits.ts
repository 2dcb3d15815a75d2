// Kits in the store: written when the repository is made and when Skep is upgraded, read by a recovery whose operator's
// machine has no installation for the machines' architecture, or none at all.
import { createHash } from "node:crypto";
import { open } from "node:fs/promises";
import { SkepError } from "../../shared/errors.ts";
import { digest } from "../../shared/repository/blake3.ts";
import { encodeKitList, type KitList, type StoredKit } from "../../shared/repository/kit-list.ts";
import { freeAbove, layout } from "../../shared/repository/layout.ts";
import { newestKits, type KitPlace } from "../../shared/repository/newest-kits.ts";
import type { StoredObject } from "../../shared/repository/run.ts";
import { getChecked } from "../../shared/repository/stored-object.ts";
import type { ObjectKey, Store } from "../../shared/store/store.ts";
import type { KitArchitecture, RuntimeKit } from "./runtime-kit.ts";

const pieceBytes = 32 * 1024 * 1024;
/** Another operator may write one at the same time. */
const mostTries = 5;
/** Puts kits of this Skep; those of other architectures stay as they are. Throws what the store throws. */
export async function storeKits(
  place: KitPlace,
  kits: readonly RuntimeKit[],
  by: { rootPrivateKey: string; skepVersion: string; now: number; signal?: AbortSignal },
): Promise<KitList> {
  const { store } = place;
  const { skepVersion, signal } = by;
  const stored: StoredKit[] = [];
  for (const { architecture, sha256, sizeBytes, path } of kits) {
    stored.push({ architecture, skepVersion, sha256, sizeBytes, pieces: await putPieces(store, path, sha256, signal) });
  }
  return await putList(place, stored, by);
}

/** Signs the list that is there by another root key; null where there is none. Throws what the store throws. */
export async function resignKits(
  place: KitPlace,
  by: { rootPrivateKey: string; now: number; signal?: AbortSignal },
): Promise<KitList | null> {
  const { list } = await newestKits(place, () => undefined, by.signal);
  return list === null ? null : await putList(place, [], by);
}

async function putList(
  place: KitPlace,
  kits: readonly StoredKit[],
  by: { rootPrivateKey: string; now: number; signal?: AbortSignal },
): Promise<KitList> {
  const { store, repositoryId } = place;
  const { rootPrivateKey, signal } = by;
  for (let tries = 1; ; tries++) {
    const { list, taken } = await newestKits(place, () => undefined, signal);
    const others = (list?.kits ?? []).filter(
      ({ architecture }) => !kits.some((kit) => kit.architecture === architecture),
    );
    const next: KitList = {
      format: 1,
      repositoryId,
      version: freeAbove(list?.version ?? 0, taken),
      createdAt: new Date(by.now).toISOString(),
      kits: [...others, ...kits],
    };
    const options = signal === undefined ? {} : { signal };
    const put = await store.putIfAbsent(layout.kitList(next.version), encodeKitList(next, rootPrivateKey), options);
    if (put !== null) return next;
    if (tries >= mostTries) {
      throw new SkepError({
        code: "SKEP_KIT_LIST_TAKEN",
        message: `somebody else writes lists of kits to ${store.address} at the same time`,
        permanent: false,
        hint: "run the command again",
      });
    }
  }
}

async function putPieces(
  store: Store,
  path: string,
  sha256: string,
  signal: AbortSignal | undefined,
): Promise<StoredObject[]> {
  const pieces: StoredObject[] = [];
  const file = await open(path, "r");
  try {
    for (;;) {
      const buffer = Buffer.alloc(pieceBytes);
      const { bytesRead } = await file.read(buffer, 0, pieceBytes, pieces.length * pieceBytes);
      if (bytesRead === 0) return pieces;
      const bytes = buffer.subarray(0, bytesRead);
      const key = layout.kitPiece(sha256, pieces.length);
      const { sizeBytes, versionId } = await store.put(key, bytes, signal === undefined ? {} : { signal });
      pieces.push({ key, sizeBytes, digest: digest(bytes), versionId });
    }
  } finally {
    await file.close();
  }
}

/** The list that counts, null where there is none. What is not signed by the root key is told of and passed over. */
export async function readKits(
  place: KitPlace,
  options: { onForeign: (fault: SkepError, key: ObjectKey) => void; signal?: AbortSignal },
): Promise<KitList | null> {
  return (await newestKits(place, options.onForeign, options.signal)).list;
}

export function kitFor(list: KitList | null, architecture: KitArchitecture, skepVersion: string): StoredKit | null {
  const fits = (kit: StoredKit): boolean => kit.architecture === architecture && kit.skepVersion === skepVersion;
  return list?.kits.find(fits) ?? null;
}

/** Writes the kit to `path`. Throws SKEP_OBJECT_MISSING, SKEP_OBJECT_DAMAGED, SKEP_KIT_DAMAGED. */
export async function fetchKit(store: Store, kit: StoredKit, path: string, signal?: AbortSignal): Promise<RuntimeKit> {
  const hash = createHash("sha256");
  const file = await open(path, "w", 0o600);
  try {
    for (const piece of kit.pieces) {
      const bytes = await getChecked(store, piece, pieceBytes, signal);
      hash.update(bytes);
      await file.writeFile(bytes);
    }
    await file.sync();
  } finally {
    await file.close();
  }
  const sha256 = hash.digest("hex");
  const { architecture, sizeBytes } = kit;
  if (sha256 === kit.sha256) return { path, sizeBytes, sha256, architecture };
  throw new SkepError({
    code: "SKEP_KIT_DAMAGED",
    message: `the kit for ${architecture} in ${store.address} has SHA-256 ${sha256}, not ${kit.sha256}`,
    permanent: true,
    hint: "write it anew: skep kit store",
  });
}
