import { expect } from "chai";
import fc from "fast-check";
import { base64Bytes } from "../../shared/base64-bytes.ts";

describe("base64Bytes", () => {
  it("takes so many bytes and no other number of them, nor anything else", () => {
    const cases = fc.record({
      count: fc.integer({ min: 1, max: 70 }),
      bytes: fc.uint8Array({ minLength: 0, maxLength: 72 }),
    });
    fc.assert(
      fc.property(cases, ({ count, bytes }) => {
        const text = Buffer.from(bytes).toString("base64");
        expect(base64Bytes(count).safeParse(text).success).to.equal(bytes.length === count);
      }),
      { numRuns: 2000 },
    );
    fc.assert(
      fc.property(
        fc.string({ minLength: 44, maxLength: 44, unit: fc.constantFrom("A", "=", "+", "-", "\n") }),
        (text) => {
          const { success } = base64Bytes(32).safeParse(text);
          expect(success && Buffer.from(text, "base64").length !== 32).to.equal(false);
        },
      ),
    );
  });
});
