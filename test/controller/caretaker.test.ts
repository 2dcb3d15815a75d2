import { expect } from "chai";
import { randomBytes } from "node:crypto";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { Caretaker } from "../../controller/caretaker.ts";
import type { FlowView } from "../../controller/flow.ts";
import { policySchema, type Policy } from "../../controller/policy.ts";
import { Repository } from "../../controller/repository.ts";
import { RunBook } from "../../controller/run-book.ts";
import { runKind } from "../../controller/runs.ts";
import { SkepError } from "../../shared/errors.ts";
import { makeLogger } from "../../shared/log.ts";
import { forgetRuns } from "../../shared/repository/upkeep/forget.ts";
import { withVersions } from "../shared/store/versioned.ts";
import { makePlace, type Place } from "../shared/repository/snapshots.ts";
import { appenderOf, backUpRun, keysUnder, makeNode, runsOf } from "../shared/repository/upkeep/repository-of-runs.ts";

const { signal } = new AbortController();

describe("the caretaker", () => {
  let place: Place;
  let repository: Repository;
  let book: RunBook;
  let flows: FlowView[];
  let caretaker: Caretaker;
  let retention: Policy["retention"];
  let policies: ConstructorParameters<typeof Caretaker>[0]["policies"];
  const ids: string[] = [];

  before(async () => {
    place = await makePlace();
    const node = makeNode(place, "node1");
    for (let number = 0; number < 4; number++) {
      writeFileSync(join(node.source, "a"), randomBytes(1000));
      ids.unshift((await backUpRun(place, node)).id);
    }
    const log = makeLogger("test", "fatal");
    repository = await Repository.open(place.store, place.made.controllerKey);
    repository.abilities = await place.store.probe();
    book = new RunBook(repository, log);
    await book.load();
    const policy = policySchema.parse({ version: 1, retention: { last: 2 } });
    ({ retention } = policy);
    policies = { inForce: { version: 1, createdAt: new Date().toISOString(), policy }, doubt: null };
    const queue = { openFlows: () => Promise.resolve(flows) };
    caretaker = new Caretaker({ repository, policies, book, queue, log });
  });
  after(async () => {
    await place.remove();
  });

  it("does nothing while a run is under way", async () => {
    flows = [{ kind: runKind } as FlowView];
    const before = await keysUnder(place.store, "");
    await caretaker.look(signal);
    expect(await keysUnder(place.store, "")).to.deep.equal(before);
  });

  it("gives nothing up under a policy above which a newer one may have been put over", async () => {
    flows = [];
    policies.doubt = new SkepError({ code: "SKEP_POLICY_UNPROVEN", message: "policy/2", permanent: true });
    const before = await keysUnder(place.store, "");
    await caretaker.look(signal);
    policies.doubt = null;
    expect(await keysUnder(place.store, "")).to.deep.equal(before);
  });

  it("forgets by the policy and prunes, once a day, and the book follows", async () => {
    await caretaker.look(signal);
    expect((await runsOf(place)).map(({ id }) => id)).to.deep.equal(ids.slice(0, 2));
    expect(book.summaries.map(({ id }) => id)).to.deep.equal(ids.slice(0, 2));
    const entries = await keysUnder(place.store, "runs/");
    await caretaker.look(signal);
    expect(await keysUnder(place.store, "runs/")).to.deep.equal(entries);
  });

  it("follows what an operator forgets beside it", async () => {
    const node = makeNode(place, "node1");
    const run = await backUpRun(place, node);
    await book.load();
    await forgetRuns({ ...appenderOf(place), choose: (runs) => runs.filter(({ id }) => id === ids[1]) });
    await caretaker.look(signal);
    expect(book.summaries.map(({ id }) => id)).to.deep.equal([run.id, ids[0]]);
  });

  it("says that the newest run that it knows of is gone, and gives nothing up then", async () => {
    await backUpRun(place, makeNode(place, "node1"));
    const [key = ""] = (await keysUnder(place.store, "runs/")).reverse();
    const bytes = (await place.store.get(key, 1 << 26)) ?? new Uint8Array();
    await caretaker.look(signal);
    await place.store.delete([key]);
    await caretaker.look(signal);
    expect(book.faults.get(key)?.code).to.equal("SKEP_RUNS_CUT_OFF");
    // Neither another one in its place, nor one that follows that, is it.
    for (let later = 0; later < 2; later++) {
      await backUpRun(place, makeNode(place, "node1"));
      await caretaker.look(signal);
      expect(book.isCutOff).to.be.true;
    }
    const [second = "", first] = (await keysUnder(place.store, "runs/")).reverse();
    expect(first).to.equal(key);
    await place.store.delete([second]);
    await place.store.put(key, bytes);
    await caretaker.look(signal);
    expect([book.isCutOff, book.faults.size]).to.deep.equal([false, 0]);
  });

  it("goes on with locks where the newest run is gone", async () => {
    const [key = ""] = (await keysUnder(place.store, "runs/")).reverse();
    const bytes = (await place.store.get(key, 1 << 26)) ?? new Uint8Array();
    await place.store.delete([key]);
    retention.lockDays = 8;
    await caretaker.look(signal);
    delete retention.lockDays;
    expect(book.isCutOff).to.be.true;
    // A folder has no locks: that this was found is what is recorded.
    expect(book.protection?.fault?.code).to.equal("SKEP_STORE_NO_LOCK");
    await place.store.put(key, bytes);
    await caretaker.look(signal);
    expect(book.isCutOff).to.be.false;
  });

  it("knows its newest run by its first version where something was put over it, tells of that once, and goes on", async () => {
    const { store } = withVersions(place.store);
    const run = await backUpRun({ ...place, store }, makeNode(place, "node1"));
    const versioned = new RunBook(await Repository.open(store, place.made.controllerKey), makeLogger("test", "fatal"));
    await versioned.load();
    const key = (await keysUnder(store, "runs/")).at(-1) ?? "";
    await store.put(key, Buffer.from("not ours"));
    for (let looks = 0; looks < 2; looks++) {
      await versioned.look();
      expect(versioned.isCutOff).to.be.false;
      expect(Array.from(versioned.foreign, (foreign) => foreign.key)).to.deep.equal([key]);
    }
    await versioned.load();
    expect(versioned.summaries[0]?.id).to.equal(run.id);
    await place.store.delete([key]);
  });

  it("leaves a store alone whose creations do not exclude each other", async () => {
    if (repository.abilities !== null) repository.abilities = { ...repository.abilities, conditionalWrites: false };
    const before = await keysUnder(place.store, "");
    await caretaker.look(signal);
    expect(await keysUnder(place.store, "")).to.deep.equal(before);
  });
});
