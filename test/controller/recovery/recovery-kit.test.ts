import { expect } from "chai";
import { execFileSync } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { kitForRecovery, madeOnce } from "../../../controller/recovery/recovery-kit.ts";
import type { KitParts, RuntimeKit } from "../../../controller/recovery/runtime-kit.ts";
import { storeKits } from "../../../controller/recovery/stored-kits.ts";
import { SkepError } from "../../../shared/errors.ts";
import { layout } from "../../../shared/repository/layout.ts";
import { openAsOperator } from "../../../shared/repository/open/operator.ts";
import { skepVersion } from "../../../shared/version.ts";
import { makePlace, type Place } from "../../shared/repository/snapshots.ts";

describe("the kit of a recovery", () => {
  let place: Place;
  let own: KitParts;
  beforeEach(async () => {
    place = await makePlace();
    const modulesRoot = join(place.path, "installation");
    mkdirSync(join(modulesRoot, "node_modules", "one"), { recursive: true });
    writeFileSync(join(modulesRoot, "node_modules", "one", "index.js"), "");
    writeFileSync(join(modulesRoot, "package-lock.json"), JSON.stringify({ packages: { "node_modules/one": {} } }));
    writeFileSync(join(modulesRoot, "node"), "Node, as it were");
    own = { nodePath: join(modulesRoot, "node"), modulesRoot, architecture: "x64" };
  });
  afterEach(() => place.remove());

  const store = async (architecture: RuntimeKit["architecture"]): Promise<RuntimeKit> => {
    const bytes = randomBytes(100);
    const path = join(place.path, "stored-kit");
    writeFileSync(path, bytes);
    const sha256 = createHash("sha256").update(bytes).digest("hex");
    const kit = { path, architecture, sizeBytes: bytes.length, sha256 };
    const { repositoryId, rootPublicKey } = place.made.repositoryObject;
    const { rootPrivateKey } = place.made.identityFile;
    await storeKits({ store: place.store, repositoryId, rootPublicKey }, [kit], {
      ...{ rootPrivateKey, skepVersion, now: 0 },
    });
    return kit;
  };
  const get = async (
    architecture: RuntimeKit["architecture"],
    signal = new AbortController().signal,
  ): Promise<{ kit: RuntimeKit; faults: string[] }> => {
    const operator = await openAsOperator(place.store, place.made.identityFile);
    const faults: string[] = [];
    const kit = await kitForRecovery({ operator, store: place.store }, join(place.path, "recovery"), architecture, {
      signal,
      onFault: ({ code }, key) => faults.push(`${key} ${code}`),
      own,
    });
    return { kit, faults };
  };

  it("is the stored one; where that is damaged or gone it is packed here, and the fault is told", async () => {
    const stored = await store("x64");
    const first = await get("x64");
    expect(first).to.deep.equal({ kit: { ...stored, path: first.kit.path }, faults: [] });
    const piece = layout.kitPiece(stored.sha256, 0);
    for (const [spoil, code] of [
      [() => place.store.put(piece, randomBytes(100)), "SKEP_OBJECT_DAMAGED"],
      [() => place.store.delete([piece]), "SKEP_OBJECT_MISSING"],
    ] as const) {
      await spoil();
      const { kit, faults } = await get("x64");
      expect(faults).to.deep.equal([`kits/${stored.sha256} ${code}`]);
      expect(kit.sha256).to.equal(createHash("sha256").update(readFileSync(kit.path)).digest("hex"));
      expect(kit.sha256).to.not.equal(stored.sha256);
    }
  });

  it("is refused where a damaged one is for another architecture than this installation's", async () => {
    const stored = await store("arm64");
    await place.store.delete([layout.kitPiece(stored.sha256, 0)]);
    const refused = await get("arm64").catch((error: unknown) => error);
    expect(refused).to.be.instanceOf(SkepError).with.property("code", "SKEP_OBJECT_MISSING");
  });

  it("has the list of modules, with which an unpacked kit makes kits in its turn", async () => {
    const { kit } = await get("x64");
    const lock = execFileSync("tar", ["-xzOf", kit.path, "package-lock.json"], { encoding: "utf8" });
    expect(lock).to.equal(readFileSync(join(own.modulesRoot, "package-lock.json"), "utf8"));
  });

  it("is given up at once where nobody wants it any more, and nothing of it stays", async () => {
    // Longer to pack than any of these moments.
    const program = join(own.modulesRoot, "large");
    writeFileSync(program, randomBytes(200_000_000));
    own = { ...own, nodePath: program };
    const folder = join(place.path, "recovery");
    const sizes: number[] = [];
    for (const afterMs of [0, 20, 100, 400]) {
      const reason = new Error(`enough after ${afterMs} ms`);
      const abort = new AbortController();
      const getting = get("x64", abort.signal).catch((error: unknown) => error);
      await sleep(afterMs);
      const abortedAt = performance.now();
      sizes.push(existsSync(folder) ? readdirSync(folder).length : 0);
      abort.abort(reason);
      expect(await getting).to.equal(reason);
      expect(performance.now() - abortedAt, "it waited").to.be.below(3_000);
      expect(readdirSync(folder)).to.deep.equal([]);
    }
    expect(sizes.at(-1), "it was amid packing").to.equal(1);
  });

  it("is made once for all that ask, and anew after it could not be made", async () => {
    let made = 0;
    const one = madeOnce((name: string) => {
      made++;
      return made === 1 ? Promise.reject(new Error("the store is away")) : Promise.resolve(`${name} ${made}`);
    });
    const [first, second] = await Promise.allSettled([one("x64"), one("x64")]);
    expect([first.status, second.status]).to.deep.equal(["rejected", "rejected"]);
    expect(await Promise.all([one("x64"), one("x64")])).to.deep.equal(["x64 2", "x64 2"]);
    expect(await one("arm64")).to.equal("arm64 3");
  });
});
