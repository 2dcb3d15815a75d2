// How large an object or a piece of one may be; the same for every store.
import { SkepError } from "../errors.ts";
import type { ObjectKey } from "./store.ts";

/** Twice the largest pack (32 MiB). Every object is one buffer and one PUT. */
export const maxObjectBytes = 64 * 1024 * 1024;

/** Throws SKEP_STORE_TOO_LARGE for an object that no store would take. */
export function checkSize(key: ObjectKey, bytes: Uint8Array, address: string): void {
  if (bytes.byteLength > maxObjectBytes) throw tooLarge("put", key, bytes.byteLength, maxObjectBytes, address);
}

/** Throws SKEP_STORE_RANGE unless 0 ≤ start ≤ end, whole numbers, at most 64 MiB apart. */
export function checkRange(key: ObjectKey, start: number, end: number, address: string): void {
  const sane = Number.isSafeInteger(start) && Number.isSafeInteger(end) && start >= 0 && start <= end;
  if (sane && end - start <= maxObjectBytes) return;
  throw new SkepError({
    code: "SKEP_STORE_RANGE",
    message: `bytes ${start} to ${end} of ${key} at ${address} are no range`,
    permanent: true,
  });
}

/** The error of a store whose objects cannot be locked. */
export function refuseLock(key: ObjectKey, address: string): SkepError {
  return new SkepError({
    code: "SKEP_STORE_NO_LOCK",
    message: `${key} at ${address} cannot be locked: the store has no object lock`,
    permanent: true,
    hint: "a bucket has object lock when it was made with it; else take retention.lockDays out of the policy",
  });
}

/** The error for an object that holds more than its reader allows. */
export function refuseLarger(key: ObjectKey, sizeBytes: number, maxBytes: number, address: string): SkepError {
  return tooLarge("get", key, sizeBytes, maxBytes, address);
}

function tooLarge(act: string, key: ObjectKey, sizeBytes: number, maxBytes: number, address: string): SkepError {
  return new SkepError({
    code: "SKEP_STORE_TOO_LARGE",
    message: `refused to ${act} ${key} at ${address}: ${sizeBytes} bytes, at most ${maxBytes} are allowed`,
    permanent: true,
  });
}
