// The names under which objects are kept: plain enough for every file system and every S3 server.
import { SkepError } from "../errors.ts";
import type { ObjectKey } from "./store.ts";

/** Bytes; S3 allows 1,024, and the store's own prefix needs room too. */
export const maxKeyBytes = 512;

// At most 255 bytes, NAME_MAX of Linux file systems. A leading dot is left to file systems (`.nfs0000…`, `.snapshot`).
const segmentPattern = /^[a-z0-9_-][a-z0-9._-]{0,254}$/;
const prefixPattern = /^(?:[a-z0-9_-][a-z0-9._-]{0,254}(?:\/|$))*$/;

/** True where the text may stand between two slashes of a key. */
export function isKeySegment(text: string): boolean {
  return segmentPattern.test(text);
}

export function isKey(text: string): boolean {
  return text.length <= maxKeyBytes && text.split("/").every(isKeySegment);
}

/** Returns the key, or throws SKEP_STORE_KEY. */
export function checkKey(key: string): ObjectKey {
  if (isKey(key)) return key;
  throw badKey(key, "object key");
}

/** What a list may be asked for: the beginning of a key, cut anywhere; "" is all. Throws SKEP_STORE_KEY. */
export function checkPrefix(prefix: string): string {
  if (prefix.length <= maxKeyBytes && prefixPattern.test(prefix)) return prefix;
  throw badKey(prefix, "list prefix");
}

function badKey(text: string, what: string): SkepError {
  return new SkepError({
    code: "SKEP_STORE_KEY",
    message: `${what} is malformed: ${JSON.stringify(text.slice(0, 200))}`,
    permanent: true,
    hint: `segments of a-z, 0-9, ".", "_" and "-", not beginning with ".", joined by "/", ${maxKeyBytes} bytes at most`,
  });
}
