import { readdir } from "node:fs/promises";
import { tmpdir } from "node:os";

import { expect } from "chai";

import type { SkepError } from "../../../shared/errors.ts";

import { byHandPaths, openRaftArchive, raftArchiveFiles, unlockKeyPath } from "../../../shared/raft/archive-layout.ts";
import { heldFile } from "../../../shared/raft/copied-file.ts";
import type { SwarmCopy } from "../../../shared/raft/copy.ts";
import { openSwarm } from "../../../shared/raft/open-swarm.ts";
import {
  longestArchiveBytes,
  longestSmallFilesBytes,
  longestSnapshotBytes,
  longestWalBytes,
} from "../../../shared/raft/size-limits.ts";
import { readWhole } from "../../../shared/raft/swarm-files.ts";
import { plainWal, syntheticSwarm } from "./synthetic-swarm.ts";

const proof = {} as SwarmCopy["proof"];

async function copyOf(unlockKey: Uint8Array | null): Promise<SwarmCopy> {
  const swarm = await syntheticSwarm(plainWal(9, [4, 7]).finish());
  const files = [...swarm].map(([path, bytes]) => heldFile(path, 0o600, bytes));
  const forcedStart = { keyFile: Buffer.from("key"), body: { ForceNewCluster: true } };
  return { files, proof, unlockKey, forcedStart, warnings: [] };
}

async function* entries(copy: SwarmCopy): AsyncGenerator<{ path: string; content: AsyncIterable<Uint8Array> }> {
  for (const { path, sizeBytes, content } of raftArchiveFiles(copy)) {
    let lengthBytes = 0;
    const counted = async function* (): AsyncGenerator<Uint8Array> {
      if (content instanceof Uint8Array) yield await Promise.resolve(content);
      else for await (const piece of content) yield piece;
    };
    for await (const piece of counted()) lengthBytes += piece.length;
    expect(lengthBytes, path).to.equal(sizeBytes);
    yield { path, content: counted() };
  }
}

describe("a Raft copy in an archive", () => {
  it("comes back whole, with the unlock key that opens it", async () => {
    const unlockKey = Buffer.alloc(32, 5);
    const opened = await openRaftArchive(entries(await copyOf(unlockKey)));
    expect(Buffer.compare(opened.unlockKey ?? Buffer.alloc(0), unlockKey)).to.equal(0);
    expect((await openSwarm(opened.files)).proof.commitIndex).to.equal(9);
  });

  it("has no unlock key where the swarm is not locked", async () => {
    const copy = await copyOf(null);
    expect([...raftArchiveFiles(copy)].map(({ path }) => path)).not.to.include(unlockKeyPath);
    expect((await openRaftArchive(entries(copy))).unlockKey).to.equal(null);
  });

  it("holds what starts it by hand, which no restore takes for a part of the directory", async () => {
    const copy = await copyOf(null);
    const byHand = [...raftArchiveFiles(copy)].filter(({ path }) => path.startsWith("by-hand/"));
    expect(
      byHand.map(({ path, content }) => `${path} ${Buffer.from(content as Uint8Array).toString("utf8")}`),
    ).to.deep.equal(["by-hand/swarm-node.key key", 'by-hand/swarm-init.json {\n  "ForceNewCluster": true\n}\n']);
    expect(await (await openRaftArchive(entries(copy))).files.open(byHandPaths.keyFile)).to.equal(null);
  });

  it("lies on disk above a bound until it is closed, with nothing there by name and no key in it", async () => {
    const before = await readdir(tmpdir());
    const copy = await copyOf(null);
    const log = copy.files
      .filter(({ path }) => path.startsWith("raft/"))
      .reduce((sum, file) => sum + file.sizeBytes, 0);
    for (const mostHeldBytes of [0, 100, log - 1]) {
      const opened = await openRaftArchive(entries(copy), mostHeldBytes);
      expect((await openSwarm(opened.files)).proof).to.include({ commitIndex: 9, segments: 3 });
      expect(await opened.files.list("raft/wal-v3-encrypted")).to.have.length(3);
      expect(await opened.files.open("raft/nothing")).to.equal(null);
      await opened.close();
      const key = await readWhole(opened.files, "certificates/swarm-node.key", 10_000);
      expect(key?.length).to.equal(copy.files.find(({ path }) => path.endsWith(".key"))?.sizeBytes);
    }
    const left = (await readdir(tmpdir())).filter((name) => name.startsWith("skep-raft-") && !before.includes(name));
    expect(left).to.deep.equal([]);
  });

  it("is read whatever a copy may be, and refused above", async () => {
    const piece = Buffer.alloc(1024 * 1024);
    async function* zeros(
      path: string,
      lengthBytes: number,
    ): AsyncGenerator<{ path: string; content: AsyncIterable<Uint8Array> }> {
      const content = async function* (): AsyncGenerator<Uint8Array> {
        for (let at = 0; at < lengthBytes; at += piece.length) yield await Promise.resolve(piece);
      };
      yield await Promise.resolve({ path, content: content() });
    }
    expect(longestArchiveBytes).to.be.at.least(longestWalBytes + longestSnapshotBytes);
    const refused = async (path: string, lengthBytes: number): Promise<unknown> =>
      await openRaftArchive(zeros(path, lengthBytes)).catch((error: unknown) => (error as SkepError).code);
    expect(await refused("swarm/certificates/x", longestSmallFilesBytes + 1)).to.equal("SKEP_RAFT_TOO_LARGE");
    expect(await refused("swarm/worker/tasks.db", longestArchiveBytes + 1)).to.equal("SKEP_RAFT_TOO_LARGE");
  });
});
