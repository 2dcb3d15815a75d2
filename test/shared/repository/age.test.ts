import { armor, Decrypter, Encrypter } from "age-encryption";
import { expect } from "chai";
import fc from "fast-check";
import { execFileSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import {
  encryptAge,
  encryptWithPassphrase,
  generateAgeIdentity,
  makeAgeHeader,
} from "../../../shared/repository/age.ts";
import { PayloadSealer } from "../../../shared/repository/age-sealer.ts";
import { payloadNonceBytes, plainPayloadBytes, sealedPayloadBytes } from "../../../shared/repository/age-payload.ts";
import {
  decryptAge,
  decryptWithPassphrase,
  findHeaderEnd,
  isAgeFile,
  openAgeHeader,
  openAgePayload,
} from "../../../shared/repository/open/age.ts";
import { PayloadOpener } from "../../../shared/repository/open/payload-opener.ts";
import { expectCode } from "./expect-code.ts";
import { makeScratch } from "./scratch.ts";

// Around the edges of the 64 KiB pieces.
const lengths = [0, 1, 65535, 65536, 65537, 131071, 131072, 131073, 300_000];

describe("age files", () => {
  it("open with our reader and with the age command, whatever their length", async () => {
    const scratch = makeScratch();
    try {
      const { identity, recipient } = await generateAgeIdentity();
      const other = await generateAgeIdentity();
      const identityPath = join(scratch.path, "identity.txt");
      const filePath = join(scratch.path, "file.age");
      writeFileSync(identityPath, `${identity}\n`, { mode: 0o600 });
      for (const length of lengths) {
        const plain = randomBytes(length);
        const file = await encryptAge(plain, [other.recipient, recipient]);
        expect((await decryptAge(file, [identity], "x")).equals(plain)).to.be.true;
        expect((await decryptAge(file, [other.identity], "x")).equals(plain)).to.be.true;
        writeFileSync(filePath, file);
        const byCommand = execFileSync("age", ["-d", "-i", identityPath, filePath], { maxBuffer: 1 << 24 });
        expect(byCommand.equals(plain), `${length} bytes by the age command`).to.be.true;
      }
    } finally {
      scratch.remove();
    }
  });

  it("made by the age command open with our reader", async () => {
    const scratch = makeScratch();
    try {
      const { identity, recipient } = await generateAgeIdentity();
      const filePath = join(scratch.path, "file.age");
      for (const length of lengths) {
        const plain = randomBytes(length);
        execFileSync("age", ["-r", recipient, "-o", filePath], { input: plain });
        expect((await decryptAge(readFileSync(filePath), [identity], "x")).equals(plain)).to.be.true;
      }
    } finally {
      scratch.remove();
    }
  });

  it("of the post-quantum hybrid open with our reader and with the age-encryption package, and the package's with ours", async () => {
    const { identity, recipient } = await generateAgeIdentity("hybrid");
    expect(identity).to.match(/^AGE-SECRET-KEY-PQ-1/);
    expect(recipient).to.match(/^age1pq1/);
    for (const length of [0, 1, 65_537]) {
      const plain = randomBytes(length);
      const ours = await encryptAge(plain, [recipient]);
      expect((await decryptAge(ours, [identity], "x")).equals(plain)).to.be.true;
      const decrypter = new Decrypter();
      decrypter.addIdentity(identity);
      expect(Buffer.from(await decrypter.decrypt(ours)).equals(plain)).to.be.true;
      const encrypter = new Encrypter();
      encrypter.addRecipient(recipient);
      expect((await decryptAge(await encrypter.encrypt(plain), [identity], "x")).equals(plain)).to.be.true;
      const other = (await generateAgeIdentity("hybrid")).identity;
      await expectCode("SKEP_IDENTITY_DOES_NOT_FIT", () => decryptAge(ours, [other], "x"));
    }
  });

  it("with a passphrase open with our reader and with the package, armoured or not; nothing else opens them", async () => {
    const plain = randomBytes(1000);
    const file = Buffer.from(await encryptWithPassphrase(plain, "correct horse", 12), "utf8");
    expect(isAgeFile(file)).to.be.true;
    expect(Buffer.from(await decryptWithPassphrase(file, "correct horse", "x")).equals(plain)).to.be.true;
    const decrypter = new Decrypter();
    decrypter.addPassphrase("correct horse");
    const bare = armor.decode(file.toString("utf8"));
    expect(isAgeFile(bare)).to.be.true;
    expect(Buffer.from(await decrypter.decrypt(bare)).equals(plain)).to.be.true;
    expect(Buffer.from(await decryptWithPassphrase(bare, "correct horse", "x")).equals(plain)).to.be.true;
    await expectCode("SKEP_PASSPHRASE_WRONG", () => decryptWithPassphrase(file, "battery staple", "x"));
    await expectCode("SKEP_AGE_INVALID", () => decryptWithPassphrase(file.subarray(0, 60), "correct horse", "x"));
    expect(isAgeFile(plain)).to.be.false;
  }).timeout(60_000);

  it("come out the same however the plaintext is sliced", async () => {
    const { fileKey } = await makeAgeHeader([(await generateAgeIdentity()).recipient]);
    const plain = randomBytes(200_001);
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 0, max: 200_001 }), { maxLength: 12 }), (cuts) => {
        const parts: Uint8Array[] = [];
        const sealer = new PayloadSealer(fileKey, (sealed) => parts.push(sealed));
        const edges = [0, ...cuts.sort((a, b) => a - b), plain.length];
        for (let at = 1; at < edges.length; at++) sealer.write(plain.subarray(edges[at - 1], edges[at]));
        sealer.finish();
        expect(openAgePayload(Buffer.concat(parts), fileKey, "x").equals(plain)).to.be.true;
      }),
      { numRuns: 30 },
    );
  });

  it("open by ranges of pieces", async () => {
    const { fileKey } = await makeAgeHeader([(await generateAgeIdentity()).recipient]);
    for (const length of lengths.filter((candidate) => candidate > 0)) {
      const plain = randomBytes(length);
      const parts: Uint8Array[] = [];
      const sealer = new PayloadSealer(fileKey, (sealed) => parts.push(sealed));
      sealer.write(plain);
      sealer.finish();
      const payload = Buffer.concat(parts);
      const nonce = payload.subarray(0, payloadNonceBytes);
      const opener = new PayloadOpener(fileKey, nonce, payload.length, "x");
      expect(opener.plainBytes).to.equal(length);
      fc.assert(
        fc.property(fc.integer({ min: 0, max: length - 1 }), fc.integer({ min: 1, max: length }), (start, size) => {
          const end = Math.min(length, start + size);
          const range = opener.sealedRange(start, end);
          const sealed = payload.subarray(payloadNonceBytes + range.start, payloadNonceBytes + range.end);
          const opened = opener.open(sealed, range.firstPiece);
          const skipped = start - range.firstPiece * 65536;
          expect(opened.subarray(skipped, skipped + end - start).equals(plain.subarray(start, end))).to.be.true;
        }),
        { numRuns: 20 },
      );
    }
  });

  it("know their length from that of the plaintext, and back", () => {
    fc.assert(
      fc.property(fc.nat({ max: 10_000_000 }), (plain) => {
        expect(plainPayloadBytes(sealedPayloadBytes(plain))).to.equal(plain);
      }),
    );
    for (const impossible of [0, 16, 31, 16 + 65552 + 1, 16 + 65552 + 16]) {
      expect(plainPayloadBytes(impossible), String(impossible)).to.be.null;
    }
  });

  it("are refused when any byte is flipped or the end is cut off", async () => {
    const { identity, recipient } = await generateAgeIdentity();
    const file = await encryptAge(randomBytes(70_000), [recipient]);
    const header = findHeaderEnd(file);
    expect(header).to.be.a("number");
    const places = [...Array(header).keys(), header, 300, 5000, 65_900, file.length - 1] as number[];
    for (const at of places) {
      const flipped = Uint8Array.from(file);
      flipped[at] = (flipped[at] ?? 0) ^ 1;
      // A flip within the name of the stanza or its share makes it one for somebody else, or a broken one.
      let refused = false;
      try {
        await decryptAge(flipped, [identity], "x");
      } catch (error) {
        refused = true;
        expect((error as { code?: string }).code, `byte ${at}`).to.match(/^SKEP_(AGE_INVALID|IDENTITY_DOES_NOT_FIT)$/);
      }
      expect(refused, `byte ${at}`).to.be.true;
    }
    for (const length of [0, 10, header ?? 0, file.length - 1, file.length - 4500, file.length - 16]) {
      await expectCode("SKEP_AGE_INVALID", () => decryptAge(file.subarray(0, length), [identity], "x"));
    }
    const headerBytes = file.subarray(0, header ?? 0);
    await expectCode("SKEP_IDENTITY_DOES_NOT_FIT", async () =>
      openAgeHeader(headerBytes, [(await generateAgeIdentity()).identity], "x"),
    );
    await expectCode("SKEP_RECIPIENT_INVALID", () => makeAgeHeader(["age1nonsense"]));
  });
});
