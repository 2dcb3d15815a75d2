// What an agent that may only put can do to the chain of a store that keeps versions: nothing that does not come back by itself.
import { expect } from "chai";
import { z } from "zod";
import type { SkepError } from "../../../shared/errors.ts";
import { catalogueOfController, putPolicy, readPolicy, type Catalogue } from "../../../shared/repository/catalogue.ts";
import { listSequences, newestEntry, newestUpkeep, putEntry } from "../../../shared/repository/chain.ts";
import type { ControllerKey } from "../../../shared/repository/controller-key.ts";
import { createRepository, type CreatedRepository } from "../../../shared/repository/create.ts";
import { maxNamedForeign } from "../../../shared/repository/foreign.ts";
import { layout } from "../../../shared/repository/layout.ts";
import { appendRun, readRun, readRuns } from "../../../shared/repository/run-chain.ts";
import { generateSigningKeyPair } from "../../../shared/repository/signature.ts";
import { succeedController } from "../../../shared/repository/succession.ts";
import { refuseGaps, surveyChain, type RunBrief } from "../../../shared/repository/upkeep/chain-survey.ts";
import { checkRepository, type CheckResult } from "../../../shared/repository/upkeep/check.ts";
import { forgetRuns } from "../../../shared/repository/upkeep/forget.ts";
import { openDirectory } from "../../../shared/store/directory.ts";
import type { Store } from "../../../shared/store/store.ts";
import { storeOf } from "../store/held-objects.ts";
import { withVersions, type VersionedStore } from "../store/versioned.ts";
import { beginning, emptyRun } from "./empty-run.ts";
import { expectCode } from "./expect-code.ts";
import { makeScratch } from "./scratch.ts";

const garbage = Buffer.from("put by somebody who may only put");

describe("an entry of the chain that something was put over, where the store keeps versions", () => {
  let scratch: ReturnType<typeof makeScratch>;
  let versioned: VersionedStore;
  let store: Store;
  let made: CreatedRepository;
  let catalogue: Catalogue;

  beforeEach(async () => {
    scratch = makeScratch();
    versioned = withVersions(openDirectory(scratch.path));
    store = versioned.store;
    made = await createRepository({ store, operatorName: "anna", now: beginning });
    catalogue = catalogueOfController(store, made.controllerKey, []);
    for (const number of [1, 2, 3]) await appendRun(store, made.controllerKey, 1, emptyRun(number));
  });
  afterEach(async () => {
    await store.close();
    scratch.remove();
  });

  async function runsOf(of: Catalogue = catalogue): Promise<{ runs: string[]; told: string[] }> {
    const told: string[] = [];
    const onFault = ({ code }: SkepError, key: string): unknown => told.push(`${code} ${key}`);
    const runs: string[] = [];
    for await (const { run, chain } of readRuns(of, { onFault })) runs.push(`${run.sequence} ${run.id} ${chain}`);
    return { runs, told };
  }

  const forget = (key: ControllerKey, incarnation: number): Promise<RunBrief[]> =>
    forgetRuns({ store, key, incarnation, choose: (runs) => runs.slice(-1) });

  it("counts in its first version, is told, and stops neither the next run nor what gives up", async () => {
    for (const number of [2, 3]) await store.put(layout.run(number), garbage);
    const { runs, told } = await runsOf();
    expect(runs).to.deep.equal([
      "3 20261121-030003-abcde3 intact",
      "2 20261121-030002-abcde2 intact",
      "1 20261121-030001-abcde1 first",
    ]);
    expect(told).to.deep.equal([`SKEP_SEALED_INVALID ${layout.run(3)}`, `SKEP_SEALED_INVALID ${layout.run(2)}`]);
    await expectCode("SKEP_SEALED_INVALID", () => readRun(catalogue, "latest"));
    expect((await forget(made.controllerKey, 1)).map(({ sequence }) => sequence)).to.deep.equal([1]);
    // The upkeep entry that the next run names, too.
    await store.put(layout.run(4), garbage);
    expect((await newestUpkeep(catalogue))?.forgottenRuns.map(({ sequence }) => sequence)).to.deep.equal([1]);
    const next = await appendRun(store, made.controllerKey, 1, emptyRun(5));
    expect(next).to.include({ sequence: 5, upkeepSequence: 4 });
    expect((await runsOf()).runs.map((line) => line.split(" ").at(-1))).to.deep.equal(["intact", "intact", "intact"]);
  });

  it("still counts when a recovery takes the repository over, as the last of the former controller", async () => {
    await store.put(layout.run(3), garbage);
    const pair = generateSigningKeyPair();
    const { rootPublicKey, rootPrivateKey } = made.identityFile;
    const { catalogueKey } = catalogue;
    const { formerControllerKeys } = await succeedController({
      ...{ store, rootPublicKey, rootPrivateKey, controllerPublicKey: pair.publicKey, now: beginning, catalogueKey },
      onForeign: () => undefined,
    });
    expect(formerControllerKeys.map(({ lastSequence }) => lastSequence)).to.deep.equal([3]);
    const key = { ...made.controllerKey, signingKey: pair.privateKey };
    await appendRun(store, key, 2, emptyRun(4));
    const { runs, told } = await runsOf(catalogueOfController(store, key, formerControllerKeys));
    expect(runs.map((line) => line.split(" ").at(-1))).to.deep.equal(["intact", "intact", "intact", "first"]);
    expect(told).to.deep.equal([`SKEP_SEALED_INVALID ${layout.run(3)}`]);
    expect(await forget(key, 2)).to.have.length(1);
  });

  it("is lost once its first version is: then nothing is given up, as where no versions are kept", async () => {
    await store.put(layout.run(3), garbage);
    versioned.expire(layout.run(3));
    expect((await runsOf()).runs.map((line) => line[0])).to.deep.equal(["2", "1"]);
    await expectCode("SKEP_UPKEEP_UNSAFE", () => forget(made.controllerKey, 1));
  });

  it("is not believed for what was put first under a number that no entry had", async () => {
    await store.put(layout.run(4), garbage);
    await store.put(layout.run(4), Buffer.from("and again"));
    const { runs, told } = await runsOf();
    expect([runs.length, ...told]).to.deep.equal([3, `SKEP_SEALED_INVALID ${layout.run(4)}`]);
    expect((await appendRun(store, made.controllerKey, 1, emptyRun(5))).sequence).to.equal(5);
  });

  it("costs one list of versions for a thousand numbers, whatever is foreign there; so many are named, the others counted", async () => {
    const more = 7;
    await store.put(layout.run(3), garbage);
    for (let number = 0; number < maxNamedForeign + more; number++) await store.put(layout.run(5000 + number), garbage);
    const listedBefore = versioned.lists();
    const survey = await surveyChain(catalogue);
    expect(versioned.lists() - listedBefore).to.equal(2);
    expect([survey.newest, survey.foreignAbove]).to.deep.equal([3, 5000]);
    expect([[...survey.foreign].length, survey.foreign.leftOut]).to.deep.equal([maxNamedForeign, more]);
    expect(Array.from(survey.covers, ({ key }) => key)).to.deep.equal([layout.run(3)]);
    refuseGaps(survey, store.address); // far above
    const { findings, findingsLeftOut, newest } = await check();
    expect([findings.length, findingsLeftOut, newest?.sequence]).to.deep.equal([maxNamedForeign + 1, more, 3]);
    expect(findings[0]).to.include({ key: layout.run(3), level: "error" });
    expect(findings[0]?.message).to.contain("what was written there first counts");
  });

  it("stops nobody where it says that it is of a newer format: nobody signed that", async () => {
    const entry = Buffer.from((await store.get(layout.run(3), 1e6)) ?? []);
    const newer = { format: Buffer.from(entry), flag: Buffer.from(entry) };
    newer.format.writeUInt8(2, 4);
    newer.flag.writeUInt8(1, 6);
    await putPolicy(catalogue, { a: 1 });
    await store.put(layout.run(3), newer.format);
    await store.put(layout.run(4), newer.flag);
    await store.put(layout.policy(2), newer.format);
    const { runs, told } = await runsOf();
    expect(runs.map((line) => line[0])).to.deep.equal(["3", "2", "1"]);
    expect(told).to.deep.equal([4, 3].map((number) => `SKEP_REPOSITORY_FORMAT_NEWER ${layout.run(number)}`));
    const faults: string[] = [];
    const policy = await readPolicy(catalogue, z.strictObject({ a: z.literal(1) }), {
      onFault: ({ code }, key) => faults.push(`${code} ${key}`),
    });
    expect(policy).to.deep.equal({ version: 1, content: { a: 1 } });
    expect(faults).to.deep.equal([`SKEP_REPOSITORY_FORMAT_NEWER ${layout.policy(2)}`]);
    expect((await appendRun(store, made.controllerKey, 1, emptyRun(5))).sequence).to.equal(5);
  });

  it("is looked for without a list of all that lies under runs/", async () => {
    const held = withVersions(storeOf(new Map()));
    const keys = await createRepository({ store: held.store, operatorName: "anna", now: beginning });
    const of = catalogueOfController(held.store, keys.controllerKey, []);
    for (let number = 1; number < 3000; number++) await held.store.put(layout.run(number), garbage);
    const run = { ...emptyRun(1), format: 1, repositoryId: of.repositoryId, incarnation: 1 } as const;
    const entry = { ...run, sequence: 3000, previousDigest: null, upkeepSequence: null };
    await putEntry(of, keys.controllerKey, { kind: "run", run: entry });
    for (const number of [3000, 3001]) await held.store.put(layout.run(number), garbage);
    const newest = await newestEntry(of, await listSequences(held.store));
    expect(newest?.sequence).to.equal(3000);
    expect([held.lists(), held.listed()]).to.deep.equal([1, 3]);
  });

  async function check(): Promise<CheckResult> {
    const { repositoryId } = made.controllerKey;
    const sealKeyOf = (): never => {
      throw new Error("there is no volume");
    };
    return await checkRepository({
      ...{ catalogue, keys: { store, repositoryId, sealKeyOf }, keyObjects: [], content: null },
      signal: new AbortController().signal,
    });
  }
});
