import { expect } from "chai";

import { memoryFiles, type SwarmFile } from "../../../shared/raft/swarm-files.ts";
import { walkSegment, type SegmentEnd } from "../../../shared/raft/wal-reader.ts";
import { WalWalk } from "../../../shared/raft/wal-walk.ts";
import { plainWal, WalWriter } from "./synthetic-swarm.ts";

const signal = new AbortController().signal;

function fileOf(bytes: Uint8Array, counter = { bytes: 0 }): SwarmFile {
  return {
    read: (position, lengthBytes) => {
      const piece = bytes.subarray(position, position + lengthBytes);
      counter.bytes += piece.length;
      return Promise.resolve(piece);
    },
    close: () => Promise.resolve(),
  };
}

async function walkAll(
  segments: { bytes: Uint8Array }[],
  snapshotIndex = 0,
): Promise<{ walk: WalWalk; end: SegmentEnd }> {
  const walk = new WalWalk(snapshotIndex);
  let end: SegmentEnd = { kind: "eof", offset: 0, reason: "" };
  for (const { bytes } of segments) {
    walk.beginSegment();
    end = await walkSegment(fileOf(bytes), walk, 0, {}, signal);
    if (end.kind === "bad") break;
  }
  return { walk, end };
}

describe("walking a WAL", () => {
  it("goes through all segments to the last entry and state", async () => {
    const { walk, end } = await walkAll(plainWal(50, [20, 40]).finish());
    expect(end.kind).to.equal("eof");
    expect(walk).to.include({ lastIndex: 50, entryRecords: 50 });
    expect(walk.state?.commit).to.equal(50);
    expect(walk.member?.nodeId).to.equal("nodeidnodeidnodeidnodeid1");
  });

  it("starts in the middle, where the head of the segment gives the CRC before it", async () => {
    const { walk, end } = await walkAll(plainWal(50, [20, 40]).finish().slice(1), 25);
    expect(end.kind).to.equal("eof");
    expect(walk.lastIndex).to.equal(50);
  });

  it("reads little more than the used part of a preallocated segment", async () => {
    const [segment] = plainWal(100).finish(64_000_000);
    const counter = { bytes: 0 };
    const walk = new WalWalk(0);
    const end = await walkSegment(fileOf(segment?.bytes ?? new Uint8Array(), counter), walk, 0, {}, signal);
    expect(end.kind).to.equal("zero");
    expect(walk.lastIndex).to.equal(100);
    expect(counter.bytes).to.be.below(1_200_000);
  });

  it("reads records that lie across the pieces it reads, and hands on exactly their bytes", async () => {
    const writer = new WalWriter();
    for (let index = 1; index <= 40; index++) writer.entry(index, Buffer.alloc(index * 9001, index)).state(index);
    const bytes = writer.finish(4096)[0]?.bytes ?? new Uint8Array();
    const taken: Buffer[] = [];
    const onBytes = (piece: Uint8Array): Promise<void> => {
      taken.push(Buffer.from(piece));
      return Promise.resolve();
    };
    const walk = new WalWalk(0);
    const end = await walkSegment(fileOf(bytes), walk, 0, { onBytes }, signal);
    expect(walk.lastIndex).to.equal(40);
    expect(Buffer.concat(taken).equals(bytes.subarray(0, end.offset))).to.equal(true);
    expect(end.offset).to.equal(bytes.length - 4096);
  });

  it("finds every truncation and every flipped bit, or ends where nothing is lost", async () => {
    const writer = plainWal(6);
    const good = writer.finish()[0]?.bytes ?? new Uint8Array();
    const boundaries = await recordEnds(good);
    for (let at = 0; at < good.length; at++) {
      const cut = (await walkAll([{ bytes: good.subarray(0, at) }])).end;
      expect(cut.kind, `cut at ${at}`).to.equal(boundaries.has(at) || at === 0 ? "eof" : "bad");
      for (let bit = 0; bit < 8; bit++) {
        const flipped = Uint8Array.from(good);
        flipped[at] = (flipped[at] ?? 0) ^ (1 << bit);
        const { walk, end } = await walkAll([{ bytes: flipped }]);
        // Padding bytes are read by nobody.
        if (end.kind === "eof") expect([walk.lastIndex, walk.state?.commit]).to.deep.equal([6, 6]);
        else expect(end.kind, `bit ${bit} of byte ${at}`).to.equal("bad");
      }
    }
  });

  it("lets a later entry replace an earlier one and what followed it, and refuses a gap", async () => {
    const replaced = new WalWriter().entry(1).entry(2).entry(3).state(1).entry(2, Buffer.from("other"), 3).state(2, 3);
    expect((await walkAll(replaced.finish())).walk).to.include({ lastIndex: 2, lastTerm: 3 });

    const gap = await walkAll(new WalWriter().entry(1).entry(3).finish());
    expect(gap.end.reason).to.equal("entry 3 follows entry 1: entry 2 is missing");
    const afterSnapshot = await walkAll(new WalWriter().entry(9).entry(10).finish(), 7);
    expect(afterSnapshot.end.reason).to.equal("entry 9 follows entry 7: entry 8 is missing");
    expect((await walkAll(new WalWriter().entry(5).entry(8).finish(), 7)).end.kind).to.equal("eof");
  });

  it("refuses segments of another chain or another manager", async () => {
    const [first] = plainWal(10).finish();
    const stranger = new WalWriter(1, 11, 12345).entry(11).finish();
    const { end } = await walkAll([...(first === undefined ? [] : [first]), ...stranger]);
    expect(end.reason).to.contain("CRC chain broken between segments");
  });

  it("stops when asked to", async () => {
    const abort = new AbortController();
    abort.abort(new Error("enough"));
    const file = await memoryFiles(new Map([["raft/x", plainWal(3).finish()[0]?.bytes ?? new Uint8Array()]])).open(
      "raft/x",
    );
    if (file === null) throw new Error("no file");
    let message = "";
    await walkSegment(file, new WalWalk(0), 0, {}, abort.signal).catch((error: unknown) => {
      message = error instanceof Error ? error.message : "";
    });
    expect(message).to.equal("enough");
  });
});

async function recordEnds(bytes: Uint8Array): Promise<Set<number>> {
  const ends = new Set<number>();
  for (let length = 8; length <= bytes.length; length += 8) {
    const { end } = await walkAll([{ bytes: bytes.subarray(0, length) }]);
    ends.add(end.offset);
  }
  return ends;
}
