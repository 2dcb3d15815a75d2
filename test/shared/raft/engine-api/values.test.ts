import { expect } from "chai";
import { time } from "../../../../shared/raft/engine-api/values.ts";
import { makeMessage } from "../../../../shared/raft/swarmkit/message-types.ts";
import { SkepError } from "../../../../shared/errors.ts";

const at = (seconds: bigint, nanos = 0): string => time(makeMessage("Timestamp", { seconds, nanos }));

describe("times of a swarm's objects", () => {
  it("are written as engines write them, from the year 1 to the end of the year 9999", () => {
    expect(time(undefined)).to.equal("0001-01-01T00:00:00Z");
    expect(at(-62_135_596_800n)).to.equal("0001-01-01T00:00:00Z");
    expect(at(1_700_000_000n, 120_000_000)).to.equal("2023-11-14T22:13:20.12Z");
    expect(at(253_402_300_799n, 999_999_999)).to.equal("9999-12-31T23:59:59.999999999Z");
  });

  it("are refused where no calendar has them", () => {
    const odd: [bigint, number][] = [
      [-62_135_596_801n, 0],
      [253_402_300_800n, 0],
      [2n ** 63n - 1n, 0],
      [-(2n ** 63n), 0],
      [0n, -1],
      [0n, 1_000_000_000],
    ];
    for (const [seconds, nanos] of odd) {
      expect(() => at(seconds, nanos), `${seconds} ${nanos}`)
        .to.throw(SkepError)
        .with.property("code", "SKEP_RAFT_FORMAT");
    }
  });
});
