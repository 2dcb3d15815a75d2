import { expect } from "chai";
import { randomBytes } from "node:crypto";
import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { SkepError } from "../../../../shared/errors.ts";
import { layout } from "../../../../shared/repository/layout.ts";
import { openWith } from "../../../../shared/repository/open/check-opened.ts";
import { openAsOperator } from "../../../../shared/repository/open/operator.ts";
import { seal } from "../../../../shared/repository/sealed.ts";
import { checkRepository, type CheckResult, type ContentCheck } from "../../../../shared/repository/upkeep/check.ts";
import { makeContentCheck, type Opened } from "../../../../shared/repository/upkeep/check-content.ts";
import { forgetRuns } from "../../../../shared/repository/upkeep/forget.ts";
import { prune } from "../../../../shared/repository/upkeep/prune.ts";
import type { Run } from "../../../../shared/repository/run.ts";
import type { Store } from "../../../../shared/store/store.ts";
import { expectCode } from "../expect-code.ts";
import { makePlace, type Place } from "../snapshots.ts";
import { checkAll } from "./check-all.ts";
import {
  appenderOf,
  backUpRun,
  catalogueOf,
  keysOf,
  keysUnder,
  makeNode,
  pruneOptions,
  writerKeysOf,
  type Node,
} from "./repository-of-runs.ts";

const MiB = 1024 * 1024;
const { signal } = new AbortController();

async function* refusing(error: SkepError): AsyncGenerator<string> {
  await Promise.reject(error);
}

describe("check", () => {
  let place: Place;
  let node: Node;
  let runs: Run[];
  const saved = new Map<string, Uint8Array>();

  /** `how`: reads digests too, or with the identity everything. */
  async function check(how: "structure" | "digests" | "identity" = "structure", percent = 100): Promise<CheckResult> {
    const { store } = place;
    let opened: Opened | null = null;
    if (how === "identity") opened = openWith(await openAsOperator(store, place.made.identityFile), store, signal);
    return await checkRepository({
      catalogue: catalogueOf(place),
      keys: keysOf(place),
      keyObjects: [layout.repositoryKey(1), layout.epochKey(1, 1)],
      content: how === "structure" ? null : makeContentCheck({ store, percent, salt: "a", opened, signal }),
      signal,
    });
  }
  const found = ({ findings }: CheckResult): string[] =>
    findings.map(({ level, code, key }) => `${level} ${code} ${key}`);
  const volumeOf = (run: Run | undefined): Run["parts"][number] => {
    const part = run?.parts.find(({ kind }) => kind === "volume");
    if (part === undefined) throw new Error("no volume");
    return part;
  };
  const put = (name: string, bytes: Buffer): void => {
    writeFileSync(join(node.source, name), bytes);
  };
  const get = async (key: string): Promise<Uint8Array> => {
    const bytes = await place.store.get(key, 1e8);
    if (bytes === null) throw new Error(`${key} is not there`);
    return bytes;
  };
  /** Until the test's end. */
  const replace = async (key: string, bytes: Uint8Array | null): Promise<void> => {
    if (!saved.has(key)) saved.set(key, await get(key));
    if (bytes === null) await place.store.delete([key]);
    else await place.store.put(key, bytes);
  };
  /** Packs that only the newest run needs are the youngest. */
  const packsOf = async (prefix = "packs/"): Promise<string[]> => {
    const listed = await Array.fromAsync(place.store.list(prefix));
    return listed.sort((a, b) => a.sizeBytes - b.sizeBytes).map(({ key }) => key);
  };

  before(async () => {
    place = await makePlace();
    node = makeNode(place, "node1");
    put("shared", randomBytes(3 * MiB));
    put("goes", randomBytes(20 * MiB));
    const first = await backUpRun(place, node);
    rmSync(join(node.source, "goes"));
    put("small", randomBytes(1000));
    runs = [first, await backUpRun(place, node), await backUpRun(place, node)];
  });
  afterEach(async () => {
    for (const [key, bytes] of saved) await place.store.put(key, bytes);
    saved.clear();
  });
  after(async () => {
    await place.remove();
  });

  it("finds nothing in a repository that is well, however closely it looks", async () => {
    for (const how of ["structure", "digests", "identity"] as const) {
      const result = await check(how);
      expect(found(result), how).to.deep.equal([]);
      expect(result).to.include({ runs: 3, snapshots: 3, unneededPacks: 0 });
      expect(result.readPacks).to.equal(how === "structure" ? 0 : result.packs);
    }
  });

  it("names every snapshot that a missing or truncated pack hurts", async () => {
    const packs = await packsOf();
    const large = packs.at(-1) ?? "";
    await replace(large, null);
    const missing = await check();
    expect(found(missing)).to.deep.equal([`error SKEP_OBJECT_MISSING ${large}`]);
    expect(missing.findings[0]?.hurts).to.include(`${runs[0]?.id ?? ""}:node1/data`);
    await replace(large, (saved.get(large) as Uint8Array).subarray(0, 1000));
    expect(found(await check())).to.deep.equal([`error SKEP_OBJECT_DAMAGED ${large}`]);
  });

  it("finds a flipped bit of a pack by its digest, and no sooner than it reads", async () => {
    const pack = (await packsOf()).at(-2) ?? "";
    const flipped = Uint8Array.from(await get(pack));
    const middle = flipped.length >> 1;
    flipped[middle] = (flipped[middle] ?? 0) ^ 1;
    await replace(pack, flipped);
    expect(found(await check())).to.deep.equal([]);
    const result = await check("digests");
    expect(found(result)).to.deep.equal([`error SKEP_OBJECT_DAMAGED ${pack}`]);
    expect(result.findings[0]?.hurts.length).to.be.greaterThan(0);
  });

  it("finds packs that were swapped", async () => {
    const [a = "", b = ""] = (await packsOf()).slice(-2);
    const [ofA, ofB] = [await get(a), await get(b)];
    await replace(a, ofB);
    await replace(b, ofA);
    expect(found(await check())).to.have.members([`error SKEP_OBJECT_DAMAGED ${a}`, `error SKEP_OBJECT_DAMAGED ${b}`]);
  });

  it("finds refs and manifests that are missing, replaced, or another run's", async () => {
    const [older, newer] = [volumeOf(runs[1]), volumeOf(runs[2])];
    const refs = newer.refs?.key ?? "";
    await replace(refs, await get(older.refs?.key ?? ""));
    const result = await check();
    expect(found(result)).to.deep.equal([`error SKEP_OBJECT_DAMAGED ${refs}`]);
    expect(result.findings[0]?.hurts).to.deep.equal([`${runs[2]?.id ?? ""}:node1/data`]);
    const manifest = newer.manifest?.key ?? "";
    await replace(manifest, null);
    expect(found(await check())).to.have.members([
      `error SKEP_OBJECT_DAMAGED ${refs}`,
      `error SKEP_OBJECT_MISSING ${manifest}`,
    ]);
  });

  it("finds a run that was removed, and one that was replayed under another number", async () => {
    await replace(layout.run(2), null);
    expect(found(await check())).to.deep.equal([`error SKEP_RUN_CHAIN_BROKEN ${layout.run(3)}`]);
    await replace(layout.run(2), await get(layout.run(1)));
    expect(found(await check())).to.have.members([
      `error SKEP_RUN_CHAIN_BROKEN ${layout.run(3)}`,
      `error SKEP_RUN_INVALID ${layout.run(2)}`,
    ]);
  });

  it("says of a damaged index that it costs time only, and of one unlike the refs that somebody lies", async () => {
    const [index = ""] = await keysUnder(place.store, layout.indexPrefix("node1"));
    await replace(index, Buffer.from("no index"));
    expect(found(await check())).to.deep.equal([`warning SKEP_INDEX_UNREADABLE ${index}`]);
    const pack = volumeOf(runs[0]).refs === undefined ? "" : ((await packsOf()).at(-1) ?? "").slice(9);
    const line = { pack, sizeBytes: 10, headerBytes: 5, epoch: 1, chunks: [["ab".repeat(32), 0, 1, 2]] };
    const { repositoryId } = place.made.repositoryObject;
    const header = { type: "index" as const, repositoryId, epoch: 1, writerId: "node1" };
    await replace(index, seal(Buffer.from(`${JSON.stringify(line)}\n`), header, writerKeysOf(place, "node1").seal));
    const codes = new Set((await check()).findings.map(({ code }) => code));
    expect([...codes]).to.deep.equal(["SKEP_REFS_INVALID"]);
  });

  it("finds a missing key, without which nothing opens", async () => {
    await replace(layout.epochKey(1, 1), null);
    expect(found(await check())).to.deep.equal([`error SKEP_KEY_MISSING ${layout.epochKey(1, 1)}`]);
  });

  it("reads so many percent of the packs, others under another salt", async () => {
    const picker = (percent: number, salt: string): ContentCheck =>
      makeContentCheck({ store: place.store, percent, salt, opened: null, signal });
    const names = Array.from({ length: 1000 }, (_, number) => `pack ${number}`);
    const picked = (salt: string): string[] => names.filter((name) => picker(40, salt).picks(name));
    expect(picked("a")).to.have.length.within(350, 450);
    expect(picked("b")).to.have.length.within(350, 450).and.not.deep.equal(picked("a"));
    const salts = Array.from({ length: 40 }, (_, number) => `salt ${number}`);
    expect(new Set(salts.flatMap(picked))).to.have.length(names.length);

    const packs = (await packsOf()).map((key) => key.slice(9));
    for (const percent of [1, 40, 60, 100]) {
      const { readPacks } = await check("digests", percent);
      expect(readPacks, `${percent} %`).to.equal(packs.filter(picker(percent, "a").picks).length);
    }
  });

  it("finds that the newest runs were taken away, by what was seen before", async () => {
    const { newest } = await checkAll(place);
    const seen = [{ sequence: newest?.sequence ?? 0, digest: newest?.digest ?? "", by: "a test" }];
    expect((await checkAll(place, { seen })).findings).to.deep.equal([]);
    const key = layout.run(newest?.sequence ?? 0);
    const bytes = (await place.store.get(key, 1 << 26)) ?? new Uint8Array();
    await place.store.delete([key]);
    try {
      // The chain itself is whole: only who remembers can tell.
      expect((await checkAll(place)).findings).to.deep.equal([]);
      const { findings } = await checkAll(place, { seen });
      expect(findings.map(({ level, code, key: at }) => [level, code, at])).to.deep.equal([
        ["error", "SKEP_RUNS_CUT_OFF", key],
      ]);
    } finally {
      await place.store.put(key, bytes);
    }
  });

  it("says that the store does not tell which runs were deleted, and finds all else", async () => {
    const silent = (permanent: boolean): Store => {
      const error = new SkepError({ code: "SKEP_STORE_DENIED", message: "no right to list versions", permanent });
      return new Proxy(place.store, {
        get: (store, name) => {
          if (name === "listDeleted") return () => refusing(error);
          const value: unknown = Reflect.get(store, name);
          return typeof value === "function" ? (value.bind(store) as unknown) : value;
        },
      });
    };
    await replace(layout.epochKey(1, 1), null);
    const { findings } = await checkAll({ ...place, store: silent(true) });
    expect(findings.map(({ level, code, key }) => [level, code, key])).to.deep.equal([
      ["error", "SKEP_KEY_MISSING", layout.epochKey(1, 1)],
      ["warning", "SKEP_DELETED_UNLISTED", "runs/"],
    ]);
    await expectCode("SKEP_STORE_DENIED", () => checkAll({ ...place, store: silent(false) }));
  });

  it("takes what was forgotten and pruned for no fault", async () => {
    const [first] = runs;
    await forgetRuns({ ...appenderOf(place), choose: (all) => all.filter(({ id }) => id === first?.id) });
    expect(found(await check("identity"))).to.deep.equal([]);
    expect((await check()).unneededPacks).to.be.greaterThan(0);
    await prune(pruneOptions(place));
    const result = await check("identity");
    expect(found(result)).to.deep.equal([]);
    expect(result).to.include({ runs: 2, unneededPacks: 0 });
  });
});
