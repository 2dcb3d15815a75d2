import { expect } from "chai";
import { cpSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { generateAgeIdentity } from "../../../shared/repository/age.ts";
import { catalogueOfController } from "../../../shared/repository/catalogue.ts";
import { decodeIdentityFile, encodeIdentityFile, type IdentityFile } from "../../../shared/repository/identity-file.ts";
import { layout, newRunId } from "../../../shared/repository/layout.ts";
import { decryptAge } from "../../../shared/repository/open/age.ts";
import { collectRestoreKeys } from "../../../shared/repository/open/file-keys.ts";
import { changeKeys, planAddition, planRemoval, type KeyChange } from "../../../shared/repository/open/key-change.ts";
import { openAsOperator, type Operator } from "../../../shared/repository/open/operator.ts";
import { openSnapshot } from "../../../shared/repository/open/snapshot-reader.ts";
import { epochsOf, type RepositoryObject } from "../../../shared/repository/repository-object.ts";
import { readRepositoryObject } from "../../../shared/repository/repository-reader.ts";
import { appendRun, readRuns } from "../../../shared/repository/run-chain.ts";
import { generateSigningKeyPair } from "../../../shared/repository/signature.ts";
import type { SnapshotResult } from "../../../shared/repository/snapshot.ts";
import { prune } from "../../../shared/repository/upkeep/prune.ts";
import { openDirectory } from "../../../shared/store/directory.ts";
import type { Store } from "../../../shared/store/store.ts";
import { sampleRun } from "../../controller/cli/sample-run.ts";
import { dieAt, FaultyStore, loseAnswerAt } from "../store/faulty.ts";
import { expectCode } from "./expect-code.ts";
import { backUp, makePlace, writerId, type Place } from "./snapshots.ts";
import { backUpRun, makeNode, pruneOptions, restored } from "./upkeep/repository-of-runs.ts";

describe("a change of keys", () => {
  let place: Place;
  let anna: IdentityFile & { rootPrivateKey: string };
  beforeEach(async () => {
    place = await makePlace();
    anna = place.made.identityFile;
  });
  afterEach(() => place.remove());

  const operatorOf = (who: IdentityFile, store: Store = place.store): Promise<Operator> => openAsOperator(store, who);
  async function make(name: string): Promise<IdentityFile> {
    return { ...anna, name, ...(await generateAgeIdentity()), rootPrivateKey: null };
  }
  async function apply(
    plan: (object: RepositoryObject) => KeyChange,
    store: Store = place.store,
  ): Promise<RepositoryObject> {
    const operator = await operatorOf(anna, store);
    return await changeKeys(store, operator, anna.rootPrivateKey, plan(operator.repositoryObject));
  }
  const adding =
    (who: IdentityFile) =>
    (object: RepositoryObject): KeyChange =>
      planAddition(object, { name: who.name, recipient: who.recipient, holdsRootKey: false });
  const removing =
    (name: string) =>
    (object: RepositoryObject): KeyChange =>
      planRemoval(object, name);
  const newEpoch = ({ recipients }: RepositoryObject): KeyChange => ({
    ...{ recipients, newEpoch: true, controller: null, rootPrivateKey: null },
  });

  async function contentOf(who: IdentityFile, { manifest, refs }: SnapshotResult, epoch: number): Promise<string[]> {
    const operator = await operatorOf(who);
    const part = { name: "data", nodeId: writerId, epoch, manifest, refs };
    const keys = await collectRestoreKeys(place.store, operator, part);
    const { repositoryId } = operator.repositoryObject;
    const snapshot = await openSnapshot({ store: place.store, repositoryId, writerId, manifest, refs, keys });
    try {
      const texts: string[] = [];
      for await (const entry of snapshot.entries()) {
        if (entry.type !== "file") continue;
        texts.push(Buffer.concat(await Array.fromAsync(snapshot.content(entry))).toString("utf8"));
      }
      return texts;
    } finally {
      snapshot.close();
    }
  }

  it("lets an added operator open what was backed up before, without touching a backup", async () => {
    writeFileSync(join(place.source, "a"), "before");
    const before = await backUp(place);
    const packs = (await Array.fromAsync(place.store.list("packs/"))).map(({ key }) => key);
    const bob = await make("bob");
    await expectCode("SKEP_IDENTITY_DOES_NOT_FIT", () => operatorOf(bob));
    const after = await apply(adding(bob));
    expect(after).to.include({ version: 2, epochKeyVersion: 2, repositoryKeyVersion: 2 });
    expect(await contentOf(bob, before, 1)).to.deep.equal(["before"]);
    expect((await Array.fromAsync(place.store.list("packs/"))).map(({ key }) => key)).to.deep.equal(packs);
    await expectCode("SKEP_RECIPIENT_EXISTS", () => apply(adding(bob)));
    const hybrid = await generateAgeIdentity("hybrid");
    await expectCode("SKEP_RECIPIENT_KIND", () => apply(adding({ ...bob, name: "eve", ...hybrid })));
  });

  it("keeps a removed operator out of the next epoch, the others in all of them", async () => {
    const bob = await make("bob");
    await apply(adding(bob));
    writeFileSync(join(place.source, "a"), "before");
    const before = await backUp(place);
    const after = await apply(removing("bob"));
    expect(after.epoch.number).to.equal(2);
    expect(epochsOf(after).map(({ number }) => number)).to.deep.equal([1, 2]);
    writeFileSync(join(place.source, "b"), "later");
    const later = await backUp(place, { epoch: after.epoch });
    // The chunk of the first file is shared: its pack is of the epoch before.
    expect(await contentOf(anna, later, 2)).to.deep.equal(["before", "later"]);
    expect(await contentOf(anna, before, 1)).to.deep.equal(["before"]);
    await expectCode("SKEP_IDENTITY_DOES_NOT_FIT", () => operatorOf(bob));
    // With all that he kept a copy of, the keys of the epoch before, he opens no file of the new one.
    const old = (await place.store.get(layout.epochKey(1, 2), 1e6)) ?? new Uint8Array();
    const text = (await decryptAge(old, [bob.identity], "old key")).toString("utf8");
    const oldEpoch = /AGE-SECRET-KEY-\S+/.exec(text)?.[0] ?? "";
    const manifest = (await place.store.get(later.manifest.key, 1e8)) ?? new Uint8Array();
    await expectCode("SKEP_IDENTITY_DOES_NOT_FIT", () => decryptAge(manifest, [oldEpoch, bob.identity], "manifest"));
    await expectCode("SKEP_RECIPIENT_UNKNOWN", () => apply(removing("bob")));
    await expectCode("SKEP_RECIPIENT_LAST", () => apply(removing("anna")));
  });

  it("is made whole or not at all, wherever it dies, and can then be made again", async function () {
    this.timeout(120_000);
    writeFileSync(join(place.source, "a"), "content");
    const snapshot = await backUp(place);
    const bob = await make("bob");
    await apply(adding(bob));
    await apply(newEpoch);
    const counting = new FaultyStore(openDirectory(place.storePath), () => null);
    cpSync(place.storePath, `${place.storePath}-0`, { recursive: true });
    await apply(removing("bob"), counting);
    const whole = place.storePath;
    const puts = counting.calls.filter(({ method }) => method === "putIfAbsent");
    expect(puts.length).to.be.greaterThan(4);
    for (const { number } of puts) {
      for (const plan of [dieAt(number), loseAnswerAt(number)]) {
        const path = `${whole}-${number}`;
        cpSync(`${whole}-0`, path, { recursive: true, force: true });
        const inner = openDirectory(path);
        const died = await apply(removing("bob"), new FaultyStore(inner, plan)).then(
          () => false,
          () => true,
        );
        const operator = await openAsOperator(inner, anna);
        const { recipients, epoch } = operator.repositoryObject;
        const isDone = recipients.length === 1;
        expect(epoch.number, `call ${number}`).to.equal(isDone ? 3 : 2);
        for (const { number: one } of epochsOf(operator.repositoryObject)) await operator.epochIdentity(one);
        await collectRestoreKeys(inner, operator, { name: "x", nodeId: writerId, epoch: 1, ...snapshot });
        if (!isDone) {
          expect(died).to.be.true;
          await openAsOperator(inner, bob);
          await apply(removing("bob"), inner);
        }
        await expectCode("SKEP_IDENTITY_DOES_NOT_FIT", () => openAsOperator(inner, bob));
        for (const { number: one } of epochsOf((await openAsOperator(inner, anna)).repositoryObject)) {
          await (await openAsOperator(inner, anna)).epochIdentity(one);
        }
        await inner.close();
        rmSync(path, { recursive: true });
      }
    }
  });

  it("is refused where another came first", async () => {
    const operator = await operatorOf(anna);
    const first = planAddition(operator.repositoryObject, { ...(await make("bob")), holdsRootKey: false });
    const recipients = first.recipients.map(({ name, recipient, holdsRootKey }) => ({ name, recipient, holdsRootKey }));
    await apply(newEpoch);
    await expectCode("SKEP_KEY_CHANGED_MEANWHILE", () =>
      changeKeys(place.store, operator, anna.rootPrivateKey, { ...first, recipients }),
    );
  });

  it("is not undone by an old repository object put in its place or above it", async () => {
    const bob = await make("bob");
    await apply(adding(bob));
    await apply(removing("bob"));
    const old = (await place.store.get(layout.repository(2), 1e6)) ?? new Uint8Array();
    await place.store.put(layout.repository(4), old);
    const { rootPublicKey } = anna;
    await expectCode("SKEP_REPOSITORY_INVALID", () => readRepositoryObject(place.store, rootPublicKey));
    const passing = { onForeign: () => undefined };
    expect((await readRepositoryObject(place.store, rootPublicKey, passing)).version).to.equal(3);
    await place.store.delete([layout.repository(3), layout.repository(4)]);
    await expectCode("SKEP_REPOSITORY_ROLLED_BACK", () =>
      readRepositoryObject(place.store, rootPublicKey, { ...passing, minVersion: 3 }),
    );
  });

  it("of the controller's signing key keeps the runs that are there, and takes no later one of the former key", async () => {
    const { controllerKey } = place.made;
    const next = generateSigningKeyPair();
    await appendRun(place.store, controllerKey, 1, sampleRun(newRunId(Date.now())));
    const after = await apply(({ recipients }) => ({
      recipients,
      newEpoch: false,
      controller: { publicKey: next.publicKey, lastSequence: 1 },
      rootPrivateKey: null,
    }));
    expect(after.formerControllerKeys.map(({ lastSequence }) => lastSequence)).to.deep.equal([1]);
    await expectCode("SKEP_REPOSITORY_FENCED", () =>
      appendRun(place.store, controllerKey, 1, sampleRun(newRunId(Date.now()))),
    );
    const successor = { ...controllerKey, signingKey: next.privateKey };
    const second = await appendRun(place.store, successor, 1, sampleRun(newRunId(Date.now())));
    expect(second.sequence).to.equal(2);
    const { catalogue } = await operatorOf(anna);
    const found = await Array.fromAsync(readRuns(catalogue));
    expect(found.map(({ run, chain }) => [run.sequence, chain])).to.deep.equal([
      [2, "intact"],
      [1, "first"],
    ]);
    // The former key's run at the place of a later one.
    const first = (await place.store.get(layout.run(1), 1e8)) ?? new Uint8Array();
    await place.store.put(layout.run(3), first);
    const faults: string[] = [];
    const onFault = ({ code }: { code: string }): void => void faults.push(code);
    const ofNow = catalogueOfController(place.store, successor, after.formerControllerKeys);
    await Array.fromAsync(readRuns(ofNow, { onFault }));
    expect(faults).to.deep.equal(["SKEP_SIGNATURE_INVALID"]);
  });
});

describe("a prune after a change of the controller's key", () => {
  it("keeps what the runs of the former key need", async function () {
    this.timeout(60_000);
    const place = await makePlace();
    try {
      const node = makeNode(place, "node1");
      writeFileSync(join(node.source, "a"), "kept");
      const run = await backUpRun(place, node);
      const operator = await openAsOperator(place.store, place.made.identityFile);
      const next = generateSigningKeyPair();
      await changeKeys(place.store, operator, place.made.identityFile.rootPrivateKey, {
        recipients: operator.repositoryObject.recipients,
        newEpoch: false,
        controller: { publicKey: next.publicKey, lastSequence: run.sequence },
        rootPrivateKey: null,
      });
      await expectCode("SKEP_REPOSITORY_FENCED", () => prune(pruneOptions(place)));
      const controllerKey = { ...place.made.controllerKey, signingKey: next.privateKey };
      const { keptRuns, deletedPacks } = await prune(
        pruneOptions({ ...place, made: { ...place.made, controllerKey } }),
      );
      expect({ keptRuns, deletedPacks }).to.deep.equal({ keptRuns: 1, deletedPacks: 0 });
      const tree = await restored(place, run, node);
      expect(tree.get("a")?.toString()).to.equal("kept");
    } finally {
      await place.remove();
    }
  });
});

describe("an identity file", () => {
  it("of an operator who only opens comes back as it was written", async () => {
    const place = await makePlace();
    try {
      const file: IdentityFile = { ...place.made.identityFile, rootPrivateKey: null };
      expect(decodeIdentityFile(encodeIdentityFile(file), "x")).to.deep.equal(file);
      const mixed = { ...place.made.identityFile, rootPublicKey: generateSigningKeyPair().publicKey };
      await expectCode("SKEP_IDENTITY_INVALID", () => decodeIdentityFile(encodeIdentityFile(mixed), "x"));
    } finally {
      await place.remove();
    }
  });
});
