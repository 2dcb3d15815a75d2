// For commands that change keys: all that the identity opens, and the root signing key in it.
import { SkepError } from "../../shared/errors.ts";
import type { IdentityFile } from "../../shared/repository/identity-file.ts";
import { checkRootKey } from "../../shared/repository/repository-object.ts";
import { accessIdentity, type IdentityOptions, type StoreOptions } from "./access.ts";
import { withOperatorOf } from "./catalogue-access.ts";
import type { OpenedOperator } from "./operator-snapshot.ts";
import type { Session } from "./session.ts";

export type OpenedWithRootKey = OpenedOperator & { identityFile: IdentityFile; rootPrivateKey: string };

/** Throws SKEP_ROOT_KEY_MISSING where the identity file is of an operator who only opens, SKEP_ROOT_KEY_REPLACED. */
export async function withRootKey<T>(
  session: Session,
  options: StoreOptions & IdentityOptions,
  use: (opened: OpenedWithRootKey) => Promise<T>,
): Promise<T> {
  const identityFile = await accessIdentity(session, options);
  const rootPrivateKey = needRootKey(identityFile);
  return await withOperatorOf(session, options, identityFile, (opened) => {
    checkRootKey(opened.repository, rootPrivateKey);
    return use({ ...opened, identityFile, rootPrivateKey });
  });
}

/** Throws SKEP_ROOT_KEY_MISSING. */
export function needRootKey({ rootPrivateKey, name }: IdentityFile): string {
  if (rootPrivateKey !== null) return rootPrivateKey;
  throw new SkepError({
    code: "SKEP_ROOT_KEY_MISSING",
    message: `the identity of ${name} opens backups, but has no root signing key to change keys with`,
    permanent: true,
    hint: "`skep recipient list` says which operators have it; the one who made the repository has",
  });
}
