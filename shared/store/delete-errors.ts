// Deleting many objects: some may be refused while others go. One error tells of all.
import { SkepError } from "../errors.ts";
import type { ObjectKey } from "./store.ts";

export interface Refusal {
  key: ObjectKey;
  error: unknown;
}

const namedAtMost = 5;

/**
 * Throws where anything was refused: the first refusal's code and hint, its keys in the message, all of them as the
 * cause. Transient only where every refusal is.
 */
export function refuseTogether(refused: readonly Refusal[], asked: number, address: string): void {
  const first = refused[0];
  if (first === undefined) return;
  if (refused.length === 1) throw first.error;
  const known = first.error instanceof SkepError ? first.error : null;
  const named = refused.slice(0, namedAtMost).map(({ key }) => key);
  const rest = refused.length - named.length;
  const reason = first.error instanceof Error ? first.error.message : String(first.error);
  throw new SkepError({
    code: known?.code ?? "SKEP_STORE_FAILED",
    message:
      `${refused.length} of ${asked} objects at ${address} were not deleted: ${named.join(", ")}` +
      `${rest > 0 ? ` and ${rest} more` : ""}; the first: ${reason}`,
    permanent: refused.some(({ error }) => error instanceof SkepError && error.permanent),
    ...(known?.hint === undefined ? {} : { hint: known.hint }),
    cause: new AggregateError(
      refused.map(({ error }) => error),
      "each refusal",
    ),
  });
}
