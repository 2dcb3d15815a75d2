// The same store, where something comes before each object that is put: for tests of what goes on meanwhile.
import type { Store } from "../../../shared/store/store.ts";

export function beforeEachPut(store: Store, before: () => Promise<unknown>): Store {
  return new Proxy(store, {
    get: (target, name): unknown => {
      const value: unknown = Reflect.get(target, name);
      if (typeof value !== "function") return value;
      const method = value as (...all: unknown[]) => unknown;
      if (name !== "put") return method.bind(target);
      return async (...given: unknown[]): Promise<unknown> => {
        await before();
        return method.apply(target, given);
      };
    },
  });
}
