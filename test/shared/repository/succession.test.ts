import { expect } from "chai";
import { catalogueOfController } from "../../../shared/repository/catalogue.ts";
import { putEntry, readEntry } from "../../../shared/repository/chain.ts";
import type { ControllerKey } from "../../../shared/repository/controller-key.ts";
import { createRepository, type CreatedRepository } from "../../../shared/repository/create.ts";
import { layout } from "../../../shared/repository/layout.ts";
import { compact } from "../../../shared/repository/open/compact.ts";
import { openAsOperator } from "../../../shared/repository/open/operator.ts";
import { readRepositoryObject } from "../../../shared/repository/repository-reader.ts";
import { appendRun, readRun, readRuns } from "../../../shared/repository/run-chain.ts";
import { generateSigningKeyPair } from "../../../shared/repository/signature.ts";
import { succeedController } from "../../../shared/repository/succession.ts";
import { forgetRuns } from "../../../shared/repository/upkeep/forget.ts";
import { openDirectory } from "../../../shared/store/directory.ts";
import type { Store } from "../../../shared/store/store.ts";
import { beginning, emptyRun } from "./empty-run.ts";
import { expectCode } from "./expect-code.ts";
import { makeScratch } from "./scratch.ts";

describe("a repository that a recovery took over", () => {
  let scratch: ReturnType<typeof makeScratch>;
  let store: Store;
  let made: CreatedRepository;
  let next: ControllerKey;

  beforeEach(async () => {
    scratch = makeScratch();
    store = openDirectory(scratch.path);
    made = await createRepository({ store, operatorName: "anna", now: beginning });
    await appendRun(store, made.controllerKey, 1, emptyRun(1));
    const pair = generateSigningKeyPair();
    next = { ...made.controllerKey, signingKey: pair.privateKey };
    const { rootPublicKey, rootPrivateKey } = made.identityFile;
    const { catalogueKey } = catalogueOfController(store, made.controllerKey, []);
    const given = {
      ...{ store, rootPublicKey, rootPrivateKey, controllerPublicKey: pair.publicKey, now: beginning, catalogueKey },
      onForeign: (): void => undefined,
    };
    expect((await succeedController(given)).incarnation).to.equal(2);
    // Done again by a recovery that was cut off: it is the same succession.
    expect((await succeedController(given)).version).to.equal(2);
  });
  afterEach(async () => {
    await store.close();
    scratch.remove();
  });

  it("takes runs of the new controller, and keeps those of the former one", async () => {
    await appendRun(store, next, 2, emptyRun(2));
    const object = await readRepositoryObject(store, made.identityFile.rootPublicKey);
    const operator = await openAsOperator(store, made.identityFile);
    for (const catalogue of [operator.catalogue, catalogueOfController(store, next, object.formerControllerKeys)]) {
      const runs: string[] = [];
      for await (const { run, chain } of readRuns(catalogue)) runs.push(`${run.id} ${run.incarnation} ${chain}`);
      expect(runs).to.deep.equal(["20261121-030002-abcde2 2 intact", "20261121-030001-abcde1 1 first"]);
    }
  });

  it("takes nothing from the former controller, whichever incarnation it says, and lets it forget nothing", async () => {
    for (const incarnation of [1, 2]) {
      await expectCode("SKEP_REPOSITORY_FENCED", () => appendRun(store, made.controllerKey, incarnation, emptyRun(3)));
      const forgetting = (): Promise<unknown> =>
        forgetRuns({ store, key: made.controllerKey, incarnation, choose: (runs) => runs });
      await expectCode("SKEP_REPOSITORY_FENCED", forgetting);
    }
    await expectCode("SKEP_REPOSITORY_FENCED", () => appendRun(store, next, 1, emptyRun(3)));
  });

  it("is not written to by the former controller while it runs, though something is put over the succession", async () => {
    const present = await readRepositoryObject(store, made.identityFile.rootPublicKey);
    await store.put(layout.repository(2), Buffer.from("not ours"));
    await expectCode("SKEP_REPOSITORY_ROLLED_BACK", () =>
      appendRun(store, made.controllerKey, 1, emptyRun(3), { known: present }),
    );
    const appender = { store, key: made.controllerKey, incarnation: 1, known: present };
    await expectCode("SKEP_REPOSITORY_ROLLED_BACK", () => forgetRuns({ ...appender, choose: () => [] }));
    const operator = await openAsOperator(store, made.identityFile, { onForeign: () => undefined });
    const { repositoryId } = made.controllerKey;
    const keys = { store, repositoryId, sealKeyOf: () => operator.writerKeys("node1").seal };
    await expectCode("SKEP_REPOSITORY_ROLLED_BACK", () =>
      compact({
        ...{ ...appender, keys, operator, terms: { graceMs: 0, sparseShare: 1, maxBytes: 1 } },
        ...{ agree: () => Promise.resolve(true), acceptGaps: true, exclusive: true },
        signal: new AbortController().signal,
      }),
    );
    // One that starts then cannot know: it backs up, and gives nothing up.
    await appendRun(store, made.controllerKey, 1, emptyRun(3));
    const forgetting = (): Promise<unknown> =>
      forgetRuns({ store, key: made.controllerKey, incarnation: 1, choose: (runs) => runs.slice(1) });
    await expectCode("SKEP_REPOSITORY_UNPROVEN", forgetting);
  });

  it("is taken over again past what whoever may put laid above its object and its chain, and no former key gains by it", async () => {
    const last = 9_999_999_999;
    const foreign = [layout.repository(3), layout.repository(last), layout.run(last)];
    for (const key of foreign) await store.put(key, Buffer.from("the end"));
    await appendRun(store, next, 2, emptyRun(2));
    const pair = generateSigningKeyPair();
    const told: string[] = [];
    const { catalogueKey } = catalogueOfController(store, made.controllerKey, []);
    const { rootPublicKey, rootPrivateKey } = made.identityFile;
    const given = {
      ...{ store, rootPublicKey, rootPrivateKey, controllerPublicKey: pair.publicKey, now: beginning, catalogueKey },
      onForeign: (_fault: unknown, key: string): unknown => told.push(key),
    };
    // A newer object may have been there, a succession say.
    await expectCode("SKEP_REPOSITORY_UNPROVEN", () => succeedController(given));
    told.length = 0;
    const object = await succeedController({ ...given, acceptForeign: true });
    expect(told).to.deep.equal([layout.repository(last), layout.repository(3)]);
    expect(object).to.include({ version: 4, incarnation: 3 });
    expect(object.formerControllerKeys.map(({ lastSequence }) => lastSequence)).to.deep.equal([1, 2]);
    const newest = { ...made.controllerKey, signingKey: pair.privateKey };
    await appendRun(store, newest, 3, emptyRun(3));
    const found = await readRepositoryObject(store, rootPublicKey, { onForeign: () => undefined });
    expect(found).to.deep.equal(object);
    // The former controller, which a fence does not reach, writes on.
    const catalogue = catalogueOfController(store, next, object.formerControllerKeys);
    const forged = { ...emptyRun(4), format: 1 as const, repositoryId: object.repositoryId, incarnation: 2 };
    const run = { ...forged, sequence: 4, previousDigest: null, upkeepSequence: null };
    expect(await putEntry(catalogue, next, { kind: "run", run })).to.be.true;
    const ofNow = catalogueOfController(store, newest, object.formerControllerKeys);
    await expectCode("SKEP_SIGNATURE_INVALID", () => readEntry(ofNow, 4));
    expect((await readRun(ofNow, "latest", { onFault: () => undefined }))?.run.sequence).to.equal(3);
  });
});
