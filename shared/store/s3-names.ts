// Keys as a bucket has them: below the prefix, and URL-encoded in lists.
import { isKey } from "./key.ts";
import type { ObjectKey } from "./store.ts";

export class S3Names {
  readonly #start: string;

  /** `prefix` without slashes at its ends; "" is the bucket's top. */
  constructor(prefix: string) {
    this.#start = prefix === "" ? "" : `${prefix}/`;
  }

  full(key: string): string {
    return `${this.#start}${key}`;
  }

  /** Null for what is no key of ours. */
  own(fullKey: string): ObjectKey | null {
    const key = fullKey.slice(this.#start.length);
    return fullKey.startsWith(this.#start) && isKey(key) ? key : null;
  }

  /** As own, of an encoded key; Ceph encodes the slashes too. */
  ofList(encodedKey: string | undefined): ObjectKey | null {
    let fullKey: string;
    try {
      fullKey = decodeURIComponent(encodedKey ?? "");
    } catch {
      return null; // not UTF-8, so not ours
    }
    return this.own(fullKey);
  }
}
