import { BinaryReader, BinaryWriter } from "@bufbuild/protobuf/wire";
import { expect } from "chai";
import fc from "fast-check";
import { FieldReader } from "../../../shared/raft/field-reader.ts";

/** What a reader makes of the bytes, or that it refused them. */
function readAll(reader: { pos: number; len: number }, take: () => unknown): unknown[] {
  const values: unknown[] = [];
  try {
    while (reader.pos < reader.len) values.push(take());
  } catch {
    values.push("refused");
  }
  return values;
}

describe("the reader of fields", () => {
  it("reads numbers of every length as the library wrote them", () => {
    fc.assert(
      fc.property(fc.array(fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }), { minLength: 1 }), (numbers) => {
        const writer = new BinaryWriter();
        for (const number of numbers) writer.uint64(number);
        const bytes = writer.finish();
        const reader = new FieldReader(bytes);
        expect(readAll(reader, () => reader.uint64())).to.deep.equal(numbers);
        const counters = new FieldReader(bytes);
        expect(readAll(counters, () => counters.counter())).to.deep.equal(numbers.map(Number));
      }),
    );
  });

  it("reads fields as the library does, and refuses what it refuses, of any bytes", () => {
    const field = fc.oneof(
      fc.record({ tag: fc.constantFrom(0x08, 0x10, 0x78), number: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }) }),
      fc.record({ tag: fc.constantFrom(0x0a, 0x12, 0x7a), bytes: fc.uint8Array({ maxLength: 300 }) }),
    );
    const written = fc.array(field, { maxLength: 8 }).map((fields) => {
      const writer = new BinaryWriter();
      for (const each of fields) {
        if ("number" in each) writer.uint32(each.tag).uint64(each.number);
        else writer.uint32(each.tag).bytes(each.bytes);
      }
      return writer.finish();
    });
    const cut = fc.tuple(written, fc.nat(2000)).map(([bytes, at]) => bytes.subarray(0, at % (bytes.length + 1)));
    fc.assert(
      fc.property(fc.oneof(written, cut), (bytes) => {
        const ours = new FieldReader(bytes);
        const theirs = new BinaryReader(bytes);
        const mine = readAll(ours, () => ((ours.uint32() & 7) === 0 ? ours.uint64() : Buffer.from(ours.bytes())));
        const library = readAll(theirs, () =>
          (theirs.uint32() & 7) === 0 ? BigInt(theirs.uint64()) : Buffer.from(theirs.bytes()),
        );
        expect(mine).to.deep.equal(library);
      }),
    );
  });

  it("refuses numbers that are too long, and never reads beyond the end", () => {
    for (const bytes of [Buffer.alloc(11, 0xff), Buffer.from("ffffffffffffffffff02", "hex"), Buffer.from([0x80])]) {
      expect(() => new FieldReader(bytes).uint64()).to.throw(RangeError);
    }
    expect(() => new FieldReader(Buffer.from("ffffffff1f", "hex")).uint32()).to.throw(RangeError);
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 40 }), (bytes) => {
        const reader = new FieldReader(bytes);
        readAll(reader, () => {
          reader.skip(reader.uint32() & 7);
        });
        expect(reader.pos).to.be.at.most(bytes.length);
      }),
    );
  });
});
