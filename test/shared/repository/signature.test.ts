import { expect } from "chai";
import fc from "fast-check";
import { generateKeyPairSync, type KeyObject } from "node:crypto";
import {
  generateSigningKeyPair,
  publicKeyIn,
  publicKeyOf,
  signPayload,
  verifyPayload,
} from "../../../shared/repository/signature.ts";
import { expectCode } from "./expect-code.ts";

describe("signatures", () => {
  it("are made with Ed25519 keys alone, though keys of other kinds have an x too", () => {
    const encode = (key: KeyObject): string => key.export({ type: "pkcs8", format: "der" }).toString("base64");
    const strangers = [
      generateKeyPairSync("x25519").privateKey,
      generateKeyPairSync("ed448").privateKey,
      generateKeyPairSync("ec", { namedCurve: "P-256" }).privateKey,
    ];
    for (const key of strangers) expect(publicKeyIn(encode(key)), key.asymmetricKeyType).to.equal(null);
    const { privateKey, publicKey } = generateSigningKeyPair();
    expect(publicKeyIn(privateKey)).to.equal(publicKey);
    expect(publicKeyOf(privateKey)).to.equal(publicKey);
  });

  it("do not fit any other bytes that are given for a key, be they a point of the curve or none", async () => {
    const { privateKey } = generateSigningKeyPair();
    const signed = signPayload("skep/v1 job", "payload", privateKey);
    const keyBytes = fc.oneof(
      fc.uint8Array({ minLength: 32, maxLength: 32 }),
      fc.constantFrom(new Uint8Array(32), new Uint8Array(32).fill(255)),
    );
    await fc.assert(
      fc.asyncProperty(keyBytes, async (bytes) => {
        const key = Buffer.from(bytes).toString("base64");
        await expectCode("SKEP_SIGNATURE_INVALID", () => verifyPayload("skep/v1 job", signed, key, "a job"));
      }),
    );
  });
});
