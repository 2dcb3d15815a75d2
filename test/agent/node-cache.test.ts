import { expect } from "chai";
import { rm, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { compareNodeCache, openNodeCache } from "../../agent/node-cache.ts";
import { absentPackDigits } from "../../shared/repository/cache-check.ts";
import { deriveWriterKey, deriveWriterKeys } from "../../shared/repository/keys.ts";
import { layout, newRunId } from "../../shared/repository/layout.ts";
import type { Store } from "../../shared/store/store.ts";
import { backUp, makePlace, writerId, type Place } from "../shared/repository/snapshots.ts";

const { signal } = new AbortController();

function contextOf(place: Place, store: Store = place.store): Parameters<typeof compareNodeCache>[0] {
  const { repositoryObject, controllerKey } = place.made;
  const { repositoryId } = repositoryObject;
  const writerKey = deriveWriterKey(Buffer.from(controllerKey.repositoryKey, "base64"), repositoryId, writerId);
  const writerKeys = deriveWriterKeys(writerKey, repositoryId);
  return { store, writerKeys, repositoryId, writerId, incarnation: 1, stateDir: dirname(place.cachePath) };
}

/** The same store, which says what is asked of it. */
function asked(place: Place): { store: Store; questions: string[] } {
  const questions: string[] = [];
  const noted = new Set(["list", "head"]);
  const store = new Proxy(place.store, {
    get: (target, name) => {
      const found: unknown = Reflect.get(target, name);
      if (typeof found !== "function") return found;
      return (...given: unknown[]): unknown => {
        if (noted.has(String(name))) questions.push(`${String(name)} ${String(given[0])}`);
        return Reflect.apply(found, target, given);
      };
    },
  });
  return { store, questions };
}

describe("a node's cache of chunks", () => {
  let place: Place;
  beforeEach(async () => {
    place = await makePlace();
    place.cachePath = join(place.path, "chunks.sqlite");
    await writeFile(join(place.source, "file"), "content that stays");
    await backUp(place);
  });
  afterEach(() => place.remove());

  it("that was compared for a run is not compared again by the run's volumes: while one is quiet nothing is asked", async () => {
    const runId = newRunId(Date.now());
    const before = asked(place);
    await compareNodeCache(contextOf(place, before.store), runId, signal);
    expect(before.questions.join()).to.include("list ").and.include("head ");
    const during = asked(place);
    await backUp(place, { runId, store: during.store });
    expect(during.questions).to.deep.equal([]);
    const another = asked(place);
    await backUp(place, { runId: newRunId(Date.now()), store: another.store });
    expect(another.questions).not.to.deep.equal([]);
  });

  it("forgets packs that the controller names later, and what is gone from the store", async () => {
    const runId = newRunId(Date.now());
    expect(await compareNodeCache(contextOf(place), runId, signal)).to.deep.equal([]);
    const cache = openNodeCache(contextOf(place));
    const [pack] = cache.packs();
    cache.close();
    if (pack === undefined) return expect.fail("the cache knows no pack");
    const again = await backUp(place, { runId, absentPacks: [pack.pack.slice(0, absentPackDigits)] });
    expect(again.totals.storedBytes).to.be.above(0);
    expect(packsOf(place)).not.to.include(pack.pack);

    for (const name of packsOf(place)) await rm(join(place.storePath, layout.pack(name)));
    await compareNodeCache(contextOf(place), newRunId(Date.now()), signal);
    expect(packsOf(place)).to.deep.equal([]);
  });
});

function packsOf(place: Place): string[] {
  const cache = openNodeCache(contextOf(place));
  try {
    return cache.packs().map(({ pack }) => pack);
  } finally {
    cache.close();
  }
}
