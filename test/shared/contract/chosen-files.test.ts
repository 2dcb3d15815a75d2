import { expect } from "chai";
import { chosenFilesSchema } from "../../../shared/contract/chosen-files.ts";

const takes = (paths: (string | Buffer)[]): boolean =>
  chosenFilesSchema.safeParse({ paths: paths.map((path) => Buffer.from(path).toString("base64")), existing: "fail" })
    .success;

describe("files that are chosen of a volume", () => {
  it("are named from its root on, by any bytes that a name may have", () => {
    for (const path of ["", "a", "a/b", "..a/b..", "a/...", Buffer.from([0xff, 0xfe])])
      expect(takes([path])).to.be.true;
  });

  it("lead out of it by no name", () => {
    for (const path of ["..", "../a", "a/../../b", "a/..", "./a", "a/.", "/a", "a/", "a//b", "a\0b", "/"]) {
      expect(takes(["a", path]), path).to.be.false;
    }
  });

  it("are at most so many that the order which names them can be kept", () => {
    expect(takes([])).to.be.false;
    expect(takes(Array.from({ length: 1000 }, () => "a".repeat(100)))).to.be.true;
    expect(takes(Array.from({ length: 1001 }, () => "a"))).to.be.false;
    expect(takes(Array.from({ length: 100 }, () => "a".repeat(4000)))).to.be.false;
  });
});
