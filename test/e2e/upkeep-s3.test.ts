// Forget, prune and check on a real S3 server: beside agents that may create objects and nothing more, and where objects are
// locked.
import {
  CopyObjectCommand,
  DeleteObjectCommand,
  GetObjectCommand,
  ListObjectVersionsCommand,
  PutObjectLockConfigurationCommand,
} from "@aws-sdk/client-s3";
import { expect } from "chai";
import { randomBytes } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { newestUpkeep } from "../../shared/repository/chain.ts";
import { digest } from "../../shared/repository/blake3.ts";
import { createRepository } from "../../shared/repository/create.ts";
import { layout, newRunId } from "../../shared/repository/layout.ts";
import { protectionOf, type Protection } from "../../shared/repository/protection.ts";
import { findRepository } from "../../shared/repository/repository-reader.ts";
import { absentPacksOf } from "../../shared/repository/upkeep/absent-packs.ts";
import { surveyChain } from "../../shared/repository/upkeep/chain-survey.ts";
import { forgetRuns } from "../../shared/repository/upkeep/forget.ts";
import { protectRuns } from "../../shared/repository/upkeep/protect.ts";
import { prune } from "../../shared/repository/upkeep/prune.ts";
import type { StoreCredentials } from "../../shared/store/location.ts";
import { openStore } from "../../shared/store/open.ts";
import type { Store } from "../../shared/store/store.ts";
import { Lab } from "../lab/lab.ts";
import { expectCode } from "../shared/repository/expect-code.ts";
import type { Place } from "../shared/repository/snapshots.ts";
import { checkAll } from "../shared/repository/upkeep/check-all.ts";
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
  untilAllIsPast,
  type Home,
  type Node,
} from "../shared/repository/upkeep/repository-of-runs.ts";

const KiB = 1024;

describe("upkeep on a real S3 server", () => {
  let lab: Lab;
  let owner: StoreCredentials;
  let folder: string;
  const opened: Store[] = [];

  before(async function () {
    this.timeout(300_000);
    lab = await Lab.up({ s3: true });
    owner = await lab.s3.credentials();
    folder = mkdtempSync(join(tmpdir(), "skep-upkeep-"));
  });
  after(async () => {
    for (const store of opened) await store.close();
    rmSync(folder, { recursive: true });
    await lab.down();
  });

  function open(bucket: string, credentials = owner): Store {
    const store = openStore({ url: `s3://${bucket}/swarm-a`, endpoint: lab.s3.endpoint }, credentials);
    opened.push(store);
    return store;
  }
  const put = (node: Node, name: string, bytes: Buffer): void => {
    writeFileSync(join(node.source, name), bytes);
  };
  const forget = (home: Home, id: string): Promise<unknown> =>
    forgetRuns({ ...appenderOf(home), choose: (runs) => runs.filter((run) => run.id === id) });

  it("gives space back beside an agent that may create objects and nothing more", async () => {
    await lab.s3.createBucket("upkeep", {});
    const agent = await lab.s3.createUser("agent");
    await lab.s3.allow("upkeep", ["agent"], ["s3:PutObject"]);
    const store = open("upkeep");
    const home: Home = { store, made: await createRepository({ store, operatorName: "anna", now: Date.now() }) };
    const ofAgent: Home = { ...home, store: open("upkeep", agent) };
    const node = makeNode({ path: folder }, "node1");
    const content = randomBytes(300 * KiB);
    const run = async (): Promise<string> => {
      const runId = newRunId(Date.now());
      const absent = absentPacksOf(await newestUpkeep(catalogueOf(home)), node.id, 2000);
      const result = await takeSnapshot(ofAgent, node, runId, absent);
      const { id, parts } = await commit(home, runId, [{ node, result }]);
      expect(parts.map(({ status }) => status)).to.deep.equal(["done", "done"]);
      return id;
    };
    put(node, "a", content);
    const first = await run();
    put(node, "a", randomBytes(300 * KiB));
    const second = await run();
    await forget(home, first);
    await untilAllIsPast(store);
    const result = await prune(pruneOptions(home));
    expect(result.freedBytes).to.be.greaterThan(300 * KiB);
    // The agent's cache knows the first run's chunks still, and cannot look: its job says that they are gone.
    put(node, "a", content);
    const third = await run();
    const check = await checkAll(home);
    expect(check.findings).to.deep.equal([]);
    expect((await runsOf(home)).map(({ id }) => id)).to.deep.equal([third, second]);
  });

  it("deletes nothing before its time where objects are locked, and nobody else does", async () => {
    await lab.s3.createBucket("locked", { objectLock: true });
    const client = lab.s3.client(owner);
    await client.send(
      new PutObjectLockConfigurationCommand({
        Bucket: "locked",
        ObjectLockConfiguration: {
          ObjectLockEnabled: "Enabled",
          Rule: { DefaultRetention: { Mode: "COMPLIANCE", Days: 1 } },
        },
      }),
    );
    const store = open("locked");
    const home: Home = { store, made: await createRepository({ store, operatorName: "anna", now: Date.now() }) };
    const node = makeNode({ path: folder }, "node2");
    put(node, "a", randomBytes(300 * KiB));
    const first = await backUpRun(home, node);
    const packs = await keysUnder(store, "packs/");
    put(node, "a", randomBytes(300 * KiB));
    await backUpRun(home, node);
    await forget(home, first.id);
    await untilAllIsPast(store);
    // Ceph 18 lets two creations of one key succeed in such a bucket.
    await expectCode("SKEP_PRUNE_NOT_EXCLUSIVE", () => prune(pruneOptions(home)));
    await prune({ ...pruneOptions(home), exclusive: true });
    expect((await checkAll(home)).findings).to.deep.equal([]);
    const left = new Set(await keysUnder(store, "packs/"));
    const pruned = packs.filter((key) => !left.has(key));
    expect(pruned.length).to.be.greaterThan(0);
    // All is there in its version, and with every right there is nobody takes it away.
    for (const key of pruned) {
      const Key = `swarm-a/${key}`;
      const { Versions } = await client.send(new ListObjectVersionsCommand({ Bucket: "locked", Prefix: Key }));
      const VersionId = Versions?.[0]?.VersionId ?? "";
      const refusal: unknown = await client
        .send(new DeleteObjectCommand({ Bucket: "locked", Key, VersionId }))
        .catch((error: unknown) => error);
      expect(refusal).to.have.property("name", "AccessDenied");
      const { Body } = await client.send(new GetObjectCommand({ Bucket: "locked", Key, VersionId }));
      const bytes = (await Body?.transformToByteArray()) ?? new Uint8Array(0);
      expect(key.endsWith(digest(bytes))).to.be.true;
    }
    client.destroy();
  });

  it("locks what a kept run needs with the controller's rights, and says so of a run that it cannot lock", async () => {
    await lab.s3.createBucket("kept", { objectLock: true });
    const rights = ["s3:PutObject", "s3:GetObject", "s3:DeleteObject", "s3:ListBucket"];
    const controller = await lab.s3.createUser("warden");
    await lab.s3.allow("kept", ["warden"], rights);
    const store = open("kept", controller);
    const made = await createRepository({ store, operatorName: "anna", now: Date.now() });
    const home: Home = { store, made };
    const node = makeNode({ path: folder }, "node3");
    put(node, "a", randomBytes(300 * KiB));
    const first = await backUpRun(home, node);
    const protect = (known: Protection | null): Promise<Protection> =>
      protectRuns({
        ...{ catalogue: catalogueOf(home), keys: keysOf(home), repository: made.repositoryObject, lockDays: 1, known },
        signal: new AbortController().signal,
      });
    const refused = await protect(null);
    expect(refused.fault?.code).to.equal("SKEP_STORE_DENIED");
    expect(protectionOf(refused, first.id)?.until).to.equal(null);

    await lab.s3.allow("kept", ["warden"], [...rights, "s3:PutObjectRetention", "s3:GetObjectRetention"]);
    const found = await protect(refused);
    const { until } = found.runs[0] ?? expect.fail("no run");
    expect(Date.parse(until ?? "")).to.be.greaterThan(Date.now() + 24 * 3_600_000);
    const client = lab.s3.client(owner);
    const { Versions = [] } = await client.send(new ListObjectVersionsCommand({ Bucket: "kept" }));
    const kept = Versions.filter(({ Key }) => !/\/(probe|agents)\//.test(Key ?? ""));
    const folders = new Set(kept.map(({ Key }) => Key?.split("/")[1]));
    expect([...folders]).to.include.members(["packs", "index", "manifests", "refs", "runs", "repository", "keys"]);
    for (const { Key, VersionId } of kept) {
      const refusal: unknown = await client
        .send(new DeleteObjectCommand({ Bucket: "kept", Key, VersionId, BypassGovernanceRetention: true }))
        .catch((error: unknown) => error);
      expect(refusal, Key).to.have.property("name", "AccessDenied");
    }
    // An attacker hides a pack behind a deletion mark: the run is no longer said to be protected, and comes back with it.
    put(node, "a", randomBytes(300 * KiB));
    const second = await backUpRun(home, node);
    const hidden = (await keysUnder(store, "packs/")).find((key) => !Versions.some(({ Key }) => Key?.endsWith(key)));
    await store.delete([hidden ?? ""]);
    const lacking = await protect(found);
    expect(lacking.runs.map(({ id, fault }) => [id, fault?.code])).to.deep.equal([
      [second.id, "SKEP_OBJECT_MISSING"],
      [first.id, undefined],
    ]);
    const marks = await client.send(
      new ListObjectVersionsCommand({ Bucket: "kept", Prefix: `swarm-a/${hidden ?? ""}` }),
    );
    const { Key, VersionId } = marks.DeleteMarkers?.[0] ?? expect.fail("no mark");
    await client.send(new DeleteObjectCommand({ Bucket: "kept", Key, VersionId }));
    client.destroy();
    expect((await protect(lacking)).runs.map(({ fault }) => fault)).to.deep.equal([null, null]);
  });

  it("keeps and gives back what a thief with an agent's right to put lays something over, and goes on meanwhile", async () => {
    await lab.s3.createBucket("thieved", { objectLock: true });
    const credentials = await lab.s3.createUser("thief");
    await lab.s3.allow("thieved", ["thief"], ["s3:PutObject"]);
    const store = open("thieved");
    const made = await createRepository({ store, operatorName: "anna", now: Date.now() });
    const home: Home = { store, made };
    const [victim, other] = [makeNode({ path: folder }, "node4"), makeNode({ path: folder }, "node5")];
    const content = randomBytes(300 * KiB);
    put(victim, "a", content);
    const first = await backUpRun(home, victim);
    const { signal } = new AbortController();
    const protect = (): Promise<Protection> =>
      protectRuns({
        ...{ catalogue: catalogueOf(home), keys: keysOf(home), repository: made.repositoryObject },
        ...{ lockDays: 1, known: null, signal },
      });
    const protectedFirst = await protect();
    expect([protectedFirst.fault, protectedFirst.runs[0]?.fault]).to.deep.equal([null, null]);

    const thief = open("thieved", credentials);
    const firstOf = async (prefix: string): Promise<string> => (await keysUnder(store, prefix))[0] ?? "";
    const key = layout.epochKey(1, 1);
    const [pack, manifest] = [await firstOf("packs/"), await firstOf("manifests/")];
    const entry = layout.run(first.sequence);
    const over = [pack, manifest, key, layout.repository(1), entry];
    for (const each of over) {
      await expectCode("SKEP_STORE_DENIED", () => thief.get(each, 1e9));
      await expectCode("SKEP_STORE_DENIED", () => thief.delete([each]));
      await expectCode("SKEP_STORE_DENIED", () => thief.lock(each, null, Date.now() + 60_000));
      await thief.put(each, randomBytes((await store.head(each))?.sizeBytes ?? 0));
    }
    const last = 9_999_999_999;
    const beside = [layout.repository(last), layout.policy(last), layout.agent(victim.id, last), layout.run(last)];
    for (const each of beside) await thief.put(each, randomBytes(100));

    // Backups go on; what is damaged is told, and what was written is locked on, in its version.
    put(other, "b", randomBytes(100 * KiB));
    const second = await backUpRun(home, other);
    // The newest run, over which he put something, is still the one before it: nothing that it needs is given up.
    const entries = await surveyChain(catalogueOf(home));
    expect(entries.runs.map(({ id }) => id)).to.deep.equal([second.id, first.id]);
    expect(second.previousDigest).to.equal(entries.runs[1]?.digest);
    expect([entries.gaps, Array.from(entries.covers, ({ key: at }) => at)]).to.deep.equal([[], [entry]]);
    const told: string[] = [];
    const { rootPublicKey } = made.identityFile;
    const found = await findRepository(store, rootPublicKey, { onForeign: (_fault, at) => told.push(at) });
    expect(found.object).to.deep.equal(made.repositoryObject);
    expect(told).to.have.members([layout.repository(1), layout.repository(last)]);
    const lacking = await protect();
    expect(lacking.fault?.code).to.equal("SKEP_OBJECT_DAMAGED");
    expect(lacking.runs.map(({ id, fault }) => [id, fault?.code])).to.deep.equal([
      [second.id, undefined],
      [first.id, "SKEP_OBJECT_DAMAGED"],
    ]);
    const { findings } = await checkAll(home, { content: null });
    const damaged = findings.filter(({ level }) => level === "error").map((finding) => finding.key);
    expect(damaged).to.include.members([pack, manifest, entry, layout.run(last)]);

    // As docs/STORES.md says: the first version, copied over what lies there.
    const client = lab.s3.client(owner);
    for (const each of over) {
      const Key = `swarm-a/${each}`;
      const { Versions = [] } = await client.send(new ListObjectVersionsCommand({ Bucket: "thieved", Prefix: Key }));
      expect(Versions).to.have.length(2);
      const VersionId = Versions.at(-1)?.VersionId ?? "";
      const refusal: unknown = await client
        .send(new DeleteObjectCommand({ Bucket: "thieved", Key, VersionId }))
        .catch((error: unknown) => error);
      expect(refusal, each).to.have.property("name", "AccessDenied");
      const CopySource = `thieved/${Key}?versionId=${VersionId}`;
      await client.send(new CopyObjectCommand({ Bucket: "thieved", Key, CopySource }));
    }
    client.destroy();
    await store.delete(beside);
    const again = await protect();
    expect([again.fault, ...again.runs.map(({ fault }) => fault)]).to.deep.equal([null, null, null]);
    expect((await checkAll(home)).findings.filter(({ level }) => level === "error")).to.deep.equal([]);
    const place = { store, made } as Place;
    expect((await restored(place, first, victim)).get("a")?.equals(content)).to.be.true;
  });
});
