import { expect } from "chai";
import { randomBytes } from "node:crypto";
import fc from "fast-check";
import { loadNativeCodec, nodeCodec, type Codec } from "../../../shared/repository/native-codec.ts";

const native = loadNativeCodec();

describe("the codec", () => {
  it("finds zstd and OpenSSL in this Node", () => {
    expect(native).not.to.equal(null);
  });

  const pairs: [string, Codec, Codec][] = [
    ["its own frames and pieces", native ?? nodeCodec, native ?? nodeCodec],
    ["node:zlib's and node:crypto's", nodeCodec, native ?? nodeCodec],
    ["by node:zlib and node:crypto what it wrote", native ?? nodeCodec, nodeCodec],
  ];
  const content = fc.oneof(
    fc.uint8Array({ maxLength: 3000 }),
    fc
      .tuple(fc.integer({ min: 0, max: 300_000 }), fc.integer({ min: 0, max: 255 }))
      .map(([length, byte]) => new Uint8Array(length).fill(byte)),
    fc.integer({ min: 60_000, max: 70_000 }).map((length) => new Uint8Array(randomBytes(length))),
  );
  for (const [what, write, read] of pairs) {
    it(`opens ${what}, at any place of a buffer, and touches nothing else`, () => {
      fc.assert(
        fc.property(content, fc.nat(100), fc.constantFrom(-5, 1, 2, 3), (plain, at, level) => {
          const target = Buffer.alloc(plain.length + 2000, 0xaa);
          const length = write.compress(plain, level, target.subarray(0, -50), at) ?? NaN;
          expect(target.subarray(0, at).every((byte) => byte === 0xaa)).to.equal(true);
          expect(target.subarray(-50).every((byte) => byte === 0xaa)).to.equal(true);
          const back = Buffer.alloc(at + plain.length);
          expect(read.decompress(target.subarray(at, at + length), back, at)).to.equal(plain.length);
          expect(Buffer.compare(back.subarray(at), plain)).to.equal(0);

          const [key, nonce] = [randomBytes(32), randomBytes(12)];
          const sealed = Buffer.alloc(at + plain.length + 16 + 1, 0xaa);
          write.seal(key, nonce, plain, sealed, at);
          expect(sealed.at(-1)).to.equal(0xaa);
          const opened = Buffer.alloc(at + plain.length);
          expect(read.open(key, nonce, sealed.subarray(at, -1), opened, at)).to.equal(true);
          expect(Buffer.compare(opened.subarray(at), plain)).to.equal(0);
          const flipped = at + (plain.length >> 1);
          sealed.writeUInt8(sealed.readUInt8(flipped) ^ 1, flipped);
          expect(read.open(key, nonce, sealed.subarray(at, -1), opened, at)).to.equal(false);
        }),
        { numRuns: 60 },
      );
    });
  }

  it("says where there is no room, and writes nothing beyond it", () => {
    for (const codec of [nodeCodec, native ?? nodeCodec]) {
      const plain = randomBytes(5000);
      const target = Buffer.alloc(6000, 0xaa);
      expect(codec.compress(plain, 2, target.subarray(0, 4000), 0)).to.equal(null);
      expect(target.subarray(4000).every((byte) => byte === 0xaa)).to.equal(true);
      const length = codec.compress(plain, 2, target, 0) ?? NaN;
      expect(codec.decompress(target.subarray(0, length), Buffer.alloc(4999), 0)).to.equal(null);
      expect(codec.decompress(randomBytes(300), Buffer.alloc(6000), 0)).to.equal(null);
      expect(() => {
        codec.seal(randomBytes(32), randomBytes(12), plain, target.subarray(0, 5015), 0);
      }).to.throw(RangeError);
      expect(() => codec.open(randomBytes(32), randomBytes(12), Buffer.alloc(15), target, 0)).to.throw(RangeError);
    }
  });
});
