import { expect } from "chai";
import fc from "fast-check";
import { randomBytes } from "node:crypto";
import { SkepError } from "../../../shared/errors.ts";
import { open, seal, sealedTypes, type SealedHeader, type SealedType } from "../../../shared/repository/sealed.ts";

const key = randomBytes(32);
const header: SealedHeader = {
  type: "index",
  repositoryId: "00112233445566778899aabbccddeeff",
  epoch: 3,
  writerId: "node1",
};
const types = Object.keys(sealedTypes) as SealedType[];

function codeOf(act: () => unknown): string {
  try {
    act();
  } catch (error) {
    if (error instanceof SkepError) return error.code;
    throw error;
  }
  return "opened";
}

describe("sealed objects", () => {
  it("open(seal(x)) = x for every type, writer and content", () => {
    const headers = fc.record({
      type: fc.constantFrom(...types),
      repositoryId: fc.constant(header.repositoryId),
      epoch: fc.integer({ min: 0, max: 0xffffffff }),
      writerId: fc.stringMatching(/^[a-z0-9]{0,64}$/),
    });
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 5000 }), headers, (plain, made) => {
        const opened = open(seal(plain, made, key), made, key, "x");
        expect(Buffer.from(opened).equals(plain)).to.be.true;
      }),
    );
  });

  it("refuses every flipped byte and every shortened object", () => {
    const sealed = seal(Buffer.from("some lines\n".repeat(20)), header, key);
    for (let at = 0; at < sealed.length; at++) {
      const flipped = Uint8Array.from(sealed);
      flipped[at] = (flipped[at] ?? 0) ^ 1;
      expect(
        codeOf(() => open(flipped, header, key, "x")),
        `byte ${at}`,
      ).to.match(/SEALED_INVALID|FORMAT_NEWER/);
      expect(
        codeOf(() => open(sealed.subarray(0, at), header, key, "x")),
        `cut at ${at}`,
      ).to.equal("SKEP_SEALED_INVALID");
    }
  });

  it("refuses another writer's, repository's or type's object, and another key", () => {
    const sealed = seal(Buffer.from("x"), header, key);
    for (const other of [{ writerId: "node2" }, { repositoryId: "f".repeat(32) }, { type: "refs" as const }]) {
      expect(codeOf(() => open(sealed, { ...header, ...other }, key, "x"))).to.equal("SKEP_SEALED_INVALID");
    }
    expect(codeOf(() => open(sealed, header, randomBytes(32), "x"))).to.equal("SKEP_SEALED_INVALID");
  });

  it("does not decompress beyond its bound", () => {
    const sealed = seal(Buffer.alloc(1_000_000), header, key);
    expect(codeOf(() => open(sealed, header, key, "x", 999_999))).to.equal("SKEP_SEALED_INVALID");
  });
});
