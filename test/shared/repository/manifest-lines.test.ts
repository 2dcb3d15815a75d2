import { expect } from "chai";
import fc from "fast-check";
import { ExtentList } from "../../../shared/repository/extent-records.ts";
import { decodeContinuationLine, decodeEntryLine, entryLines } from "../../../shared/repository/manifest-lines.ts";
import { maxLineExtents, type Extent, type ManifestEntry } from "../../../shared/repository/manifest.ts";

const entry: ManifestEntry = { path: "f", type: "file", mode: 0o644, uid: 0, gid: 0, mtimeNs: "1", sizeBytes: 7 };

function recordsOf(count: number): { records: Uint8Array; extents: Extent[] } {
  const list = new ExtentList();
  const extents: Extent[] = [];
  const name = Buffer.alloc(32, 7);
  for (let number = 0; number < count; number++) {
    name.writeUInt32LE(number);
    list.add(name, 0, number + 1);
    extents.push([name.toString("hex"), 0, number + 1]);
  }
  return { records: list.take(), extents };
}

describe("the lines of a file", () => {
  it("come back as they were, of however many extents", () => {
    const counts = fc.oneof(fc.constantFrom(0, 1, maxLineExtents, maxLineExtents + 1), fc.nat(5 * maxLineExtents));
    fc.assert(
      fc.property(counts, (count) => {
        const { records, extents } = recordsOf(count);
        const [first = "", ...more] = entryLines(entry, records);
        const { extents: begun = [], moreLines = 0, ...rest } = decodeEntryLine(first, "here");
        expect(rest).to.deep.equal(entry);
        expect(moreLines).to.equal(more.length);
        const whole = [...begun, ...more.flatMap((line) => decodeContinuationLine(line, "here"))];
        expect(JSON.stringify(whole)).to.equal(JSON.stringify(extents));
      }),
      { numRuns: 20 },
    );
  });

  it("are made one after the other: those of a terabyte are never held", () => {
    const records = new Uint8Array(2 ** 20 * 44).fill(1);
    let lines = 0;
    let longest = 0;
    const before = process.memoryUsage().rss;
    let most = 0;
    for (const line of entryLines(entry, records)) {
      lines++;
      longest = Math.max(longest, line.length);
      most = Math.max(most, process.memoryUsage().rss);
    }
    expect(lines).to.equal(256);
    expect(longest).to.be.lessThan(512 * 1024);
    // As one array and one text they take 300 MB.
    expect(most - before).to.be.lessThan(128 * 2 ** 20);
  });
});
