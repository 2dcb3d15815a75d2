import { expect } from "chai";
import { catalogueOfController } from "../../../shared/repository/catalogue.ts";
import type { ControllerKey } from "../../../shared/repository/controller-key.ts";
import { createRepository, type CreatedRepository } from "../../../shared/repository/create.ts";
import { openAsOperator } from "../../../shared/repository/open/operator.ts";
import { readRepositoryObject } from "../../../shared/repository/repository-reader.ts";
import { appendRun, readRuns, type NewRun } from "../../../shared/repository/run-chain.ts";
import { generateSigningKeyPair } from "../../../shared/repository/signature.ts";
import { succeedController } from "../../../shared/repository/succession.ts";
import { forgetRuns } from "../../../shared/repository/upkeep/forget.ts";
import { openDirectory } from "../../../shared/store/directory.ts";
import type { Store } from "../../../shared/store/store.ts";
import { expectCode } from "./expect-code.ts";
import { makeScratch } from "./scratch.ts";

const now = Date.UTC(2026, 10, 21, 3);

function newRun(number: number): NewRun {
  const time = new Date(now + number * 1000).toISOString();
  return {
    ...{ id: `20261121-03000${number}-abcde${number}`, status: "done", trigger: "command", schedule: null },
    ...{ policyVersion: null, startedAt: time, endedAt: time, skepVersion: "0.1.0", clusterId: null },
    ...{ nodes: [], parts: [], notCovered: [], warnings: [] },
  };
}

describe("a repository that a recovery took over", () => {
  let scratch: ReturnType<typeof makeScratch>;
  let store: Store;
  let made: CreatedRepository;
  let next: ControllerKey;

  beforeEach(async () => {
    scratch = makeScratch();
    store = openDirectory(scratch.path);
    made = await createRepository({ store, operatorName: "anna", now });
    await appendRun(store, made.controllerKey, 1, newRun(1));
    const pair = generateSigningKeyPair();
    next = { ...made.controllerKey, signingKey: pair.privateKey };
    const { rootPublicKey, rootPrivateKey } = made.identityFile;
    const given = { store, rootPublicKey, rootPrivateKey, controllerPublicKey: pair.publicKey, now };
    expect((await succeedController(given)).incarnation).to.equal(2);
    // Done again by a recovery that was cut off: it is the same succession.
    expect((await succeedController(given)).version).to.equal(2);
  });
  afterEach(async () => {
    await store.close();
    scratch.remove();
  });

  it("takes runs of the new controller, and keeps those of the former one", async () => {
    await appendRun(store, next, 2, newRun(2));
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
      await expectCode("SKEP_REPOSITORY_FENCED", () => appendRun(store, made.controllerKey, incarnation, newRun(3)));
      const forgetting = (): Promise<unknown> =>
        forgetRuns({ store, key: made.controllerKey, incarnation, choose: (runs) => runs });
      await expectCode("SKEP_REPOSITORY_FENCED", forgetting);
    }
    await expectCode("SKEP_REPOSITORY_FENCED", () => appendRun(store, next, 1, newRun(3)));
  });
});
