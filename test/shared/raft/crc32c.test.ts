import { expect } from "chai";
import fc from "fast-check";

import { crc32c } from "../../../shared/raft/crc32c.ts";

describe("crc32c", () => {
  it("gives the values of RFC 3720, appendix B.4", () => {
    expect(crc32c(new Uint8Array(32))).to.equal(0x8a9136aa);
    expect(crc32c(new Uint8Array(32).fill(0xff))).to.equal(0x62a8ab43);
    expect(crc32c(Uint8Array.from({ length: 32 }, (_, at) => at))).to.equal(0x46dd794e);
    expect(crc32c(Buffer.from("123456789"))).to.equal(0xe3069283);
  });

  it("goes on from the value before, wherever the bytes are split", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), fc.nat(200), (bytes, at) => {
        expect(crc32c(bytes.subarray(at), crc32c(bytes.subarray(0, at)))).to.equal(crc32c(bytes));
      }),
    );
  });
});
