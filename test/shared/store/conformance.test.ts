import { expect } from "chai";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { checkPromises } from "../../../shared/store/conformance.ts";
import { openDirectory } from "../../../shared/store/directory.ts";
import type { ObjectInfo, Store } from "../../../shared/store/store.ts";

describe("the promises of a store", () => {
  let folder: string;
  let store: Store;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), "skep-promises-"));
    store = openDirectory(folder);
  });
  afterEach(async () => {
    await store.close();
    rmSync(folder, { recursive: true });
  });

  /** The store, but for one thing. */
  function lying(change: Partial<Store>): Store {
    return new Proxy(store, {
      get: (target, name) => {
        const own = change[name as keyof Store];
        if (own !== undefined) return own;
        const value: unknown = Reflect.get(target, name, target);
        return typeof value === "function" ? (value.bind(target) as unknown) : value;
      },
    });
  }
  const brokenBy = async (tried: Store): Promise<string[]> =>
    (await checkPromises(tried, undefined, 30)).flatMap(({ promise, fault }) =>
      fault === null ? [] : [`${fault.code} ${promise}`],
    );

  it("are kept by a folder, and trying them leaves nothing behind", async function () {
    this.timeout(60_000);
    const checked = await checkPromises(store);
    expect(checked.filter(({ fault }) => fault !== null)).to.deep.equal([]);
    expect(checked).to.have.length.above(7);
    expect(await Array.fromAsync(store.list(""))).to.deep.equal([]);
  });

  const lies: [what: string, change: (store: Store) => Partial<Store>, broken: RegExp][] = [
    [
      "flips a bit of large objects",
      (inner) => ({
        get: async (key, maxBytes, signal) => {
          const bytes = await inner.get(key, maxBytes, signal);
          if (bytes !== null && bytes.length > 1_000_000) bytes[500_000] = (bytes[500_000] ?? 0) ^ 1;
          return bytes;
        },
      }),
      /whatever their size|a pack's size/,
    ],
    [
      "answers a range with all",
      (inner) => ({ getRange: (key, _start, _end, signal) => inner.get(key, 1e8, signal) }),
      /range|pack's size|not there/,
    ],
    [
      "loses the end of a long list",
      (inner) => ({
        list: (prefix) => firstOnes(inner.list(prefix), prefix.endsWith("list/") ? 29 : Infinity),
      }),
      /lists every object/,
    ],
    [
      "creates what is there",
      (inner) => ({ putIfAbsent: (key, bytes, options) => inner.put(key, bytes, options) }),
      /does not create/,
    ],
    [
      "forgets to delete one",
      (inner) => ({ delete: (keys) => inner.delete(keys.length === 3 ? keys.slice(1) : keys) }),
      /deletes what/,
    ],
  ];
  for (const [what, change, broken] of lies) {
    it(`are broken, by name, by one that ${what}`, async function () {
      this.timeout(60_000);
      const found = await brokenBy(lying(change(store)));
      expect(found).to.have.length.above(0);
      for (const line of found)
        expect(line)
          .to.match(/^SKEP_STORE_UNFIT /)
          .and.match(broken);
    });
  }
});

async function* firstOnes(infos: AsyncIterable<ObjectInfo>, most: number): AsyncGenerator<ObjectInfo> {
  let count = 0;
  for await (const info of infos) {
    if (++count > most) return;
    yield info;
  }
}
