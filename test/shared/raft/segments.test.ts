import { expect } from "chai";

import { SkepError } from "../../../shared/errors.ts";
import {
  neededSegments,
  parseSegmentName,
  parseSnapshotName,
  segmentName,
  snapshotName,
} from "../../../shared/raft/segments.ts";

describe("segment names", () => {
  it("read what they write", () => {
    expect(segmentName(3, 0x1f)).to.equal("0000000000000003-000000000000001f.wal");
    expect(parseSegmentName(segmentName(3, 31))).to.include({ seq: 3, index: 31 });
    expect(parseSnapshotName(snapshotName(2, 700))).to.include({ term: 2, index: 700 });
  });

  it("are null for what is no segment", () => {
    const segment = segmentName(0, 0);
    for (const name of ["0.tmp", `${segment}.broken`, segment.toUpperCase(), snapshotName(1, 1), "x.wal"]) {
      expect(parseSegmentName(name), name).to.equal(null);
    }
  });
});

describe("neededSegments", () => {
  const names = [segmentName(2, 90), segmentName(1, 40), "1.tmp", segmentName(3, 120)];

  it("begins with the last segment that reaches back to the snapshot", () => {
    const seqs = (index: number) => neededSegments(names, index).map(({ seq }) => seq);
    expect(seqs(40)).to.deep.equal([1, 2, 3]);
    expect(seqs(89)).to.deep.equal([1, 2, 3]);
    expect(seqs(90)).to.deep.equal([2, 3]);
    expect(seqs(500)).to.deep.equal([3]);
  });

  it("refuses a log that does not reach back, or has a hole", () => {
    expect(() => neededSegments(names, 39)).to.throw(SkepError, "no segment reaches back to index 39");
    expect(() => neededSegments([segmentName(1, 40), segmentName(3, 120)], 50)).to.throw(SkepError, "does not follow");
  });
});
