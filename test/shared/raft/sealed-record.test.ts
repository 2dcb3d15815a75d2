import { expect } from "chai";
import fc from "fast-check";

import { SkepError } from "../../../shared/errors.ts";
import {
  algorithm,
  decodeSealedRecord,
  encodeSealedRecord,
  openRecord,
  sealRecord,
} from "../../../shared/raft/sealed-record.ts";

const key = Buffer.alloc(32, 1);
const other = Buffer.alloc(32, 2);

describe("sealed records", () => {
  for (const how of [algorithm.secretbox, algorithm.fernet]) {
    it(`open what was sealed, with no other key (algorithm ${how})`, () => {
      fc.assert(
        fc.property(fc.uint8Array({ maxLength: 300 }), (plain) => {
          const opened = openRecord(sealRecord(plain, key, how), key);
          expect(opened).not.to.equal(null);
          expect(Buffer.compare(opened ?? Buffer.alloc(1), plain)).to.equal(0);
        }),
        { numRuns: 30 },
      );
      expect(openRecord(sealRecord(Buffer.from("x"), key, how), other)).to.equal(null);
    });

    it(`open to nothing when a bit is flipped (algorithm ${how})`, () => {
      const sealed = sealRecord(Buffer.from("plain"), key, how);
      for (let at = 0; at < sealed.length; at++) {
        const flipped = Uint8Array.from(sealed);
        flipped[at] = (flipped[at] ?? 0) ^ 4;
        let opened: Uint8Array | null = null;
        try {
          opened = openRecord(flipped, key);
        } catch (error) {
          expect(error, `byte ${at}`).to.be.instanceOf(SkepError);
        }
        expect(opened, `byte ${at}`).to.equal(null);
      }
    });
  }

  it("opens the token of the Fernet specification", () => {
    // github.com/fernet/spec, verify.json
    const specKey = Buffer.from("cw_0x689RpI-jtRR7oE8h_eQsKImvJapLeSbXpwF4e4=", "base64url");
    const token =
      "gAAAAAAdwJ6wAAECAwQFBgcICQoLDA0ODy021cpGVWKZ_eEwCGM4BLLF_5CV9dOPmrhuVUPgJobwOz7JcbmrR64jVmpU4IwqDA==";
    const record = encodeSealedRecord({ algorithm: 2, data: Buffer.from(token), nonce: new Uint8Array() });
    expect(Buffer.from(openRecord(record, specKey) ?? []).toString()).to.equal("hello");
  });

  it("opens a secretbox of the NaCl test suite", () => {
    // NaCl tests/secretbox.c: firstkey, nonce, first bytes of c; m = be075fc5…
    const firstKey = Buffer.from("1b27556473e985d462cd51197a9a46c76009549eac6474f206c4ee0844f68389", "hex");
    const nonce = Buffer.from("69696ee955b62b73cd62bda875fc73d68219e0036b7a0b37", "hex");
    const data = Buffer.from(
      "f3ffc7703f9400e52a7dfb4b3d3305d98e993b9f48681273c29650ba32fc76ce48332ea7164d96a4476fb8c531a1186ac0dfc17c98dce87b4da7f011ec48c97271d2c20f9b928fe2270d6fb863d51738b48eeee314a7cc8ab932164548e526ae90224368517acfeabd6bb3732bc0e9da99832b61ca01b6de56244a9e88d5f9b37973f622a43d14a6599b1f654cb45a74e355a5",
      "hex",
    );
    const opened = openRecord(encodeSealedRecord({ algorithm: 1, data, nonce }), firstKey);
    expect(Buffer.from(opened ?? []).toString("hex")).to.match(/^be075fc53c81f2d5cf141316ebeb0c7b/);
  });

  it("refuse records in clear, of unknown algorithms, or cut short", () => {
    const records = [
      { algorithm: 0, data: Buffer.from("clear"), nonce: new Uint8Array() },
      { algorithm: 3, data: Buffer.alloc(40), nonce: Buffer.alloc(24) },
      { algorithm: 1, data: Buffer.alloc(15), nonce: Buffer.alloc(24) },
      { algorithm: 1, data: Buffer.alloc(40), nonce: Buffer.alloc(23) },
      { algorithm: 2, data: Buffer.from("gAAA"), nonce: new Uint8Array() },
    ];
    for (const record of records) expect(() => openRecord(encodeSealedRecord(record), key)).to.throw(SkepError);
    expect(() => decodeSealedRecord(Buffer.from([0x12, 9, 1]))).to.throw(SkepError);
  });
});
