import { expect } from "chai";
import fc from "fast-check";
import { checkKey, checkPrefix, isKey, maxKeyBytes } from "../../../shared/store/key.ts";
import { SkepError } from "../../../shared/errors.ts";

const segment = fc.stringMatching(/^[a-z0-9_-][a-z0-9._-]{0,20}$/);

describe("object keys", () => {
  it("are taken whole, and so is each of their beginnings as a prefix", () => {
    fc.assert(
      fc.property(fc.array(segment, { minLength: 1, maxLength: 5 }), (segments) => {
        const key = segments.join("/");
        expect(checkKey(key)).to.equal(key);
        for (let length = 0; length <= key.length; length++) checkPrefix(key.slice(0, length));
      }),
    );
  });

  it("never leave a folder or hide in one, whatever the text", () => {
    fc.assert(
      fc.property(
        fc.array(fc.constantFrom("a", "..", ".", "/", "", ".x", "B", "\0", "é"), { maxLength: 8 }),
        (parts) => {
          const text = parts.join("");
          const sound = text !== "" && text.split("/").every((part) => /^[a-z0-9_-][a-z0-9._-]*$/.test(part));
          expect(isKey(text)).to.equal(sound);
        },
      ),
    );
  });

  it("have 512 bytes at most, and 255 in a segment", () => {
    expect(isKey("a".repeat(255))).to.be.true;
    expect(isKey("a".repeat(256))).to.be.false;
    const long = `${"a/".repeat(maxKeyBytes / 2 - 1)}aa`;
    expect([long.length, isKey(long), isKey(`${long}a`)]).to.deep.equal([512, true, false]);
    expect(() => checkPrefix(`${long}a`)).to.throw(SkepError, "list prefix is malformed");
  });
});
