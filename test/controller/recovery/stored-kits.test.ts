import { expect } from "chai";
import { createHash, randomBytes } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { RuntimeKit } from "../../../controller/recovery/runtime-kit.ts";
import { fetchKit, kitFor, readKits, resignKits, storeKits } from "../../../controller/recovery/stored-kits.ts";
import { SkepError } from "../../../shared/errors.ts";
import { encodeKitList, type KitList, type StoredKit } from "../../../shared/repository/kit-list.ts";
import { layout } from "../../../shared/repository/layout.ts";
import { generateSigningKeyPair } from "../../../shared/repository/signature.ts";
import { createStore } from "../../../shared/store/open.ts";
import type { Store } from "../../../shared/store/store.ts";

describe("the kits in a store", () => {
  const root = generateSigningKeyPair();
  const repositoryId = "0".repeat(32);
  let folder: string;
  let store: Store;
  beforeEach(async () => {
    folder = mkdtempSync(join(tmpdir(), "skep-kits-"));
    store = await createStore({ url: `file://${folder}/store` }, null);
  });
  afterEach(async () => {
    await store.close();
    rmSync(folder, { recursive: true });
  });

  const place = () => ({ store, repositoryId, rootPublicKey: root.publicKey });
  /** Two pieces and a bit, of which the first two are alike. */
  const kit = (
    architecture: RuntimeKit["architecture"],
    bytes = Buffer.alloc(40 * 1024 * 1024, randomBytes(32)),
  ): RuntimeKit => {
    const path = join(folder, `made-${architecture}`);
    writeFileSync(path, bytes);
    return { path, architecture, sizeBytes: bytes.length, sha256: createHash("sha256").update(bytes).digest("hex") };
  };
  const put = (kits: RuntimeKit[], skepVersion = "1.0.0"): Promise<KitList> =>
    storeKits(place(), kits, { rootPrivateKey: root.privateKey, skepVersion, now: 0 });
  const read = async (): Promise<{ list: KitList | null; foreign: string[] }> => {
    const foreign: string[] = [];
    const list = await readKits(place(), { onForeign: ({ code }, key) => foreign.push(`${key} ${code}`) });
    return { list, foreign };
  };
  const first = (list: KitList | null): StoredKit => list?.kits[0] ?? expect.fail("no kit");

  it("are taken over by the next root key, and no list that the former one signs later counts", async () => {
    const next = generateSigningKeyPair();
    const readAs = async (rootPublicKey: string): Promise<{ list: KitList | null; foreign: number }> => {
      let foreign = 0;
      const list = await readKits({ ...place(), rootPublicKey }, { onForeign: () => foreign++ });
      return { list, foreign };
    };
    const by = { rootPrivateKey: next.privateKey, now: 1 };
    expect(await resignKits(place(), by)).to.equal(null);
    const { kits } = await put([kit("x64", Buffer.from("a kit"))]);
    expect(await resignKits(place(), by)).to.deep.include({ version: 2, kits });
    // Until the repository object names the next key, the former one's list counts as before.
    const before = await readAs(root.publicKey);
    expect(before.foreign).to.equal(1);
    expect(before.list).to.deep.include({ version: 1, kits });
    await put([kit("x64", Buffer.from("a thief's kit"))]);
    const after = await readAs(next.publicKey);
    expect(after.foreign).to.equal(1);
    expect(after.list).to.deep.include({ version: 2, kits });
  });

  it("come back as they were put, byte by byte", async () => {
    const made = kit("x64");
    await put([made]);
    const stored = kitFor((await read()).list, "x64", "1.0.0") ?? expect.fail("no kit");
    expect(stored.pieces).to.have.length(2);
    const fetched = await fetchKit(store, stored, join(folder, "fetched"));
    expect(fetched).to.deep.equal({ ...made, path: join(folder, "fetched") });
    expect(readFileSync(fetched.path).equals(readFileSync(made.path))).to.be.true;
  });

  it("are one for each architecture, the newest, and only of use to the Skep of their version", async () => {
    await put([kit("x64", randomBytes(10))]);
    await put([kit("arm64", randomBytes(10))]);
    await put([kit("x64", randomBytes(10))], "1.1.0");
    const { list } = await read();
    expect(list?.version).to.equal(3);
    expect(list?.kits.map((one) => `${one.architecture} ${one.skepVersion}`)).to.have.members([
      "arm64 1.0.0",
      "x64 1.1.0",
    ]);
    expect(kitFor(list, "x64", "1.0.0")).to.equal(null);
    expect(kitFor(list, "arm64", "1.0.0")).to.not.equal(null);
  });

  it("count only where the root key signed their list under its own number: others are named and passed over", async () => {
    const list = await put([kit("x64", randomBytes(10))]);
    const thief = generateSigningKeyPair();
    await store.put(layout.kitList(2), encodeKitList({ ...list, version: 2 }, thief.privateKey));
    await store.put(layout.kitList(3), encodeKitList(list, root.privateKey));
    await store.put(layout.kitList(4), Buffer.from("{"));
    await store.put(layout.kitList(9_999_999_999), Buffer.alloc(1024 * 1024 + 1));
    const found = await read();
    expect(found.list?.version).to.equal(1);
    expect(found.foreign).to.deep.equal([
      "kits/9999999999 SKEP_STORE_TOO_LARGE",
      "kits/0000000004 SKEP_KIT_LIST_INVALID",
      "kits/0000000003 SKEP_KIT_LIST_INVALID",
      "kits/0000000002 SKEP_SIGNATURE_INVALID",
    ]);
    const made = kit("x64", randomBytes(10));
    expect((await put([made])).version).to.equal(5);
    expect((await read()).list?.kits.map(({ sha256 }) => sha256)).to.deep.equal([made.sha256]);
  });

  it("are refused where a piece is another, is missing, or the whole is not what the list says", async () => {
    const list = await put([kit("x64", randomBytes(10))]);
    const stored = first(list);
    const codeOf = async (what: StoredKit): Promise<string> => {
      try {
        await fetchKit(store, what, join(folder, "fetched"));
        return "none";
      } catch (error) {
        return error instanceof SkepError ? error.code : String(error);
      }
    };
    expect(await codeOf(stored)).to.equal("none");
    expect(await codeOf({ ...stored, sha256: "0".repeat(64) })).to.equal("SKEP_KIT_DAMAGED");
    await store.put(layout.kitPiece(stored.sha256, 0), randomBytes(10));
    expect(await codeOf(stored)).to.equal("SKEP_OBJECT_DAMAGED");
    await store.delete([layout.kitPiece(stored.sha256, 0)]);
    expect(await codeOf(stored)).to.equal("SKEP_OBJECT_MISSING");
  });

  it("are none where nobody put one", async () => {
    expect(await read()).to.deep.equal({ list: null, foreign: [] });
  });
});
