import { expect } from "chai";
import * as format from "../../../controller/cli/format.ts";

describe("sizes and times for people", () => {
  it("writes sizes in powers of 1024", () => {
    expect([0, 1023, 1536, 5 * 1024 ** 3].map(format.bytes)).to.deep.equal(["0 B", "1023 B", "1.5 KiB", "5 GiB"]);
  });

  it("writes durations in two units at most", () => {
    expect([0, 850, 1_250, 61_000, 3_723_000, 90_061_000].map(format.duration)).to.deep.equal([
      "0ms",
      "850ms",
      "1.2s",
      "1m 1s",
      "1h 2m",
      "1d 1h",
    ]);
  });

  it("writes ages in the largest whole unit", () => {
    const now = Date.parse("2026-11-21T12:00:00.000Z");
    const of = (at: string): string => format.age(at, now);
    expect(of("2026-11-21T11:59:59.500Z")).to.equal("0 seconds ago");
    expect(of("2026-11-21T11:00:01.000Z")).to.equal("59 minutes ago");
    expect(of("2026-11-20T11:00:00.000Z")).to.equal("1 day ago");
    expect(of("2026-11-21T14:30:00.000Z")).to.equal("in 2 hours");
  });

  it("makes control characters visible and clips to a width", () => {
    expect(format.visible("a\u001b[2Jb\n")).to.equal("a\\x1b[2Jb\\x0a");
    expect(format.clip("a long name", 6)).to.equal("a lon…");
    expect(format.clip("short", 6)).to.equal("short");
  });
});
