import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { expect } from "chai";

import { SkepError } from "../../../shared/errors.ts";
import { copySwarmDirectory, type CopyOptions, type SwarmCopy } from "../../../shared/raft/copy.ts";
import { raftProofSchema } from "../../../shared/raft/proof.ts";
import { segmentName, snapshotDirectory, snapshotName, walDirectory } from "../../../shared/raft/segments.ts";
import { memoryFiles, type SwarmFiles } from "../../../shared/raft/swarm-files.ts";
import { plainWal, sealedEntry, syntheticSwarm, WalWriter } from "./synthetic-swarm.ts";

let stagingDirectory = "";
beforeEach(async () => {
  stagingDirectory = await mkdtemp(join(tmpdir(), "skep-copy-"));
});
afterEach(() => rm(stagingDirectory, { recursive: true }));

function copy(source: SwarmFiles, options: Partial<CopyOptions> = {}): Promise<SwarmCopy> {
  return copySwarmDirectory({
    source,
    stagingDirectory,
    signal: new AbortController().signal,
    limits: { pauseMs: 1, ...options.limits },
    ...(options.markerIndex === undefined ? {} : { markerIndex: options.markerIndex }),
    ...(options.signal === undefined ? {} : { signal: options.signal }),
  });
}

async function contents(made: SwarmCopy): Promise<Map<string, Uint8Array>> {
  const all = new Map<string, Uint8Array>();
  for (const file of made.files) {
    const pieces: Uint8Array[] = [];
    for await (const piece of file.content()) pieces.push(piece);
    all.set(file.path, Buffer.concat(pieces));
    expect(all.get(file.path)?.length).to.equal(file.sizeBytes);
  }
  return all;
}

async function refusal(promise: Promise<unknown>): Promise<SkepError> {
  try {
    await promise;
  } catch (error) {
    if (error instanceof SkepError) return error;
    throw error;
  }
  throw new Error("nothing was thrown");
}

/** A source whose files change: `at` gives the directory as it is at the n-th open of a file. */
function changing(at: (opened: number) => ReadonlyMap<string, Uint8Array>): SwarmFiles {
  let opened = 0;
  return {
    list: (folder) => memoryFiles(at(opened)).list(folder),
    open: (path) => memoryFiles(at(opened++)).open(path),
  };
}

const walPath = (seq: number, index: number): string => `${walDirectory}/${segmentName(seq, index)}`;

describe("the hot copy of a swarm directory", () => {
  it("takes certificates, key, and the used part of the log, with a proof", async () => {
    const swarm = await syntheticSwarm(plainWal(30, [12]).finish(500_000));
    swarm.set(`${walDirectory}/0.tmp`, new Uint8Array(1000));
    swarm.set("worker/tasks.db", new Uint8Array(1000));
    const made = await copy(memoryFiles(swarm), { markerIndex: 30 });

    expect(raftProofSchema.parse(made.proof)).to.include({
      snapshotIndex: 0,
      firstIndex: 1,
      lastIndex: 30,
      commitIndex: 30,
      term: 2,
      segments: 2,
      entries: 30,
      walked: true,
      decrypted: true,
      locked: false,
      keyChangedDuringCopy: false,
      attempts: 1,
      markerIndex: 30,
      nodeId: "nodeidnodeidnodeidnodeid1",
    });
    const files = await contents(made);
    expect([...files.keys()]).to.deep.equal([
      "certificates/swarm-root-ca.crt",
      "certificates/swarm-node.crt",
      "certificates/swarm-node.key",
      walPath(0, 0),
      walPath(1, 12),
      "state.json",
    ]);
    expect(files.get(walPath(1, 12))?.length).to.equal((swarm.get(walPath(1, 12))?.length ?? 0) - 500_000);
    expect(made.files.find(({ path }) => path.endsWith(".key"))?.mode).to.equal(0o600);
    expect((await copy(memoryFiles(files))).proof.lastIndex).to.equal(30);
  });

  it("takes the newest snapshot, and the log from the segment that reaches back to it", async () => {
    const swarm = await syntheticSwarm(plainWal(30, [10, 20]).finish(), { index: 15, term: 2 });
    const made = await copy(memoryFiles(swarm));
    expect(made.proof).to.include({ snapshotIndex: 15, firstIndex: 16, lastIndex: 30, segments: 2 });
    expect((await contents(made)).has(walPath(0, 0))).to.equal(false);
  });

  it("takes the older snapshot while the newer is being written", async () => {
    const swarm = await syntheticSwarm(plainWal(30).finish(), { index: 15, term: 2 });
    const newer = (await syntheticSwarm([], { index: 25, term: 2 })).get(`${snapshotDirectory}/${snapshotName(2, 25)}`);
    swarm.set(`${snapshotDirectory}/${snapshotName(2, 25)}`, (newer ?? new Uint8Array()).subarray(0, 20));
    const made = await copy(memoryFiles(swarm));
    expect(made.proof.snapshotIndex).to.equal(15);
    expect([...(await contents(made)).keys()]).not.to.include(`${snapshotDirectory}/${snapshotName(2, 25)}`);
  });

  it("warns of a newest snapshot that stays damaged, though an older one and the log have everything", async () => {
    const newest = `${snapshotDirectory}/${snapshotName(2, 25)}`;
    const rotten = await syntheticSwarm(plainWal(30).finish(), { index: 15, term: 2 });
    const sound = (await syntheticSwarm([], { index: 25, term: 2 })).get(newest) ?? new Uint8Array();
    rotten.set(newest, Uint8Array.from(sound).fill(0, 40, 44));
    const { proof, warnings } = await copy(memoryFiles(rotten));
    expect(proof).to.include({ snapshotIndex: 15, attempts: 1 });
    expect(warnings.join())
      .to.contain(newest)
      .and.match(/is damaged \(.*CRC is/);
    // One that was being written is whole at the second look.
    const written = new Map(rotten).set(newest, sound);
    const then = await copy(changing((opened) => (opened < 5 ? rotten : written)));
    expect(then.warnings.join()).not.to.contain("damaged");
  });

  it("names the damaged snapshot where the log does not reach back without it", async () => {
    const swarm = await syntheticSwarm(plainWal(30, [20]).finish().slice(1), { index: 25, term: 2 });
    const path = `${snapshotDirectory}/${snapshotName(2, 25)}`;
    swarm.set(path, Uint8Array.from(swarm.get(path) ?? []).fill(0, 40, 44));
    const error = await refusal(copy(memoryFiles(swarm), { limits: { attempts: 2, pauseMs: 1 } }));
    expect(error.code).to.equal("SKEP_RAFT_COPY_UNPROVEN");
    expect(error.message).to.contain("no segment reaches back to index 0").and.contain(`${path} is damaged`);
  });

  it("refuses more than can be read again, at once", async () => {
    const swarm = await syntheticSwarm(plainWal(30).finish(), { index: 15, term: 2 });
    for (const limits of [{ longestSnapshotBytes: 100 }, { longestWalBytes: 1000 }]) {
      const error = await refusal(copy(memoryFiles(swarm), { limits }));
      expect(error).to.include({ code: "SKEP_RAFT_TOO_LARGE", permanent: true });
      expect(error.message).to.match(/^raft\/(snap|wal)-v3-encrypted.* is longer than 1000? bytes/);
    }
    expect(await readdir(stagingDirectory)).to.deep.equal([]);
  });

  it("looks again at a record that is half there", async () => {
    const whole = plainWal(30).finish(4096)[0]?.bytes ?? new Uint8Array();
    const torn = Uint8Array.from(whole).fill(0, whole.length - 4096 - 20);
    const swarm = await syntheticSwarm([]);
    let reads = 0;
    const source: SwarmFiles = {
      list: (folder) => (folder === walDirectory ? Promise.resolve([segmentName(0, 0)]) : Promise.resolve(null)),
      open: async (path) => {
        if (path !== walPath(0, 0)) return memoryFiles(swarm).open(path);
        return {
          read: (position, lengthBytes) =>
            Promise.resolve((reads++ < 2 ? torn : whole).subarray(position, position + lengthBytes)),
          close: () => Promise.resolve(),
        };
      },
    };
    const { proof } = await copy(source);
    expect(proof).to.include({ lastIndex: 30, commitIndex: 30, attempts: 1 });
  });

  it("refuses a log that stays damaged, naming file and byte offset, and leaves nothing behind", async () => {
    const good = plainWal(30).finish(4096)[0]?.bytes ?? new Uint8Array();
    const damaged = Buffer.from(good);
    damaged.write("damage", damaged.indexOf(sealedEntry(7)) + 50);
    const error = await refusal(copy(memoryFiles(await syntheticSwarm([{ name: segmentName(0, 0), bytes: damaged }]))));
    expect(error.code).to.equal("SKEP_RAFT_COPY_UNPROVEN");
    expect(error.message).to.match(/0000000000000000-0000000000000000\.wal at byte \d+: CRC chain broken/);
    expect(error.message).to.contain("10 attempts");
    expect(await readdir(stagingDirectory)).to.deep.equal([]);
  });

  it("refuses every truncation that loses what a later segment or the hard state needs", async () => {
    const segments = plainWal(20, [10]).finish();
    const closed = segments[0]?.bytes ?? new Uint8Array();
    for (let at = 0; at < closed.length; at += 40) {
      const cut = [{ name: segmentName(0, 0), bytes: closed.subarray(0, at) }, ...segments.slice(1)];
      const error = await refusal(
        copy(memoryFiles(await syntheticSwarm(cut)), { limits: { attempts: 1, pauseMs: 1 } }),
      );
      expect(error.code, `cut at ${at}`).to.equal("SKEP_RAFT_COPY_UNPROVEN");
    }
  });

  it("begins again when segments vanish under it", async () => {
    const before = await syntheticSwarm(plainWal(30, [10, 20]).finish());
    const after = await syntheticSwarm(plainWal(40, [10, 20, 35]).finish().slice(2), { index: 28, term: 2 });
    // The first copy opens the key, finds no snapshot, opens the first segment; then the engine cleans up.
    const { proof } = await copy(changing((opened) => (opened < 2 ? before : after)));
    expect(proof).to.include({ attempts: 2, snapshotIndex: 28, lastIndex: 40 });
  });

  it("notices a key that was replaced meanwhile", async () => {
    const swarm = await syntheticSwarm(plainWal(5).finish());
    const key = Buffer.from(swarm.get("certificates/swarm-node.key") ?? []).toString();
    const rotated = new Map(swarm).set(
      "certificates/swarm-node.key",
      Buffer.from(key.replace("kek-version: 0", "kek-version: 9")),
    );
    const { proof } = await copy(changing((opened) => (opened < 2 ? swarm : rotated)));
    expect(proof).to.include({ attempts: 1, keyChangedDuringCopy: true });
  });

  it("refuses a key and a certificate of two generations", async () => {
    const swarm = await syntheticSwarm(plainWal(5).finish());
    const der = "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg";
    const key = Buffer.from(swarm.get("certificates/swarm-node.key") ?? []).toString();
    swarm.set("certificates/swarm-node.key", Buffer.from(key.replace(/\n\n.{48}/, `\n\n${der.replace("a", "b")}`)));
    const error = await refusal(copy(memoryFiles(swarm), { limits: { attempts: 2, pauseMs: 1 } }));
    expect(error.message).to.match(/private key cannot be read|do not belong together/);
  });

  it("waits for the marker to arrive, and says when it does not", async () => {
    const early = await syntheticSwarm(plainWal(30).finish());
    const late = await syntheticSwarm(plainWal(33).finish());
    let opened = 0;
    const source = changing(() => (opened++ < 60 ? early : late));
    const { proof } = await copy(source, { markerIndex: 32, limits: { attempts: 1, pauseMs: 1 } });
    expect(proof.commitIndex).to.equal(33);
    expect(proof.attempts).to.be.greaterThan(2);

    const error = await refusal(
      copy(memoryFiles(early), { markerIndex: 32, limits: { pauseMs: 1, markerTimeoutMs: 20 } }),
    );
    expect(error.code).to.equal("SKEP_RAFT_COPY_UNPROVEN");
    expect(error.message).to.contain("commit index 30 on disk is below the marker 32");
  });

  it("refuses a hard state outside of snapshot and last entry", async () => {
    const ahead = new WalWriter().note(0, 0).entry(1).state(2).finish();
    const behind = new WalWriter().note(0, 0).entry(1).entry(2).state(1).finish();
    for (const [files, words] of [
      [await syntheticSwarm(ahead), "commit index 2 is outside"],
      [await syntheticSwarm(behind, { index: 2, term: 2 }), "commit index 1 is outside"],
    ] as const) {
      const error = await refusal(copy(memoryFiles(files), { limits: { attempts: 1 } }));
      expect(error.message).to.contain(words);
    }
  });

  it("says that a worker has no Raft state", async () => {
    const error = await refusal(copy(memoryFiles(await syntheticSwarm([]))));
    expect(error).to.include({ code: "SKEP_RAFT_NOT_A_MANAGER", permanent: true });
  });

  it("ends its waiting when aborted", async () => {
    const abort = new AbortController();
    const waiting = copy(memoryFiles(await syntheticSwarm(plainWal(3).finish())), {
      markerIndex: 99,
      signal: abort.signal,
    });
    setTimeout(() => {
      abort.abort(new Error("stop"));
    }, 30);
    const error = await waiting.then(
      () => null,
      (thrown: unknown) => thrown,
    );
    expect(error).to.be.instanceOf(Error);
    expect(await readdir(stagingDirectory)).to.deep.equal([]);
  });
});
