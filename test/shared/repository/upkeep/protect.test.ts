import { expect } from "chai";
import { createHash, randomBytes } from "node:crypto";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { SkepError } from "../../../../shared/errors.ts";
import { digest } from "../../../../shared/repository/blake3.ts";
import { encodeKitList, type KitList } from "../../../../shared/repository/kit-list.ts";
import { layout } from "../../../../shared/repository/layout.ts";
import { changeKeys, planRootRotation } from "../../../../shared/repository/open/key-change.ts";
import { openAsOperator } from "../../../../shared/repository/open/operator.ts";
import { encodeRepositoryObject } from "../../../../shared/repository/repository-object.ts";
import { generateSigningKeyPair } from "../../../../shared/repository/signature.ts";
import { protectionOf, type Protection } from "../../../../shared/repository/protection.ts";
import { putPolicy, putProtection, readProtection } from "../../../../shared/repository/catalogue.ts";
import { compareLocks } from "../../../../shared/repository/upkeep/check-locks.ts";
import { protectRuns, type ProtectOptions } from "../../../../shared/repository/upkeep/protect.ts";
import type { ObjectHead, Store } from "../../../../shared/store/store.ts";
import { expectCode } from "../expect-code.ts";
import { makePlace, type Place } from "../snapshots.ts";
import { backUpRun, catalogueOf, keysOf, keysUnder, makeNode, type Home, type Node } from "./repository-of-runs.ts";

const dayMs = 24 * 3_600_000;

/** A store in a folder that takes locks down beside, and refuses those of some keys; what a real one does is in test/e2e. */
function withLocks(store: Store): { store: Store; locks: Map<string, number>; refused: Set<string> } {
  const locks = new Map<string, number>();
  const refused = new Set<string>();
  const locking = Object.create(store, {
    head: {
      value: async (key: string, signal?: AbortSignal): Promise<ObjectHead | null> => {
        const found = await store.head(key, signal);
        const until = locks.get(key);
        return found && { ...found, lockedUntil: until === undefined ? null : new Date(until).toISOString() };
      },
    },
    lock: {
      value: (key: string, _versionId: string | null, until: number): Promise<void> => {
        if (refused.has(key))
          return Promise.reject(new SkepError({ code: "SKEP_STORE_DENIED", message: key, permanent: true }));
        locks.set(key, Math.max(until, locks.get(key) ?? 0));
        return Promise.resolve();
      },
    },
  }) as Store;
  // Private fields want the store itself.
  for (const name of [
    "put",
    "putIfAbsent",
    "get",
    "getRange",
    "list",
    "listDeleted",
    "listVersions",
    "delete",
    "probe",
    "close",
  ] as const) {
    Object.defineProperty(locking, name, { value: (store[name] as () => unknown).bind(store) });
  }
  Object.defineProperty(locking, "address", { value: store.address });
  return { store: locking, locks, refused };
}

describe("locks on what kept runs need", () => {
  let place: Place;
  let node: Node;
  let home: Home;
  let kept: ReturnType<typeof withLocks>;

  beforeEach(async () => {
    place = await makePlace();
    kept = withLocks(place.store);
    home = { store: kept.store, made: place.made };
    node = makeNode(place, "node1");
  });
  afterEach(async () => {
    await place.remove();
  });
  const write = (): void => {
    writeFileSync(join(node.source, "a"), randomBytes(100_000));
  };
  const protect = (more: Partial<ProtectOptions> = {}): Promise<Protection> =>
    protectRuns({
      ...{ catalogue: catalogueOf(home), keys: keysOf(home), repository: place.made.repositoryObject },
      ...{ lockDays: 8, known: null, signal: new AbortController().signal, ...more },
    });

  it("cover every object of the store, for the days asked for and a quarter more", async () => {
    write();
    const run = await backUpRun(home, node);
    const found = await protect();
    const until = Date.parse(found.runs[0]?.until ?? "");
    expect(until).to.be.within(Date.now() + 9.9 * dayMs, Date.now() + 10.1 * dayMs);
    expect([...kept.locks.keys()].sort()).to.deep.equal(await keysUnder(place.store, ""));
    expect(protectionOf(found, run.id)).to.deep.equal({ until: found.runs[0]?.until, fault: null });
  });

  it("get longer only when their time gets short, and those of new runs come at once", async () => {
    write();
    await backUpRun(home, node);
    const first = await protect();
    kept.locks.clear(); // as if the store were asked: nothing is
    write();
    await backUpRun(home, node);
    const second = await protect({ known: first });
    expect(second.runs[1]).to.deep.equal(first.runs[0]);
    expect([...kept.locks.keys()].filter((key) => key.startsWith("packs/"))).to.have.length(1);
    const third = await protect({ known: second, lockDays: 30 });
    expect(third.runs.every(({ until }) => Date.parse(until ?? "") > Date.now() + 30 * dayMs)).to.be.true;
  });

  it("leave a run that one object could not be locked for unprotected, with the reason, and the others protected", async () => {
    write();
    const first = await backUpRun(home, node);
    write();
    const second = await backUpRun(home, node);
    const pack = (await keysUnder(place.store, "manifests/")).find((key) => key.includes(second.id)) ?? "";
    kept.refused.add(pack);
    const found = await protect();
    expect(found.runs.map(({ id, until, fault }) => [id, until !== null, fault?.code])).to.deep.equal([
      [second.id, false, "SKEP_STORE_DENIED"],
      [first.id, true, undefined],
    ]);
    kept.refused.clear();
    expect((await protect({ known: found })).runs.map(({ fault }) => fault)).to.deep.equal([null, null]);
  });

  it("are set on all that can be locked, beside what cannot: a refused manifest, refs that cannot be read, a foreign policy", async () => {
    write();
    const run = await backUpRun(home, node, makeNode(place, "node2"));
    const [manifest = "", other = ""] = await keysUnder(place.store, "manifests/");
    const damaged = run.parts.find(({ refs }) => refs !== undefined)?.refs?.key ?? "";
    const packs = await keysUnder(place.store, "packs/");
    kept.refused.add(manifest);
    kept.refused.add(other);
    await putPolicy(catalogueOf(home), {});
    kept.refused.add("policy/0000000001");
    const found = await protect();
    expect(found.fault?.message).to.equal("policy/0000000001");
    expect(found.runs[0]?.fault?.message).to.match(/; and 1 more, such as: manifests\//);
    const unlocked = (await keysUnder(place.store, "")).filter((key) => !kept.locks.has(key));
    expect(unlocked).to.have.members([manifest, other, "policy/0000000001"]);

    kept.locks.clear();
    kept.refused.clear();
    const bytes = await place.store.get(damaged, 1e6);
    await place.store.put(damaged, randomBytes(bytes?.length ?? 0));
    const [hurt] = (await protect()).runs;
    expect(hurt?.until).to.equal(null);
    expect(packs.filter((key) => kept.locks.has(key))).to.have.length(packs.length - 1);
  });

  it("are set on nothing that something of the same size was put over, nor on what is not of the repository", async () => {
    write();
    await backUpRun(home, node);
    write();
    await backUpRun(home, node);
    const packs = await keysUnder(place.store, "packs/");
    const indexes = await keysUnder(place.store, "index/");
    const [pack = ""] = packs;
    const over = [pack, indexes[0] ?? "", "policy/9999999999", "runs/9999999999", "kits/9999999999"];
    for (const key of over) {
      const size = (await place.store.head(key))?.sizeBytes ?? 100;
      await place.store.put(key, randomBytes(size));
    }
    const found = await protect();
    expect(found.fault).to.equal(null);
    const hurt = found.runs.filter(({ fault }) => fault !== null);
    expect(hurt.map(({ fault }) => fault?.code)).to.deep.equal(hurt.map(() => "SKEP_OBJECT_DAMAGED"));
    expect(hurt).to.have.length(1);
    const unlocked = (await keysUnder(place.store, "")).filter((key) => !kept.locks.has(key));
    expect(unlocked).to.have.members(over);
  });

  it("cover the list of kits and the pieces that a recovery takes from it", async () => {
    const bytes = randomBytes(1000);
    const sha256 = createHash("sha256").update(bytes).digest("hex");
    const key = layout.kitPiece(sha256, 0);
    await place.store.put(key, bytes);
    const pieces = [{ key, sizeBytes: 1000, digest: digest(bytes), versionId: null }];
    const { repositoryId } = place.made.repositoryObject;
    const list: KitList = {
      ...{ format: 1, repositoryId, version: 1, createdAt: new Date().toISOString() },
      kits: [{ architecture: "x64", skepVersion: "0", sha256, sizeBytes: 1000, pieces }],
    };
    await place.store.put(layout.kitList(1), encodeKitList(list, place.made.identityFile.rootPrivateKey));
    expect((await protect()).fault).to.equal(null);
    expect([kept.locks.has(key), kept.locks.has(layout.kitList(1))]).to.deep.equal([true, true]);
    kept.locks.clear();
    await place.store.put(key, randomBytes(1000));
    expect((await protect()).fault?.code).to.equal("SKEP_OBJECT_DAMAGED");
    expect(kept.locks.has(key)).to.be.false;
  });

  it("are set on each run's own objects where the store refuses to list what all runs need, and the pass tells why", async () => {
    write();
    await backUpRun(home, node);
    const denied = new SkepError({ code: "SKEP_STORE_DENIED", message: "no list of index/", permanent: true });
    const list = (prefix: string, signal?: AbortSignal): ReturnType<Store["list"]> => {
      if (prefix === "index/") throw denied;
      return kept.store.list(prefix, signal);
    };
    home = { ...home, store: Object.create(kept.store, { list: { value: list } }) as Store };
    const found = await protect();
    expect(found.fault).to.include({ code: "SKEP_STORE_DENIED", message: denied.message });
    expect(protectionOf(found, found.runs[0]?.id ?? "")).to.deep.equal({
      until: null,
      fault: `SKEP_STORE_DENIED: ${denied.message}`,
    });
    const unlocked = (await keysUnder(place.store, "")).filter((key) => !kept.locks.has(key));
    expect(unlocked).to.deep.equal(await keysUnder(place.store, "index/"));
  });

  it("are not looked at again, run by run, while what all runs need has a fault; and count once it is gone", async () => {
    write();
    await backUpRun(home, node);
    await putPolicy(catalogueOf(home), {});
    kept.refused.add("policy/0000000001");
    const looked: string[] = [];
    const head = (key: string, signal?: AbortSignal): ReturnType<Store["head"]> => {
      looked.push(key.split("/")[0] ?? "");
      return kept.store.head(key, signal);
    };
    home = { ...home, store: Object.create(kept.store, { head: { value: head } }) as Store };
    const first = await protect();
    expect(first.fault?.code).to.equal("SKEP_STORE_DENIED");
    expect(new Set(looked)).to.include("packs").and.include("manifests");
    looked.length = 0;
    const second = await protect({ known: first });
    expect(second.runs).to.deep.equal(first.runs);
    expect(new Set(looked)).to.have.keys(["probe", "repository", "keys", "policy", "index"]);
    kept.refused.clear();
    looked.length = 0;
    const third = await protect({ known: second });
    expect(third.fault).to.equal(null);
    expect(protectionOf(third, third.runs[0]?.id ?? "")).to.deep.equal({ until: first.runs[0]?.until, fault: null });
    expect(looked).to.not.include("packs");
  });

  it("cover the repository objects in which a root key handed over", async () => {
    const operator = await openAsOperator(place.store, place.made.identityFile);
    const next = generateSigningKeyPair();
    const by = { recipient: place.made.identityFile.recipient };
    const plan = planRootRotation(operator.repositoryObject, by, { ...by, rootPrivateKey: next.privateKey });
    const after = await changeKeys(place.store, operator, place.made.identityFile.rootPrivateKey, plan);
    const repository = { ...after, version: 3 };
    await place.store.put(layout.repository(3), encodeRepositoryObject(repository, next.privateKey));
    await protect({ repository });
    const locked = [...kept.locks.keys()].filter((key) => key.startsWith("repository/")).sort();
    expect(locked).to.deep.equal([layout.repository(2), layout.repository(3)]);
  });

  it("are recorded in the store, and a check tells of one that is not there", async () => {
    write();
    const run = await backUpRun(home, node);
    const recorded = await protect();
    await putProtection(catalogueOf(home), recorded);
    expect(await readProtection(catalogueOf(home))).to.deep.equal(recorded);
    const look = async (): ReturnType<typeof protect> => protect({ lookOnly: { now: Date.now() } });
    const puts: string[] = [];
    const put = { value: (key: string) => puts.push(key) };
    home = { ...home, store: Object.create(kept.store, { put, putIfAbsent: put, delete: put }) as Store };
    expect(compareLocks(recorded, await look(), Date.now())).to.deep.equal([]);
    const [pack = ""] = await keysUnder(place.store, "packs/");
    kept.locks.delete(pack);
    const [finding, ...more] = compareLocks(recorded, await look(), Date.now());
    expect(more).to.deep.equal([]);
    expect(finding).to.deep.include({ level: "error", code: "SKEP_LOCK_MISSING", hurts: [run.id] });
    expect(kept.locks.has(pack)).to.be.false;
    expect(puts).to.deep.equal([]);
  });

  it("are read past what somebody else put among their records, and the next record stands where it is found", async () => {
    write();
    await backUpRun(home, node);
    const catalogue = catalogueOf(home);
    const recorded = await protect();
    expect(await putProtection(catalogue, { ...recorded, lockDays: 1 })).to.equal(1);
    for (const number of ["0000000002", "9999999999"]) await place.store.put(`protection/${number}`, randomBytes(100));
    const faults: string[] = [];
    const onFault = ({ code }: SkepError, key: string): unknown => faults.push(`${code} ${key}`);
    expect((await readProtection(catalogue, { onFault }))?.lockDays).to.equal(1);
    expect(faults).to.deep.equal([
      "SKEP_SEALED_INVALID protection/9999999999",
      "SKEP_SEALED_INVALID protection/0000000002",
    ]);
    await expectCode("SKEP_SEALED_INVALID", () => readProtection(catalogue));
    expect(await putProtection(catalogue, recorded)).to.equal(3);
    expect(await readProtection(catalogue, { onFault })).to.deep.equal(recorded);
  });

  it("may miss an index that a prune took away meanwhile, and no object that a run needs", async () => {
    write();
    const run = await backUpRun(home, node);
    const gone = new Set(await keysUnder(place.store, "index/"));
    expect(gone).to.have.length(1);
    const headOf = (key: string): Promise<ObjectHead | null> =>
      gone.has(key) ? Promise.resolve(null) : kept.store.head(key);
    home = { ...home, store: Object.create(kept.store, { head: { value: headOf } }) as Store };
    const found = await protect();
    expect([found.fault, found.runs[0]?.fault]).to.deep.equal([null, null]);
    gone.add(`runs/${String(run.sequence).padStart(10, "0")}`);
    const without = await protect();
    expect([without.fault, without.runs[0]?.fault?.code]).to.deep.equal([null, "SKEP_OBJECT_MISSING"]);
  });

  it("protect no run in a store that has none", async () => {
    write();
    const run = await backUpRun(home, node);
    const found = await protectRuns({
      ...{ catalogue: { ...catalogueOf(home), store: place.store }, keys: { ...keysOf(home), store: place.store } },
      ...{ repository: place.made.repositoryObject, lockDays: 8, known: null, signal: new AbortController().signal },
    });
    expect(found.fault?.code).to.equal("SKEP_STORE_NO_LOCK");
    expect(protectionOf(found, run.id)?.until).to.equal(null);
  });
});
