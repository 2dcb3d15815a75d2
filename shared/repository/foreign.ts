// What lies under a key of the repository and is not of it: put there, or over what was there, by whoever may write to the store.
// It is passed over and told, and stops nobody.
import type { SkepError } from "../errors.ts";
import type { ObjectKey } from "../store/store.ts";

/** Told of each object that does not open, is not signed, or is none of ours. */
export type OnFault = (fault: SkepError, key: ObjectKey) => void;

export interface Foreign {
  key: ObjectKey;
  fault: SkepError;
}

/** Whoever may put can put millions: so many are named in what people read, and kept in memory. */
export const maxNamedForeign = 100;

/** Foreign objects, each key once: the first of them by name, and how many more were told of. */
export class ForeignObjects implements Iterable<Foreign> {
  readonly #named = new Map<ObjectKey, SkepError>();
  /** One that is told of twice counts twice. */
  leftOut = 0;

  /** False where it is one of those that are left out. */
  add(fault: SkepError, key: ObjectKey): boolean {
    const isNamed = this.#named.has(key) || this.#named.size < maxNamedForeign;
    if (isNamed) this.#named.set(key, fault);
    else this.leftOut++;
    return isNamed;
  }

  /** Whether it is named. */
  has(key: ObjectKey): boolean {
    return this.#named.has(key);
  }

  [Symbol.iterator](): Iterator<Foreign> {
    return this.#named.entries().map(([key, fault]) => ({ key, fault }));
  }
}
