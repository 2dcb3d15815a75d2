import { expect } from "chai";
import fc from "fast-check";
import { cutFile, type Stretch } from "../../../../shared/repository/open/cut-file.ts";
import type { Extent } from "../../../../shared/repository/manifest.ts";
import type { SnapshotEntry } from "../../../../shared/repository/open/snapshot-reader.ts";

/** What extents stand for, in chunks that are made of their names and places. */
function bytesOf(extents: readonly Extent[]): string[] {
  return extents.flatMap(([name, offset, length]) =>
    Array.from({ length }, (_, index) => (name === null ? "0" : `${name}${offset + index}`)),
  );
}

describe("a file that is cut", () => {
  const extent = fc.tuple(
    fc.option(fc.constantFrom("a", "b", "c")),
    fc.integer({ min: 0, max: 9 }),
    fc.integer({ min: 1, max: 9 }),
  );
  const bounds = fc.uniqueArray(fc.nat(80), { maxLength: 8 }).map((all) => all.sort((a, b) => a - b));

  it("is these stretches of its content, and no other byte", () => {
    fc.assert(
      fc.property(fc.array(extent, { maxLength: 10 }), bounds, (extents, all) => {
        const bytes = bytesOf(extents);
        const within = all.filter((at) => at <= bytes.length);
        const stretches: Stretch[] = [];
        for (let at = 0; at + 1 < within.length; at += 2) stretches.push([within[at] ?? 0, within[at + 1] ?? 0]);
        const entry = { path: "f", type: "file", moreLines: 3, sizeBytes: bytes.length } as unknown as SnapshotEntry;
        const part = cutFile(entry, extents, stretches);
        const wanted = stretches.flatMap(([from, to]) => bytes.slice(from, to));
        expect(bytesOf(part.extents ?? [])).to.deep.equal(wanted);
        expect(part.sizeBytes).to.equal(wanted.length);
        expect(part).to.not.have.property("moreLines");
        expect((part.extents ?? []).every(([, , length]) => length > 0)).to.equal(true);
      }),
      { numRuns: 500 },
    );
  });
});
