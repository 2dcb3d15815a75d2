import { expect } from "chai";
import fc from "fast-check";

import { SkepError } from "../../../shared/errors.ts";
import { decodeSnapshotFile, encodeSnapshotFile } from "../../../shared/raft/snapshot-file.ts";

const snapshot = { index: 700, term: 3, voters: [5n, 2n ** 62n + 1n], data: Buffer.from("sealed") };

describe("snapshot files", () => {
  it("decode what was encoded", () => {
    fc.assert(
      fc.property(
        fc.record({
          index: fc.integer({ min: 1, max: 2 ** 50 }),
          term: fc.integer({ min: 1, max: 2 ** 40 }),
          voters: fc.array(fc.bigInt({ min: 1n, max: 2n ** 63n - 1n })),
          data: fc.uint8Array(),
        }),
        (any) => {
          const decoded = decodeSnapshotFile(encodeSnapshotFile(any));
          expect({ ...decoded, data: Uint8Array.from(decoded.data) }).to.deep.equal(any);
        },
      ),
    );
  });

  it("show every flipped bit and every truncation", () => {
    const good = encodeSnapshotFile(snapshot);
    for (let at = 0; at < good.length; at++) {
      expect(() => decodeSnapshotFile(good.subarray(0, at)), `cut at ${at}`).to.throw(SkepError);
      for (let bit = 0; bit < 8; bit++) {
        const flipped = Uint8Array.from(good);
        flipped[at] = (flipped[at] ?? 0) ^ (1 << bit);
        expect(() => decodeSnapshotFile(flipped), `bit ${bit} of byte ${at}`).to.throw(SkepError);
      }
    }
  });

  it("give a SkepError for any bytes", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 100 }), (bytes) => {
        expect(() => decodeSnapshotFile(bytes)).to.throw(SkepError);
      }),
    );
  });
});
