// Looks into what a check otherwise only counts: whole packs and archives are read, and their digests compared. A pack's
// name is the digest of its bytes, so that needs no identity; what an identity adds comes from open/check-opened.ts.
import { createHash } from "node:crypto";
import { SkepError } from "../../errors.ts";
import type { Store } from "../../store/store.ts";
import { digest } from "../blake3.ts";
import { layout } from "../layout.ts";
import type { Part, Run } from "../run.ts";
import { getChecked } from "../stored-object.ts";
import { isFaultOfObject, type ContentCheck } from "./check.ts";
import type { LedgerPack, NeededChunk } from "./pack-ledger.ts";
import { objectsOfPart } from "./part-objects.ts";

/** What a store takes. */
const maxObjectBytes = 64 * 1024 * 1024;

export interface Opened {
  /** Throws where the pack's content is not what the needed chunks' names say. */
  pack: (pack: LedgerPack, bytes: Uint8Array, chunks: Iterable<NeededChunk>) => Promise<void>;
  /** Throws where an archive or a manifest does not open, or belongs elsewhere. */
  part: (part: Part, run: Run) => Promise<void>;
}

/**
 * `percent`: of packs and archives, above 0, at most 100; which ones follows from `salt`, so that checks with other salts
 * read others in the end. `opened`: null without an identity.
 */
export function makeContentCheck(options: {
  store: Store;
  percent: number;
  salt: string;
  opened: Opened | null;
  signal: AbortSignal;
}): ContentCheck {
  const { store, percent, salt, opened, signal } = options;
  const picks = (name: string): boolean => {
    const number = createHash("sha256").update(`${salt} ${name}`).digest().readUInt32BE(0);
    return number < (percent / 100) * 2 ** 32;
  };
  return {
    picks,
    faultOfPack: (found, chunks) =>
      faultOf(async () => {
        const key = layout.pack(found.pack);
        const bytes = await store.get(key, maxObjectBytes, signal);
        if (bytes === null || digest(bytes) !== found.pack) {
          throw new SkepError({
            code: bytes === null ? "SKEP_OBJECT_MISSING" : "SKEP_OBJECT_DAMAGED",
            message: `${key} at ${store.address} ${bytes === null ? "is missing" : "has another content than its name says"}`,
            permanent: true,
            hint: "it was damaged or replaced: look for it in the store's former versions",
          });
        }
        await opened?.pack(found, bytes, chunks);
      }),
    faultsOfPart: async (part, run) => {
      const faults: SkepError[] = [];
      for (const object of objectsOfPart(part)) {
        if (object.key === part.refs?.key || !picks(object.key)) continue;
        const fault = await faultOf(async () => {
          await getChecked(store, object, maxObjectBytes, signal);
        });
        if (fault !== null) faults.push(fault);
      }
      if (faults.length > 0 || opened === null || !picks(`${run.id} ${part.name}`)) return faults;
      const fault = await faultOf(() => opened.part(part, run));
      return fault === null ? [] : [fault];
    },
  };
}

async function faultOf(act: () => Promise<void>): Promise<SkepError | null> {
  try {
    await act();
    return null;
  } catch (error) {
    if (isFaultOfObject(error)) return error;
    throw error;
  }
}
