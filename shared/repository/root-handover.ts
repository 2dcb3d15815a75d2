// How the word of one root key passes to the next. Every repository object brings all handovers so far, the oldest first,
// each signed by the key that hands over: whoever pinned any of these keys follows them to the one that counts. Who has
// seen the later key never goes back to the former one, so that this one's finder signs nothing that such a reader takes.
import { z } from "zod";
import { SkepError } from "../errors.ts";
import { shapeFaults } from "../fault-list.ts";
import { parseJsonText } from "../json-text.ts";
import { repositoryIdPattern } from "./layout.ts";
import { publicKeySchema, signedSchema, signPayload, verifyPayload, type Signed } from "./signature.ts";

const handoverSchema = z.strictObject({
  repositoryId: z.string().regex(repositoryIdPattern),
  /** Root public keys. */
  from: publicKeySchema,
  to: publicKeySchema,
  /** Of the repository object, the first that `to` signs. */
  firstVersion: z.int().min(2),
});
export type RootHandover = z.infer<typeof handoverSchema>;

export const signedHandoversSchema = z.array(signedSchema.extend({ payload: z.string().max(1000) })).max(1000);

export function signHandover(handover: RootHandover, rootPrivateKey: string): Signed {
  return signPayload("skep/v1 root", JSON.stringify(handoverSchema.parse(handover)), rootPrivateKey);
}

/**
 * The root key that signs this version, for who pinned `pinned`: that key itself where no handover is of it. Nothing of
 * the object needs to be proven yet. Throws SKEP_SIGNATURE_INVALID, SKEP_REPOSITORY_INVALID.
 */
export function heirOf(
  pinned: string,
  handovers: readonly Signed[],
  object: { repositoryId: string; version: number },
  place: string,
): string {
  let heir = pinned;
  for (const signed of handovers) {
    const { from, to, repositoryId, firstVersion } = decodeHandover(signed, place);
    if (from !== heir) continue;
    verifyPayload("skep/v1 root", signed, heir, `a handover of the root key in ${place}`);
    if (repositoryId !== object.repositoryId) throw invalid(place, "is for another repository");
    if (firstVersion > object.version) throw invalid(place, `begins with version ${firstVersion}`);
    heir = to;
  }
  return heir;
}

/** They are proven already. */
export function handoversOf(handovers: readonly Signed[], place: string): RootHandover[] {
  return handovers.map((signed) => decodeHandover(signed, place));
}

/** Not proven. Throws SKEP_REPOSITORY_INVALID. */
function decodeHandover({ payload }: Signed, place: string): RootHandover {
  const handover = handoverSchema.safeParse(parseJsonText(payload));
  if (handover.success) return handover.data;
  throw invalid(place, shapeFaults(handover.error));
}

function invalid(place: string, why: string): SkepError {
  return new SkepError({
    code: "SKEP_REPOSITORY_INVALID",
    message: `a handover of the root key in ${place} is not valid: ${why}`,
    permanent: true,
    hint: "check that the store's address is that of the recovery card, and who can write there",
  });
}
