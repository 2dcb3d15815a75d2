import { expect } from "chai";
import fc from "fast-check";
import { cpSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { SkepError } from "../../../shared/errors.ts";
import { generateAgeIdentity } from "../../../shared/repository/age.ts";
import type { IdentityFile } from "../../../shared/repository/identity-file.ts";
import { layout, newRunId } from "../../../shared/repository/layout.ts";
import { decryptAge } from "../../../shared/repository/open/age.ts";
import { changeKeys, planAddition, planRootRotation } from "../../../shared/repository/open/key-change.ts";
import { openAsOperator } from "../../../shared/repository/open/operator.ts";
import { encodeRepositoryObject, type RepositoryObject } from "../../../shared/repository/repository-object.ts";
import { readRepositoryObject } from "../../../shared/repository/repository-reader.ts";
import { signHandover } from "../../../shared/repository/root-handover.ts";
import { appendRun, readRuns } from "../../../shared/repository/run-chain.ts";
import { generateSigningKeyPair } from "../../../shared/repository/signature.ts";
import { succeedController } from "../../../shared/repository/succession.ts";
import { openDirectory } from "../../../shared/store/directory.ts";
import type { Store } from "../../../shared/store/store.ts";
import { sampleRun } from "../../controller/cli/sample-run.ts";
import { dieAt, FaultyStore, loseAnswerAt } from "../store/faulty.ts";
import { withVersions } from "../store/versioned.ts";
import { expectCode } from "./expect-code.ts";
import { makePlace, type Place } from "./snapshots.ts";
import { backUpRun, catalogueOf, makeNode, restored } from "./upkeep/repository-of-runs.ts";

/** What a succession needs beside keys. */
function succession({
  made,
}: Pick<Place, "made">): Pick<Parameters<typeof succeedController>[0], "catalogueKey" | "onForeign"> {
  const { catalogueKey } = catalogueOf({ made } as Place);
  return { catalogueKey, onForeign: () => undefined };
}

type Owner = IdentityFile & { rootPrivateKey: string };

describe("a change of the root key", () => {
  let place: Place;
  let anna: Owner;
  beforeEach(async () => {
    place = await makePlace();
    anna = place.made.identityFile;
  });
  afterEach(() => place.remove());

  /** Of that owner, with another root key; the object of the store names it once it is done. */
  function nextOf(owner: Owner): Owner {
    const { privateKey, publicKey } = generateSigningKeyPair();
    return { ...owner, rootPrivateKey: privateKey, rootPublicKey: publicKey };
  }
  async function rotate(owner: Owner, next: Owner, store: Store = place.store): Promise<RepositoryObject> {
    const operator = await openAsOperator(store, owner);
    const change = planRootRotation(operator.repositoryObject, owner, next);
    return await changeKeys(store, operator, owner.rootPrivateKey, change);
  }

  it("is followed by who knows only the former key: old and new runs are read, old controllers go on", async () => {
    const node = makeNode(place, "node1");
    writeFileSync(join(node.source, "a"), "before");
    const first = await backUpRun(place, node);
    const next = nextOf(anna);
    const after = await rotate(anna, next);
    expect(after).to.include({ version: 2, rootPublicKey: next.rootPublicKey });
    writeFileSync(join(node.source, "a"), "later");
    const second = await backUpRun(place, node);
    for (const identityFile of [anna, next]) {
      const opened = { ...place, made: { ...place.made, identityFile } };
      expect((await restored(opened, first, node)).get("a")?.toString()).to.equal("before");
      expect((await restored(opened, second, node)).get("a")?.toString()).to.equal("later");
      const { catalogue } = await openAsOperator(place.store, identityFile);
      expect(await Array.fromAsync(readRuns(catalogue), ({ run }) => run.sequence)).to.deep.equal([2, 1]);
    }
  });

  it("leaves the former key nothing to sign: no change, no take-over, no object, no handover of its own", async () => {
    const bob: IdentityFile = { ...anna, name: "bob", ...(await generateAgeIdentity()), rootPrivateKey: null };
    const operator = await openAsOperator(place.store, anna);
    const adding = planAddition(operator.repositoryObject, { ...bob, holdsRootKey: true });
    const recipients = adding.recipients.map(({ name, recipient, holdsRootKey }) => ({
      name,
      recipient,
      holdsRootKey,
    }));
    await changeKeys(place.store, operator, anna.rootPrivateKey, { ...adding, recipients });
    const next = nextOf(anna);
    const after = await rotate(anna, next);
    expect(after.recipients.map(({ name, holdsRootKey }) => [name, holdsRootKey])).to.deep.equal([
      ["anna", true],
      ["bob", false],
    ]);
    await openAsOperator(place.store, bob);
    await expectCode("SKEP_ROOT_KEY_REPLACED", () => rotate(anna, nextOf(anna)));
    await expectCode("SKEP_ROOT_KEY_REPLACED", () =>
      succeedController({
        ...{ ...place, ...anna, ...succession(place), now: 0 },
        controllerPublicKey: generateSigningKeyPair().publicKey,
      }),
    );
    const thief = generateSigningKeyPair();
    const handover = { repositoryId: after.repositoryId, from: anna.rootPublicKey, to: thief.publicKey };
    const own = signHandover({ ...handover, firstVersion: 4 }, anna.rootPrivateKey);
    const forged = [
      encodeRepositoryObject({ ...operator.repositoryObject, version: 4 }, anna.rootPrivateKey),
      encodeRepositoryObject({ ...after, version: 4 }, anna.rootPrivateKey),
      encodeRepositoryObject(
        { ...after, version: 4, rootPublicKey: thief.publicKey, rootHandovers: [own] },
        thief.privateKey,
      ),
    ];
    for (const bytes of forged) {
      await place.store.put(layout.repository(4), bytes);
      for (const { rootPublicKey } of [anna, next]) {
        await expectCode("SKEP_SIGNATURE_INVALID", () => readRepositoryObject(place.store, rootPublicKey));
        const passing = { onForeign: () => undefined };
        expect((await readRepositoryObject(place.store, rootPublicKey, passing)).version).to.equal(3);
      }
    }
    // Whoever has seen the new key is not deceived where the handover was taken away, either.
    await place.store.delete([layout.repository(3)]);
    await expectCode("SKEP_SIGNATURE_INVALID", () => readRepositoryObject(place.store, next.rootPublicKey));
  });

  it("is followed in what was written first, though who found the former key signs an object of his own over it", async () => {
    const { store } = withVersions(place.store);
    const after = await rotate(anna, nextOf(anna), store);
    const { recipient } = await generateAgeIdentity();
    const own = { ...place.made.repositoryObject, version: 2, epoch: { number: 1, recipient } };
    await store.put(layout.repository(2), encodeRepositoryObject(own, anna.rootPrivateKey));
    const told: string[] = [];
    const onForeign = ({ code }: SkepError, key: string): unknown => told.push(`${code} ${key}`);
    expect(await readRepositoryObject(store, anna.rootPublicKey, { onForeign })).to.deep.equal(after);
    expect(told).to.deep.equal([`SKEP_REPOSITORY_INVALID ${layout.repository(2)}`]);
    await expectCode("SKEP_REPOSITORY_INVALID", () => readRepositoryObject(store, anna.rootPublicKey));
  });

  it("with a new age key begins an epoch that the former identity file does not open", async () => {
    const next = { ...nextOf(anna), ...(await generateAgeIdentity()) };
    const after = await rotate(anna, next);
    expect(after.epoch.number).to.equal(2);
    await expectCode("SKEP_IDENTITY_DOES_NOT_FIT", () => openAsOperator(place.store, anna));
    const operator = await openAsOperator(place.store, next);
    await operator.epochIdentity(1);
    const later = (await place.store.get(layout.epochKey(2, after.epochKeyVersion), 1e6)) ?? new Uint8Array();
    await expectCode("SKEP_IDENTITY_DOES_NOT_FIT", () => decryptAge(later, [anna.identity], "epoch 2"));
    await expectCode("SKEP_RECIPIENT_UNKNOWN", () =>
      Promise.resolve(planRootRotation(after, { recipient: anna.recipient }, next)),
    );
  });

  it("leads from every key there was to the one that counts, and from none back", async function () {
    this.timeout(60_000);
    await fc.assert(
      fc.asyncProperty(fc.array(fc.boolean(), { minLength: 1, maxLength: 6 }), async (rotations) => {
        const one = await makePlace();
        try {
          const owners: Owner[] = [one.made.identityFile];
          let owner: Owner = one.made.identityFile;
          let version = 1;
          for (const isRotation of rotations) {
            const next: Owner = isRotation ? nextOf(owner) : owner;
            if (isRotation) await rotate(owner, next, one.store);
            else {
              const { publicKey } = generateSigningKeyPair();
              await succeedController({
                ...{ store: one.store, ...owner, ...succession(one), now: 0 },
                controllerPublicKey: publicKey,
              });
            }
            owner = next;
            if (isRotation) owners.push(next);
            version++;
          }
          const newest = await readRepositoryObject(one.store, owner.rootPublicKey);
          expect(newest).to.include({ version, rootPublicKey: owner.rootPublicKey });
          for (const { rootPublicKey, rootPrivateKey } of owners) {
            expect(await readRepositoryObject(one.store, rootPublicKey)).to.deep.equal(newest);
            if (rootPrivateKey === owner.rootPrivateKey) continue;
            const key = layout.repository(version + 1);
            await one.store.put(key, encodeRepositoryObject({ ...newest, version: version + 1 }, rootPrivateKey));
            await expectCode("SKEP_SIGNATURE_INVALID", () => readRepositoryObject(one.store, rootPublicKey));
            await one.store.delete([key]);
          }
        } finally {
          await one.remove();
        }
      }),
      { numRuns: 8 },
    );
  });

  it("is made whole or not at all, wherever it dies, and can then be made again", async function () {
    this.timeout(60_000);
    await appendRun(place.store, place.made.controllerKey, 1, sampleRun(newRunId(Date.now())));
    const next = { ...nextOf(anna), ...(await generateAgeIdentity()) };
    const whole = place.storePath;
    cpSync(whole, `${whole}-0`, { recursive: true });
    const counting = new FaultyStore(place.store, () => null);
    await rotate(anna, next, counting);
    const puts = counting.calls.filter(({ method }) => method === "putIfAbsent");
    expect(puts.length).to.be.greaterThan(3);
    for (const { number } of puts) {
      for (const plan of [dieAt(number), loseAnswerAt(number)]) {
        const path = `${whole}-${number}`;
        cpSync(`${whole}-0`, path, { recursive: true });
        const inner = openDirectory(path);
        await rotate(anna, next, new FaultyStore(inner, plan)).catch(() => undefined);
        const isDone = (await readRepositoryObject(inner, anna.rootPublicKey)).rootPublicKey !== anna.rootPublicKey;
        if (!isDone) {
          await openAsOperator(inner, anna);
          await rotate(anna, next, inner);
        }
        const operator = await openAsOperator(inner, next);
        expect(operator.repositoryObject).to.include({ version: 2, rootPublicKey: next.rootPublicKey });
        for (const epoch of [1, 2]) await operator.epochIdentity(epoch);
        expect(await Array.fromAsync(readRuns(operator.catalogue))).to.have.length(1);
        await inner.close();
        rmSync(path, { recursive: true });
      }
    }
  });
});
