import { expect } from "chai";

import { byHandPaths, openRaftArchive, raftArchiveFiles, unlockKeyPath } from "../../../shared/raft/archive-layout.ts";
import { heldFile } from "../../../shared/raft/copied-file.ts";
import type { SwarmCopy } from "../../../shared/raft/copy.ts";
import { openSwarm } from "../../../shared/raft/open-swarm.ts";
import { plainWal, syntheticSwarm } from "./synthetic-swarm.ts";

const proof = {} as SwarmCopy["proof"];

async function copyOf(unlockKey: Uint8Array | null): Promise<SwarmCopy> {
  const swarm = await syntheticSwarm(plainWal(9).finish());
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
});
