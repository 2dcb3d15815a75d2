import { expect } from "chai";
import fc from "fast-check";
import { readName, showName } from "../../../controller/cli/entry-name.ts";

describe("names of files on a terminal", () => {
  it("show no control character, no mark that turns the writing, and no byte that is no text", () => {
    expect(showName(Buffer.from("a\u001b[2Jb"))).to.equal("a\\x1b[2Jb");
    expect(showName(Buffer.from("x\u202egnp.exe"))).to.equal("x\\xe2\\x80\\xaegnp.exe");
    expect(showName(Buffer.from([0x66, 0xff, 0x0a]))).to.equal("f\\xff\\x0a");
    expect(showName(Buffer.from("größe\\x"))).to.equal("größe\\\\x");
  });

  it("come back from what was shown, whatever the bytes", () => {
    const names = fc.oneof(
      fc.uint8Array(),
      fc.string({ unit: "binary" }).map((text) => Buffer.from(text, "utf8")),
    );
    fc.assert(
      fc.property(names, (bytes) => {
        const shown = showName(Buffer.from(bytes));
        expect(/[\u0000-\u001f\u007f-\u009f]/.test(shown)).to.be.false;
        expect(readName(shown).equals(Buffer.from(bytes))).to.be.true;
      }),
    );
  });
});
