import { expect } from "chai";
import { cp, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import {
  catalogueOfController,
  putEnrolment,
  putPolicy,
  readEnrolment,
  readEnrolments,
  readPolicy,
  readPolicyVersion,
  type Catalogue,
} from "../../../shared/repository/catalogue.ts";
import { createRepository, type CreatedRepository } from "../../../shared/repository/create.ts";
import { decodeIdentityFile, encodeIdentityFile } from "../../../shared/repository/identity-file.ts";
import { encodeRepositoryObject } from "../../../shared/repository/repository-object.ts";
import { layout } from "../../../shared/repository/layout.ts";
import { openAsOperator } from "../../../shared/repository/open/operator.ts";
import { readRepositoryObject } from "../../../shared/repository/repository-reader.ts";
import { appendRun, readRun, readRuns, type NewRun, type ReadRun } from "../../../shared/repository/run-chain.ts";
import { openDirectory } from "../../../shared/store/directory.ts";
import type { Store } from "../../../shared/store/store.ts";
import type { SkepError } from "../../../shared/errors.ts";
import { expectCode } from "./expect-code.ts";
import { makeScratch } from "./scratch.ts";

const now = Date.UTC(2026, 10, 21, 3);

function newRun(number: number): NewRun {
  const time = new Date(now + number * 1000).toISOString();
  return {
    id: `20261121-03000${number % 10}-abcde${number % 10}`,
    status: "done",
    trigger: "command",
    schedule: null,
    policyVersion: null,
    startedAt: time,
    endedAt: time,
    skepVersion: "0.1.0",
    clusterId: null,
    nodes: [],
    parts: [],
    notCovered: [],
    warnings: [],
  };
}

async function collect(catalogue: Catalogue, onFault?: (fault: unknown, key: string) => void): Promise<ReadRun[]> {
  const runs: ReadRun[] = [];
  for await (const run of readRuns(catalogue, { ...(onFault && { onFault }) })) runs.push(run);
  return runs;
}

describe("a repository", () => {
  let scratch: ReturnType<typeof makeScratch>;
  let store: Store;
  let made: CreatedRepository;
  let catalogue: Catalogue;

  beforeEach(async () => {
    scratch = makeScratch();
    store = openDirectory(scratch.path);
    made = await createRepository({ store, operatorName: "anna", now });
    catalogue = catalogueOfController(store, made.controllerKey, []);
  });
  afterEach(async () => {
    await store.close();
    scratch.remove();
  });

  it("opens with the identity file that it was made with, as text", async () => {
    const identityFile = decodeIdentityFile(encodeIdentityFile(made.identityFile), "identity");
    const operator = await openAsOperator(store, identityFile);
    expect(operator.repositoryObject).to.deep.equal(made.repositoryObject);
    expect(Buffer.from(operator.repositoryKey).toString("base64")).to.equal(made.controllerKey.repositoryKey);
    expect(await operator.epochIdentity(1)).to.match(/^AGE-SECRET-KEY-1/);
  });

  it("is not made twice at one place", async () => {
    await expectCode("SKEP_REPOSITORY_EXISTS", () => createRepository({ store, operatorName: "eve", now }));
    expect((await readRepositoryObject(store, made.identityFile.rootPublicKey)).recipients[0]?.name).to.equal("anna");
  });

  it("refuses another repository's identity, and a key object that was swapped", async () => {
    const otherScratch = makeScratch();
    try {
      const other = openDirectory(otherScratch.path);
      const foreign = await createRepository({ store: other, operatorName: "eve", now });
      await expectCode("SKEP_IDENTITY_DOES_NOT_FIT", () => openAsOperator(store, foreign.identityFile));
      const stolen = { ...foreign.identityFile, rootPublicKey: made.identityFile.rootPublicKey };
      await expectCode("SKEP_IDENTITY_DOES_NOT_FIT", () =>
        openAsOperator(store, { ...stolen, repositoryId: made.identityFile.repositoryId }),
      );
      const key = layout.repositoryKey(1);
      await cp(join(otherScratch.path, key), join(scratch.path, key));
      await expectCode("SKEP_IDENTITY_DOES_NOT_FIT", () => openAsOperator(store, made.identityFile));
      await rm(join(scratch.path, key));
      await expectCode("SKEP_KEY_MISSING", () => openAsOperator(store, made.identityFile));
      await other.close();
    } finally {
      otherScratch.remove();
    }
  });

  it("notices a rolled back or foreign repository object", async () => {
    const { rootPublicKey, rootPrivateKey } = made.identityFile;
    const second = { ...made.repositoryObject, version: 2, incarnation: 2 };
    await store.put(layout.repository(2), encodeRepositoryObject(second, rootPrivateKey));
    expect((await readRepositoryObject(store, rootPublicKey)).version).to.equal(2);
    await store.delete([layout.repository(2)]);
    await expectCode("SKEP_REPOSITORY_ROLLED_BACK", () =>
      readRepositoryObject(store, rootPublicKey, { minVersion: 2 }),
    );
    await store.put(layout.repository(3), Buffer.from("{}"));
    await expectCode("SKEP_REPOSITORY_INVALID", () => readRepositoryObject(store, rootPublicKey));
    const faults: string[] = [];
    const read = await readRepositoryObject(store, rootPublicKey, { onForeign: (_, key) => faults.push(key) });
    expect([read.version, ...faults]).to.deep.equal([1, layout.repository(3)]);
  });

  it("keeps versions of the policy and of each enrolment, and refuses one copied to another key", async () => {
    const schema = z.strictObject({ text: z.string() });
    expect(await readPolicy(catalogue, schema)).to.be.null;
    expect(await putPolicy(catalogue, { text: "one" })).to.equal(1);
    expect(await putPolicy(catalogue, { text: "two" })).to.equal(2);
    expect(await readPolicy(catalogue, schema)).to.deep.equal({ version: 2, content: { text: "two" } });
    expect(await readPolicyVersion(catalogue, schema, 1)).to.deep.equal({ version: 1, content: { text: "one" } });
    await cp(join(scratch.path, layout.policy(1)), join(scratch.path, layout.policy(3)));
    await expectCode("SKEP_DOCUMENT_INVALID", () => readPolicy(catalogue, schema));
    await putEnrolment(catalogue, "node1", { text: "a" });
    await putEnrolment(catalogue, "node1", { text: "b" });
    await putEnrolment(catalogue, "node2", { text: "c" });
    expect((await readEnrolment(catalogue, "node1", schema))?.content.text).to.equal("b");
    expect([...(await readEnrolments(catalogue, schema)).keys()]).to.deep.equal(["node1", "node2"]);
  });

  it("takes what opens beside what somebody else put into a row, also under its last number, and goes on above it", async () => {
    const schema = z.strictObject({ text: z.string() });
    await putPolicy(catalogue, { text: "one" });
    await putEnrolment(catalogue, "node1", { text: "a" });
    await putEnrolment(catalogue, "node2", { text: "b" });
    const last = 9_999_999_999;
    const foreign = [layout.policy(2), layout.policy(last), layout.agent("node1", last), layout.agent("node3", 1)];
    for (const key of foreign) await store.put(key, Buffer.from("not ours"));
    await cp(join(scratch.path, layout.policy(1)), join(scratch.path, layout.policy(4)));
    const told: string[] = [];
    const onFault = ({ code }: SkepError, key: string): unknown => told.push(`${code} ${key}`);
    expect((await readPolicy(catalogue, schema, { onFault }))?.content.text).to.equal("one");
    expect(told.splice(0)).to.deep.equal([
      `SKEP_SEALED_INVALID ${layout.policy(last)}`,
      `SKEP_DOCUMENT_INVALID ${layout.policy(4)}`,
      `SKEP_SEALED_INVALID ${layout.policy(2)}`,
    ]);
    expect([...(await readEnrolments(catalogue, schema, { onFault }))]).to.deep.equal([
      ["node1", { version: 1, content: { text: "a" } }],
      ["node2", { version: 1, content: { text: "b" } }],
    ]);
    expect(told).to.have.members([
      `SKEP_SEALED_INVALID ${layout.agent("node1", last)}`,
      `SKEP_SEALED_INVALID ${layout.agent("node3", 1)}`,
    ]);
    await expectCode("SKEP_SEALED_INVALID", () => readPolicy(catalogue, schema));
    expect(await putPolicy(catalogue, { text: "two" })).to.equal(3);
    expect(await readPolicy(catalogue, schema, { onFault })).to.deep.equal({ version: 3, content: { text: "two" } });
    expect(await putEnrolment(catalogue, "node1", { text: "c" })).to.equal(2);
    expect((await readEnrolment(catalogue, "node1", schema, { onFault }))?.content.text).to.equal("c");
  });

  it("does not take a document of its own of another shape for somebody else's", async () => {
    await putPolicy(catalogue, { text: "one" });
    await putPolicy(catalogue, { words: "of a later Skep" });
    const schema = z.strictObject({ text: z.string() });
    await expectCode("SKEP_DOCUMENT_INVALID", () => readPolicy(catalogue, schema, { onFault: () => undefined }));
  });

  it("chains its runs, newest first, also when writers race", async () => {
    await Promise.all([1, 2, 3, 4].map((number) => appendRun(store, made.controllerKey, 1, newRun(number))));
    const runs = await collect(catalogue);
    expect(runs.map(({ run, chain }) => [run.sequence, chain])).to.deep.equal([
      [4, "intact"],
      [3, "intact"],
      [2, "intact"],
      [1, "first"],
    ]);
    expect((await readRun(catalogue, "latest"))?.run.sequence).to.equal(4);
    expect((await readRun(catalogue, runs[2]?.run.id ?? ""))?.run.sequence).to.equal(2);
    expect(await readRun(catalogue, "20200101-000000-aaaaaa")).to.be.null;
  });

  it("takes a run once, though its writer did not hear that it was written", async () => {
    const first = await appendRun(store, made.controllerKey, 1, newRun(1));
    expect(await appendRun(store, made.controllerKey, 1, newRun(1))).to.deep.equal(first);
    expect((await collect(catalogue)).map(({ run }) => run.sequence)).to.deep.equal([1]);
  });

  it("shows a run that was removed, replayed or put there by somebody else", async () => {
    for (const number of [1, 2, 3]) await appendRun(store, made.controllerKey, 1, newRun(number));
    const first = await store.get(layout.run(1), 1e6);
    await store.delete([layout.run(2)]);
    expect((await collect(catalogue)).map(({ chain }) => chain)).to.deep.equal(["broken", "first"]);
    await store.put(layout.run(4), first ?? Buffer.alloc(0));
    await expectCode("SKEP_RUN_INVALID", () => collect(catalogue));
    await store.put(layout.run(5), Buffer.from("garbage"));
    const faults: string[] = [];
    expect((await collect(catalogue, (_, key) => faults.push(key))).length).to.equal(2);
    expect(faults).to.deep.equal([layout.run(5), layout.run(4)]);
    // What others put there takes no part: the next run follows the last one that counts.
    const next = await appendRun(store, made.controllerKey, 1, newRun(6));
    expect(next.sequence).to.equal(6);
    expect((await collect(catalogue, () => undefined))[0]?.chain).to.equal("intact");
  });

  it("takes no run from a controller of another incarnation or with another key", async () => {
    await expectCode("SKEP_REPOSITORY_FENCED", () => appendRun(store, made.controllerKey, 2, newRun(1)));
    const { rootPrivateKey } = made.identityFile;
    const taken = { ...made.repositoryObject, version: 2, controllerPublicKey: made.identityFile.rootPublicKey };
    await store.put(layout.repository(2), encodeRepositoryObject(taken, rootPrivateKey));
    await expectCode("SKEP_REPOSITORY_FENCED", () => appendRun(store, made.controllerKey, 1, newRun(1)));
  });

  it("leaves no half-made repository behind that would stop the next attempt", async () => {
    await rm(join(scratch.path, layout.repository(1)));
    const again = await createRepository({ store, operatorName: "anna", now });
    expect(again.repositoryObject.repositoryKeyVersion).to.equal(2);
    await openAsOperator(store, again.identityFile);
    await writeFile(join(scratch.path, "note.txt"), "a foreign file does no harm");
  });
});
