// The plaintext of keys/repository-N.age: the repository key's 32 bytes in base64 and a line end.
import { SkepError } from "../errors.ts";
import type { KeyBytes } from "./keys.ts";

export function encodeRepositoryKey(key: KeyBytes): Uint8Array {
  return Buffer.from(`${Buffer.from(key).toString("base64")}\n`, "ascii");
}

/** `place` names the object. Throws SKEP_REPOSITORY_INVALID. */
export function decodeRepositoryKey(plain: Uint8Array, place: string): KeyBytes {
  const text = Buffer.from(plain).toString("latin1");
  if (!/^[A-Za-z0-9+/]{43}=\n$/.test(text)) {
    throw new SkepError({
      code: "SKEP_REPOSITORY_INVALID",
      message: `${place} does not hold a repository key`,
      permanent: true,
      hint: "the object was replaced by another; restore it from a copy of the store",
    });
  }
  return new Uint8Array(Buffer.from(text, "base64"));
}
