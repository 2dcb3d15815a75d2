// One-time key pairs of restores, in memory only: the operator's CLI seals the file keys of one restore to such a
// recipient. After a restart of the agent they are gone, and the restore begins anew.
import { SkepError } from "../shared/errors.ts";
import { restoreKeysSchema, type RestoreKeys } from "../shared/contract/job.ts";
import { parseJsonText } from "../shared/json-text.ts";
import { generateAgeIdentity, type AgeIdentity } from "../shared/repository/age.ts";
import { decryptAge } from "../shared/repository/open/age.ts";

/** A restore that was prepared and never carried out: an operator may look at the plan for so long. */
const keptMs = 24 * 3600_000;

export class RestoreKeyring {
  readonly #pairs = new Map<string, { pair: AgeIdentity; madeAt: number }>();

  /** The recipient for this restore; the same one when asked again. */
  async recipient(restoreId: string, now: number): Promise<string> {
    for (const [id, { madeAt }] of this.#pairs) if (madeAt < now - keptMs) this.#pairs.delete(id);
    const known = this.#pairs.get(restoreId);
    if (known !== undefined) return known.pair.recipient;
    const pair = await generateAgeIdentity();
    this.#pairs.set(restoreId, { pair, madeAt: now });
    return pair.recipient;
  }

  /** `sealed`: base64 of an age file. Throws SKEP_RESTORE_KEYS_GONE, SKEP_RESTORE_KEYS_INVALID and what decryptAge throws. */
  async open(restoreId: string, sealed: string): Promise<RestoreKeys> {
    const known = this.#pairs.get(restoreId);
    if (known === undefined) {
      throw new SkepError({
        code: "SKEP_RESTORE_KEYS_GONE",
        message: `the one-time key of restore ${restoreId} is not here: the agent was restarted, or did not prepare it`,
        permanent: true,
        hint: "begin the restore anew: `skep restore volume …`",
      });
    }
    const plain = await decryptAge(
      Buffer.from(sealed, "base64"),
      [known.pair.identity],
      `keys of restore ${restoreId}`,
    );
    const keys = restoreKeysSchema.safeParse(parseJsonText(plain));
    if (keys.success) return keys.data;
    throw new SkepError({
      code: "SKEP_RESTORE_KEYS_INVALID",
      message: `the keys of restore ${restoreId} have another shape`,
      permanent: true,
      hint: "are CLI and agent of the same version?",
    });
  }

  forget(restoreId: string): void {
    this.#pairs.delete(restoreId);
  }
}
