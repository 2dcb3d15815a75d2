// What somebody can do who has one node's writer key and may write to the store: to its own snapshots, and to none else.
import { expect } from "chai";
import { randomBytes } from "node:crypto";
import { truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { SkepError } from "../../../../shared/errors.ts";
import { generateAgeIdentity } from "../../../../shared/repository/age.ts";
import { readEntry } from "../../../../shared/repository/chain.ts";
import { ChunkCache } from "../../../../shared/repository/chunk-cache.ts";
import { checkCache } from "../../../../shared/repository/cache-check.ts";
import { getIndex, putIndex } from "../../../../shared/repository/index-object.ts";
import { layout, newRunId, objectIdPattern } from "../../../../shared/repository/layout.ts";
import { changeKeys } from "../../../../shared/repository/open/key-change.ts";
import { openAsOperator } from "../../../../shared/repository/open/operator.ts";
import { encodeRepositoryObject } from "../../../../shared/repository/repository-object.ts";
import { readRepositoryObject } from "../../../../shared/repository/repository-reader.ts";
import { seal } from "../../../../shared/repository/sealed.ts";
import { generateSigningKeyPair, signPayload } from "../../../../shared/repository/signature.ts";
import { readRun } from "../../../../shared/repository/run-chain.ts";
import type { RunBrief } from "../../../../shared/repository/upkeep/chain-survey.ts";
import { forgetRuns } from "../../../../shared/repository/upkeep/forget.ts";
import { prune } from "../../../../shared/repository/upkeep/prune.ts";
import { openRefs } from "../../../../shared/repository/upkeep/refs-lines.ts";
import type { Run } from "../../../../shared/repository/run.ts";
import { expectCode } from "../expect-code.ts";
import { makePlace, type Place } from "../snapshots.ts";
import { checkAll } from "./check-all.ts";
import {
  appenderOf,
  backUpRun,
  catalogueOf,
  commit,
  keysOf,
  keysUnder,
  makeNode,
  pruneOptions,
  restored,
  runsOf,
  takeSnapshot,
  writerKeysOf,
  type Node,
} from "./repository-of-runs.ts";

const { signal } = new AbortController();

describe("one node's keys in a thief's hands", () => {
  let place: Place;
  let victim: Node;
  let thief: Node;
  let run: Run;
  const content = randomBytes(100_000);

  before(async () => {
    place = await makePlace();
    victim = makeNode(place, "node1");
    thief = makeNode(place, "node2");
    writeFileSync(join(victim.source, "secret"), content);
    writeFileSync(join(thief.source, "other"), randomBytes(1000));
    run = await backUpRun(place, victim, thief);
  });
  after(async () => {
    await place.remove();
  });

  const partOf = (node: Node): Run["parts"][number] => {
    const part = run.parts.find(({ kind, nodeId }) => kind === "volume" && nodeId === node.id);
    if (part === undefined) throw new Error(`nothing of ${node.id}`);
    return part;
  };
  const indexPlace = (node: Node, keysOfNode: Node) => ({
    store: place.store,
    repositoryId: place.made.repositoryObject.repositoryId,
    writerId: node.id,
    sealKey: writerKeysOf(place, keysOfNode.id).seal,
  });

  it("read no other node's index and refs", async () => {
    const [key = ""] = await keysUnder(place.store, layout.indexPrefix(victim.id));
    const object = key.slice(layout.indexPrefix(victim.id).length);
    await expectCode("SKEP_SEALED_INVALID", () => getIndex(indexPlace(victim, thief), object, signal));
    const keys = { ...keysOf(place), sealKeyOf: () => writerKeysOf(place, thief.id).seal };
    const { refs } = partOf(victim);
    if (refs === undefined) throw new Error("no refs");
    await expectCode("SKEP_SEALED_INVALID", () => openRefs(keys, { runId: run.id, writerId: victim.id, refs }));
  });

  it("shadow none of its chunks: an index in its name counts for nothing", async () => {
    const [known] = (await getIndex(
      indexPlace(thief, thief),
      (await keysUnder(place.store, layout.indexPrefix(thief.id)))
        .map((key) => key.slice(-32))
        .find((id) => objectIdPattern.test(id)) ?? "",
      signal,
    )) ?? [null];
    if (known == null) throw new Error("no index");
    const { object } = await putIndex(indexPlace(victim, thief), 1, [known], signal);
    const { repositoryId } = place.made.repositoryObject;
    const cache = ChunkCache.open(victim.cachePath, { repositoryId, writerId: victim.id, incarnation: 1 });
    const warnings = await checkCache(cache, indexPlace(victim, victim), "another", signal);
    expect(cache.packs().map(({ pack }) => pack)).to.not.include(known.pack);
    cache.close();
    expect(warnings.map(({ code }) => code)).to.deep.equal(["SKEP_INDEX_UNREADABLE"]);
    await place.store.delete([layout.index(victim.id, object)]);
  });

  it("pass none of its own snapshots off as another's, and no other's as its own", async () => {
    const runId = newRunId(Date.now() + 60_000);
    const ofThief = await takeSnapshot(place, thief, runId);
    const forged = await commit(place, runId, [{ node: victim, result: ofThief }]);
    const part = forged.parts.find(({ kind }) => kind === "volume");
    expect(part).to.include({ status: "failed" });
    expect(part?.error?.code).to.equal("SKEP_RUN_OBJECT_MISSING");
    expect(part?.refs).to.be.undefined;
    const later = newRunId(Date.now() + 120_000);
    const { manifest, refs, totals } = partOf(victim);
    if (manifest === undefined || refs === undefined || totals === undefined) throw new Error("not taken");
    const stolen = { manifest, refs, totals, warnings: [], warningsLeftOut: 0, complete: true };
    const claimed = await commit(place, later, [{ node: thief, result: stolen }]);
    expect(claimed.parts.find(({ kind }) => kind === "volume")).to.include({ status: "failed" });
    expect((await restored(place, run, victim)).get("secret")?.equals(content)).to.be.true;
  });

  it("write no run and no upkeep entry, so that nothing of others is given up", async () => {
    const { repositoryId } = place.made.repositoryObject;
    const forger = generateSigningKeyPair();
    const newest = (await keysUnder(place.store, "runs/")).length;
    const upkeep = {
      ...{ format: 1, repositoryId, incarnation: 1, sequence: newest + 1, previousDigest: null, skepVersion: "0" },
      ...{ writtenAt: new Date().toISOString(), forgotten: [], forgottenRuns: [], fencedBefore: null, retired: [] },
      doomed: [{ writerId: victim.id, since: new Date().toISOString(), packs: ["ab".repeat(32)] }],
    };
    const signed = signPayload("skep/v1 upkeep", JSON.stringify(upkeep), forger.privateKey);
    const header = { type: "upkeep" as const, repositoryId, epoch: 0, writerId: "" };
    const key = layout.run(newest + 1);
    const plain = Buffer.from(JSON.stringify(signed));
    await place.store.put(key, seal(plain, header, writerKeysOf(place, thief.id).seal));
    await expectCode("SKEP_SEALED_INVALID", () => readEntry(catalogueOf(place), newest + 1));
    // Even with the catalogue key, which no agent has, the signature is missing.
    await place.store.put(key, seal(plain, header, catalogueOf(place).catalogueKey));
    await expectCode("SKEP_SIGNATURE_INVALID", () => readEntry(catalogueOf(place), newest + 1));
    await expectCode("SKEP_UPKEEP_UNSAFE", () => prune(pruneOptions(place)));
    await place.store.delete([key]);
  });

  it("end the chain by no object under its highest number", async () => {
    await place.store.put(layout.run(9_999_999_999), Buffer.from("the end"));
    const next = await backUpRun(place, victim);
    const faults: string[] = [];
    const found = await readRun(catalogueOf(place), "latest", { onFault: (_, key) => faults.push(key) });
    expect(found?.run).to.include({ id: next.id, sequence: next.sequence });
    expect(faults).to.deep.equal([layout.run(9_999_999_999)]);
    await place.store.delete([layout.run(9_999_999_999)]);
  });

  it("stop nothing by an object under runs/ that is larger than any is read", async () => {
    const key = layout.run(9_999_999_998);
    await place.store.put(key, Buffer.from("large"));
    truncateSync(join(place.storePath, key), 65 * 1024 * 1024); // past what a store takes from us: another client put it
    const next = await backUpRun(place, victim);
    const faults: string[] = [];
    const onFault = ({ code }: SkepError, at: string): unknown => faults.push(`${code} ${at}`);
    expect((await readRun(catalogueOf(place), "latest", { onFault }))?.run.id).to.equal(next.id);
    expect(faults).to.deep.equal([`SKEP_STORE_TOO_LARGE ${key}`]);
    const { findings } = await checkAll(place);
    expect(findings.map(({ level, code, key: at }) => [level, code, at])).to.deep.equal([
      ["error", "SKEP_STORE_TOO_LARGE", key],
    ]);
    await place.store.delete([key]);
  });

  it("bring back no run that was forgotten", async () => {
    const next = await backUpRun(place, victim, thief);
    const old = await place.store.get(layout.run(1), 1e6);
    await forgetRuns({ ...appenderOf(place), choose: (all) => all.filter(({ id }) => id === run.id) });
    if (old !== null) await place.store.put(layout.run(1), old);
    const ids = (await runsOf(place)).map(({ id }) => id);
    expect(ids[0]).to.equal(next.id);
    expect(ids).to.not.include(run.id);
    if (old !== null) await place.store.put(layout.run(50), old);
    await expectCode("SKEP_RUN_INVALID", () => readEntry(catalogueOf(place), 50));
    await place.store.delete([layout.run(50), layout.run(1)]);
  });

  it("put no repository object in the place of the right one, with other recipients or another's", async () => {
    const { rootPublicKey } = place.made.identityFile;
    const { recipient } = await generateAgeIdentity();
    const object = { ...place.made.repositoryObject, version: 2, epoch: { number: 1, recipient } };
    const forger = generateSigningKeyPair();
    await place.store.put(layout.repository(2), encodeRepositoryObject(object, forger.privateKey));
    await expectCode("SKEP_SIGNATURE_INVALID", () => readRepositoryObject(place.store, rootPublicKey));
    const right = await place.store.get(layout.repository(1), 1e6);
    const text = Buffer.from(right ?? new Uint8Array(0)).toString("utf8");
    const swapped = text.replace(place.made.repositoryObject.epoch.recipient, recipient);
    expect(swapped).to.not.equal(text);
    await place.store.put(layout.repository(2), Buffer.from(swapped));
    await expectCode("SKEP_SIGNATURE_INVALID", () => readRepositoryObject(place.store, rootPublicKey));
    const told: string[] = [];
    const onForeign = ({ code }: SkepError, key: string): unknown => told.push(`${code} ${key}`);
    const counts = await readRepositoryObject(place.store, rootPublicKey, { onForeign });
    expect(counts).to.deep.equal(place.made.repositoryObject);
    expect(told).to.deep.equal([`SKEP_SIGNATURE_INVALID ${layout.repository(2)}`]);
    await place.store.delete([layout.repository(2)]);
  });

  it("stop no run by what lies under the next or the last number of all; what gives up or changes keys asks about the next", async () => {
    const last = 9_999_999_999;
    const foreign = [1, last - 1].flatMap((above) => [
      ...[layout.repository(1 + above), layout.policy(above), layout.kitList(above)],
      ...[layout.agent(victim.id, above), layout.agent(thief.id, above)],
    ]);
    for (const key of [...foreign, layout.run(last)]) await place.store.put(key, randomBytes(100));
    const next = await backUpRun(place, victim, thief);
    const forgetting = { ...appenderOf(place), choose: (all: readonly RunBrief[]) => all.slice(-1) };
    await expectCode("SKEP_REPOSITORY_UNPROVEN", () => forgetRuns(forgetting));
    await expectCode("SKEP_REPOSITORY_UNPROVEN", () => prune(pruneOptions(place)));
    expect(await forgetRuns({ ...forgetting, acceptGaps: true })).to.have.length(1);
    await prune({ ...pruneOptions(place), acceptGaps: true });
    const operator = await openAsOperator(place.store, place.made.identityFile, { onForeign: () => undefined });
    const { recipients } = operator.repositoryObject;
    const change = { recipients, newEpoch: true, controller: null, rootPrivateKey: null };
    const { rootPrivateKey } = place.made.identityFile;
    await expectCode("SKEP_REPOSITORY_UNPROVEN", () => changeKeys(place.store, operator, rootPrivateKey, change));
    const after = await changeKeys(place.store, operator, rootPrivateKey, { ...change, acceptForeign: true });
    expect(after.version).to.equal(3);
    await place.store.delete([...foreign, layout.run(last), layout.repository(3)]);
    expect((await restored(place, next, victim)).get("secret")?.equals(content)).to.be.true;
  });
});
