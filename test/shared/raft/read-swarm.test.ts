import { createPrivateKey } from "node:crypto";

import { expect } from "chai";
import fc from "fast-check";

import { SkepError } from "../../../shared/errors.ts";
import { dataKeyHeader } from "../../../shared/raft/data-keys.ts";
import { decodeKeyFile, encodeKeyFile } from "../../../shared/raft/key-file.ts";
import { readSwarm, type ReadOptions, type SwarmState } from "../../../shared/raft/read-swarm.ts";
import { sealRecord } from "../../../shared/raft/sealed-record.ts";
import { segmentName, snapshotDirectory, walDirectory } from "../../../shared/raft/segments.ts";
import { memoryFiles } from "../../../shared/raft/swarm-files.ts";
import { decodeMessage } from "../../../shared/raft/swarmkit/message-types.ts";
import {
  clusterId,
  dek,
  member,
  plainWal,
  request,
  sealedEntry,
  syntheticSwarm,
  WalWriter,
} from "./synthetic-swarm.ts";

const unlockKey = Buffer.alloc(32, 9);
const keyPath = "certificates/swarm-node.key";

async function refusal(files: ReadonlyMap<string, Uint8Array>, options?: ReadOptions): Promise<SkepError> {
  try {
    await readSwarm(memoryFiles(files), options);
  } catch (error) {
    if (error instanceof SkepError) return error;
    throw error;
  }
  throw new Error("nothing was thrown");
}

function configs(state: SwarmState): string[] {
  return [...state.store.objects.config.values()].map(
    (bytes) => decodeMessage("Config", bytes).spec?.annotations?.name ?? "",
  );
}

type Target = Parameters<typeof request>[1][number];

const sealed = (index: number, objects: Parameters<typeof request>[1], action?: number): Uint8Array =>
  sealRecord(request(index, objects, action), dek);

/** The key file of `swarm` as an engine locks it. */
function lock(swarm: Map<string, Uint8Array>, pending?: Uint8Array): void {
  const file = decodeKeyFile(swarm.get(keyPath) ?? new Uint8Array());
  const key = createPrivateKey({ key: Buffer.from(file.der), format: "der", type: "pkcs8" });
  const der = key.export({ type: "pkcs8", format: "der", cipher: "aes-256-cbc", passphrase: unlockKey });
  const headers = new Map([["raft-dek", dataKeyHeader(dek, unlockKey)]]);
  if (pending !== undefined) headers.set("raft-dek-pending", dataKeyHeader(pending, unlockKey));
  swarm.set(keyPath, encodeKeyFile({ blockType: "ENCRYPTED PRIVATE KEY", headers, der }));
}

describe("reading a swarm directory", () => {
  it("replays the log to the objects, and proves it", async () => {
    const state = await readSwarm(memoryFiles(await syntheticSwarm(plainWal(12, [5]).finish(100))));
    expect(configs(state)).to.have.length(10).and.include("config-12");
    expect(state.proof).to.deep.include({ commitIndex: 12, lastIndex: 12, segments: 2, decrypted: true });
    expect(state.proof.counts).to.include({ cluster: 1, node: 1, config: 10, secret: 0 });
    expect(state).to.include({ appliedIndex: 12, appliedTerm: 2, clusterId });
    expect(state.membership.members.get(member.raftId)?.addr).to.equal(member.addr);
    expect(state.warnings).to.deep.equal([]);
  });

  it("goes on from a snapshot", async () => {
    const wal = plainWal(12, [5]).note(7).entry(13).state(13);
    const state = await readSwarm(memoryFiles(await syntheticSwarm(wal.finish().slice(1), { index: 7, term: 2 })));
    expect(configs(state)).to.have.length(11);
    expect(state.proof).to.include({ snapshotIndex: 7, firstIndex: 8, commitIndex: 13 });
    expect(state.warnings).to.deep.equal([]);
  });

  it("leaves out what is not marked committed, as the proof tells; or takes it when asked", async () => {
    const files = memoryFiles(await syntheticSwarm(plainWal(6).entry(7).entry(8).finish()));
    const state = await readSwarm(files);
    expect(configs(state)).not.to.include("config-7");
    expect(state.proof).to.include({ commitIndex: 6, lastIndex: 8 });
    expect(state.warnings).to.deep.equal([]);
    expect(
      state.newer.map(({ index, changes }) => [index, ...changes.map(({ what, name }) => `${what} ${name}`)]),
    ).to.deep.equal([
      [7, "create config-7"],
      [8, "create config-8"],
    ]);
    expect(state.lastTerm).to.equal(2);
    const whole = await readSwarm(files, { includeNewer: true });
    expect(configs(whole)).to.include("config-8");
    expect(whole.appliedIndex).to.equal(8);
  });

  it("tells orders above the commit index from swarm's own notes, in whatever order they have their labels", async () => {
    const node = (labels: Record<string, string>, address: string): Target => ({
      case: "node",
      value: { id: member.nodeId, spec: { annotations: { labels } }, status: { addr: address } },
    });
    const wal = plainWal(6)
      .entry(7, sealed(7, [node({ zone: "a", disk: "ssd" }, "")], 2))
      .state(7)
      .entry(8, sealed(8, [node({ disk: "ssd", zone: "a" }, "10.0.0.9")], 2))
      .entry(9, sealed(9, [node({ disk: "ssd", zone: "b" }, "10.0.0.9")], 2));
    const { newer } = await readSwarm(memoryFiles(await syntheticSwarm(wal.finish())));
    const told = newer.map(({ index, changes }) => [index, ...changes.map(({ what, ordered }) => [what, ordered])]);
    expect(told).to.deep.equal([
      [8, ["update", false]],
      [9, ["update", true]],
    ]);
  });

  it("follows an entry that was replaced before it was committed, and refuses one replaced after", async () => {
    const stale = sealed(7, [{ case: "config", value: { id: "stale" } }]);
    const replaced = plainWal(6).entry(7, stale).entry(8).entry(7, sealedEntry(7), 3).state(7, 3);
    const state = await readSwarm(memoryFiles(await syntheticSwarm(replaced.finish())));
    expect(state.store.objects.config.has("stale")).to.equal(false);
    expect(configs(state)).to.include("config-7");
    expect(state.proof.lastIndex).to.equal(7);

    const error = await refusal(await syntheticSwarm(plainWal(6).entry(5, stale, 3).finish()));
    expect(error.message).to.contain("entry 5 is replaced after it was committed");
  });

  it("applies updates and removals, and skips a request that an engine would skip, as a whole", async () => {
    const config = (id: string) => ({ case: "config" as const, value: { id } });
    const wal = plainWal(4)
      .entry(5, sealed(5, [config("a"), config("b")]))
      .entry(6, sealed(6, [config("a")], 3))
      .entry(7, sealed(7, [config("c"), config("b")]))
      .state(7);
    const state = await readSwarm(memoryFiles(await syntheticSwarm(wal.finish())));
    expect([...state.store.objects.config.keys()])
      .to.include("b")
      .and.not.include.members(["a", "c"]);
    expect(state.warnings).to.deep.equal(["entry 7: already a config b"]);
  });

  it("opens a locked directory with its unlock key, and with no other", async () => {
    const swarm = await syntheticSwarm(plainWal(5).finish());
    lock(swarm);
    expect((await readSwarm(memoryFiles(swarm), { unlockKey })).proof).to.include({ locked: true, commitIndex: 5 });
    expect(await refusal(swarm)).to.include({ code: "SKEP_RAFT_LOCKED" });
    expect(await refusal(swarm, { unlockKey: Buffer.alloc(32) })).to.include({ code: "SKEP_RAFT_UNLOCK_KEY" });
  });

  it("opens records of the key that is being introduced beside those of the old one", async () => {
    const pending = Buffer.alloc(32, 8);
    const wal = plainWal(5)
      .entry(6, sealRecord(request(6, [{ case: "config", value: { id: "new-key" } }]), pending))
      .state(6);
    const swarm = await syntheticSwarm(wal.finish());
    const error = await refusal(swarm);
    expect(error.message).to.match(/\.wal at byte \d+: entry 6: no data key of swarm-node.key opens it/);
    lock(swarm, pending);
    const state = await readSwarm(memoryFiles(swarm), { unlockKey });
    expect(state.store.objects.config.has("new-key")).to.equal(true);
  });

  it("tells of fields and kinds that a newer engine has", async () => {
    const newer = Buffer.from([0xfa, 0x3f, 1, 9]);
    const created = request(5, [{ case: "config", value: { id: "x" } }]);
    const object = Buffer.concat([Buffer.from([0x0a, 1, 0x78]), newer]);
    const action = Buffer.concat([Buffer.from([0x08, 1, 0x52, object.length]), object]);
    const unknownKind = Buffer.from([0x08, 1, 0xa2, 0x01, 3, 0x0a, 1, 0x7a]);
    const plain = Buffer.concat([Buffer.from([0x12, action.length]), action, Buffer.from([0x12, 8]), unknownKind]);
    expect(created.length).to.be.greaterThan(0);
    const state = await readSwarm(
      memoryFiles(await syntheticSwarm(plainWal(4).entry(5, sealRecord(plain, dek)).state(5).finish())),
    );
    expect(state.warnings).to.deep.equal([
      "Config.1023 is a field of a newer engine: kept, not shown",
      "StoreAction 20 is a field of a newer engine: kept, not shown",
    ]);
  });

  it("refuses a state without its cluster, its node or its member, and a certificate of another", async () => {
    const cases = [
      [new WalWriter().note(0, 0).entry(1).state(1), "0 cluster objects"],
      [new WalWriter().note(0, 0).entry(1, sealedEntry(2)).state(1), "not a protobuf|unexpected|ConfChange|missing"],
      [
        plainWal(3)
          .entry(4, sealed(4, [{ case: "node", value: { id: member.nodeId } }], 3))
          .state(4),
        `no node object of ${member.nodeId}`,
      ],
    ] as const;
    for (const [wal, words] of cases) {
      expect((await refusal(await syntheticSwarm(wal.finish()))).message).to.match(new RegExp(words));
    }
    const noWal = await syntheticSwarm([], { index: 3, term: 2 });
    expect(await refusal(noWal)).to.include({ code: "SKEP_RAFT_NOT_A_MANAGER" });
  });

  it("finds every truncation and every flipped byte of log, snapshot, key and certificate, or reads the same", async () => {
    const swarm = await syntheticSwarm(plainWal(9, [5]).finish().slice(1), { index: 6, term: 2 });
    const whole = await readSwarm(memoryFiles(swarm));
    let harmless = 0;
    for (const [path, bytes] of swarm) {
      if (!/^(raft|certificates)\//.test(path)) continue;
      for (let at = 0; at < bytes.length; at += 1) {
        const flipped = Uint8Array.from(bytes);
        flipped[at] = (flipped[at] ?? 0) ^ (1 << (at % 8));
        harmless += await sameOrRefused(new Map(swarm).set(path, flipped), whole, `byte ${at} of ${path}`);
        const cut = new Map(swarm).set(path, bytes.subarray(0, at));
        if (at % 7 !== 0) continue;
        if (path.startsWith(walDirectory)) await prefixOrRefused(cut, whole, `${path} cut at ${at}`);
        else await sameOrRefused(cut, whole, `${path} cut at ${at}`);
      }
    }
    // Padding, PEM line ends and labels of headers that are not read: a small part.
    expect(harmless).to.be.below(250);
  }).timeout(60_000);

  it("falls back to the whole log when the only snapshot is damaged, as an engine does, and warns", async () => {
    const swarm = await syntheticSwarm(plainWal(9).finish(), { index: 6, term: 2 });
    const path = [...swarm.keys()].find((name) => name.startsWith(snapshotDirectory)) ?? "";
    swarm.set(path, new Uint8Array(100));
    const state = await readSwarm(memoryFiles(swarm));
    expect(state.proof).to.include({ snapshotIndex: 0, commitIndex: 9 });
    expect(state.warnings[0]).to.contain("is damaged");
  });

  it("gives a SkepError for any log", async () => {
    const swarm = await syntheticSwarm([]);
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ maxLength: 400 }), async (bytes) => {
        const error = await refusal(new Map(swarm).set(`${walDirectory}/${segmentName(0, 0)}`, bytes));
        expect(error.code).to.equal("SKEP_RAFT_FORMAT");
      }),
      { numRuns: 300 },
    );
  });
});

/** 1 if the changed directory reads exactly the same, 0 if it is refused. */
async function sameOrRefused(files: ReadonlyMap<string, Uint8Array>, whole: SwarmState, what: string): Promise<number> {
  let state: SwarmState;
  try {
    state = await readSwarm(memoryFiles(files));
  } catch (error) {
    if (error instanceof SkepError) return 0;
    throw new Error(what, { cause: error });
  }
  expect(contentOf(state), what).to.deep.equal(contentOf(whole));
  return 1;
}

/** A log cut at a record is a legal older state: then its indexes say that it is older. */
async function prefixOrRefused(files: ReadonlyMap<string, Uint8Array>, whole: SwarmState, what: string): Promise<void> {
  try {
    const { proof } = await readSwarm(memoryFiles(files));
    const same = proof.commitIndex === whole.proof.commitIndex && proof.lastIndex === whole.proof.lastIndex;
    expect(same, what).to.equal(false);
  } catch (error) {
    if (!(error instanceof SkepError)) throw new Error(what, { cause: error });
  }
}

function contentOf(state: SwarmState): unknown {
  const objects = Object.values(state.store.objects).map((table) =>
    [...table].map(([id, bytes]) => [id, Buffer.from(bytes).toString("hex")]),
  );
  const { commitIndex, lastIndex, nodeId, raftId, certificateExpiresAt } = state.proof;
  return { objects, commitIndex, lastIndex, nodeId, raftId, certificateExpiresAt };
}
