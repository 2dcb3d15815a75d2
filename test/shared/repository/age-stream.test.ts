import { expect } from "chai";
import fc from "fast-check";
import { randomBytes } from "node:crypto";
import { SkepError } from "../../../shared/errors.ts";
import { encryptAge, generateAgeIdentity, type AgeIdentity } from "../../../shared/repository/age.ts";
import { PayloadSealer } from "../../../shared/repository/age-sealer.ts";
import { openAgeHeader } from "../../../shared/repository/open/age.ts";
import { openAgeStream } from "../../../shared/repository/open/age-stream.ts";
import {
  isPassphraseHeader,
  makePassphraseHeader,
  openPassphraseHeader,
} from "../../../shared/repository/passphrase.ts";
import { expectCode } from "./expect-code.ts";

async function* sliced(bytes: Uint8Array, sliceBytes: number): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += sliceBytes) {
    await Promise.resolve();
    yield bytes.subarray(at, at + sliceBytes);
  }
}

describe("an age file as a stream", () => {
  let pair: AgeIdentity;
  before(async () => {
    pair = await generateAgeIdentity();
  });
  const open = async (file: Uint8Array, sliceBytes: number): Promise<Buffer> => {
    const unlock = (header: Uint8Array): Promise<Uint8Array> => openAgeHeader(header, [pair.identity], "the file");
    return Buffer.concat(await Array.fromAsync(openAgeStream(sliced(file, sliceBytes), unlock, "the file")));
  };

  it("opens to what was sealed, however it comes in slices and wherever its pieces end", async () => {
    for (const length of [0, 1, 65_535, 65_536, 65_537, 131_072, 200_001]) {
      const plain = randomBytes(length);
      const file = await encryptAge(plain, [pair.recipient]);
      for (const sliceBytes of [997, 65_552, file.length]) {
        expect((await open(file, sliceBytes)).equals(plain), `${length} in ${sliceBytes}`).to.equal(true);
      }
    }
  });

  it("is refused when it is cut anywhere, also between two pieces", async () => {
    const file = await encryptAge(randomBytes(200_001), [pair.recipient]);
    const payloadStart = file.length - (200_001 + 4 * 16);
    const cuts = [0, 1, 100, payloadStart - 1, payloadStart, file.length - 1];
    for (let piece = 1; piece < 4; piece++) cuts.push(payloadStart + piece * 65_552);
    for (const cut of cuts) await expectCode("SKEP_AGE_INVALID", () => open(file.subarray(0, cut), 4096));
  });

  it("gives a SkepError for any other bytes, and nothing that does not authenticate", async () => {
    const plain = randomBytes(70_000);
    const file = await encryptAge(plain, [pair.recipient]);
    const changed = fc.record({ at: fc.nat(file.length - 1), mask: fc.integer({ min: 1, max: 255 }) }).map((change) => {
      const bytes = Uint8Array.from(file);
      bytes[change.at] = (bytes[change.at] ?? 0) ^ change.mask;
      return bytes;
    });
    const property = fc.asyncProperty(fc.oneof(changed, fc.uint8Array({ maxLength: 500 })), async (bytes) => {
      const error = await open(bytes, 5000).then(
        () => null,
        (thrown: unknown) => thrown,
      );
      expect(error).to.be.instanceOf(SkepError);
    });
    await fc.assert(property, { numRuns: 60 });
  });
});

describe("an age file with a passphrase", () => {
  it("opens with its passphrase, and with no other", async () => {
    const { header, fileKey } = await makePassphraseHeader("correct horse", 12);
    expect(isPassphraseHeader(header)).to.equal(true);
    const file: Uint8Array[] = [header];
    const sealer = new PayloadSealer(fileKey, (sealed) => file.push(sealed));
    sealer.write(Buffer.from("a swarm"));
    sealer.finish();
    const open = (passphrase: string): Promise<Uint8Array[]> =>
      Array.fromAsync(
        openAgeStream(sliced(Buffer.concat(file), 100), (head) => openPassphraseHeader(head, passphrase, "it"), "it"),
      );
    expect(Buffer.concat(await open("correct horse")).toString()).to.equal("a swarm");
    await expectCode("SKEP_PASSPHRASE_WRONG", () => open("correct horsf"));
    expect(isPassphraseHeader(await encryptAge(Buffer.from("x"), [(await generateAgeIdentity()).recipient]))).to.equal(
      false,
    );
  });
});
