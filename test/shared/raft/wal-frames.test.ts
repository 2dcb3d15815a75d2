import { expect } from "chai";
import fc from "fast-check";

import { decodeFrame, encodeFrame, longestRecordBytes, type RecordType } from "../../../shared/raft/wal-frames.ts";

const anyFrame = fc.record({
  type: fc.constantFrom<RecordType>(1, 2, 3, 5),
  crc: fc.integer({ min: 0, max: 0xffffffff }),
  data: fc.uint8Array({ maxLength: 300 }),
});

describe("WAL frames", () => {
  it("decode what was encoded, wherever the frame lies", () => {
    fc.assert(
      fc.property(anyFrame, fc.nat(20), ({ type, crc, data }, at) => {
        const encoded = encodeFrame(type, crc, data);
        expect(encoded.length % 8).to.equal(0);
        const result = decodeFrame(Buffer.concat([Buffer.alloc(at, 0xaa), encoded, Buffer.alloc(9)]), at);
        if (result.kind !== "frame") throw new Error(result.kind);
        const { frame } = result;
        expect([frame.type, frame.crc, frame.lengthBytes]).to.deep.equal([type, crc, encoded.length]);
        expect(Buffer.compare(frame.data, data)).to.equal(0);
      }),
    );
  });

  it("ask for more when cut anywhere", () => {
    const encoded = encodeFrame(2, 1, Buffer.from("some entry"));
    for (let length = 0; length < encoded.length; length++) {
      const result = decodeFrame(encoded.subarray(0, length), 0);
      expect(result.kind).to.equal("short");
      if (result.kind === "short") expect(result.neededBytes).to.be.greaterThan(length).and.at.most(encoded.length);
    }
  });

  it("end at a zero length word", () => {
    expect(decodeFrame(new Uint8Array(64), 0).kind).to.equal("zero");
  });

  it("refuse padding that does not fit, lengths beyond etcd's limit and unknown record types", () => {
    const wrongPadding = encodeFrame(2, 1, Buffer.from("x"));
    wrongPadding[7] = 0x87;
    expect(decodeFrame(wrongPadding, 0)).to.include({ kind: "bad" });

    const tooLong = new Uint8Array(16);
    new DataView(tooLong.buffer).setUint32(0, longestRecordBytes + 8, true);
    expect(decodeFrame(tooLong, 0)).to.include({ kind: "bad" });

    expect(decodeFrame(encodeFrame(6 as RecordType, 1, new Uint8Array(4)), 0)).to.include({ kind: "bad" });
  });

  it("never throw on arbitrary bytes", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 120 }), (bytes) => {
        expect(decodeFrame(bytes, 0).kind).to.be.oneOf(["frame", "zero", "short", "bad"]);
      }),
      { numRuns: 2000 },
    );
  });
});
