// Payloads that are right and payloads that are wrong in one way each: the cases of the age test vectors (C2SP CCTV,
// "stream_…"), made here from age-encryption.org/v1 §Payload by a sealer of their own. Ours, the age-encryption package
// and the `age` command must take and refuse the same ones.
import { Decrypter } from "age-encryption";
import { expect } from "chai";
import { spawnSync } from "node:child_process";
import { createCipheriv, hkdfSync, randomBytes } from "node:crypto";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { generateAgeIdentity, makeAgeHeader, type AgeHeader } from "../../../shared/repository/age.ts";
import { decryptAge } from "../../../shared/repository/open/age.ts";
import { SkepError } from "../../../shared/errors.ts";
import { makeScratch } from "./scratch.ts";

const full = 64 * 1024;

interface Piece {
  plainBytes: number;
  last?: boolean;
  /** Counts in the nonce; by default its place. */
  number?: number;
}

interface Case {
  title: string;
  pieces: Piece[];
  /** Null: it must open. */
  wrong: ((payload: Buffer) => Buffer) | "as it is" | null;
}

const flip =
  (at: number) =>
  (payload: Buffer): Buffer => {
    const changed = Buffer.from(payload);
    const place = at < 0 ? changed.length + at : at;
    changed[place] = (changed[place] ?? 0) ^ 1;
    return changed;
  };
const cut =
  (bytes: number) =>
  (payload: Buffer): Buffer =>
    payload.subarray(0, payload.length - bytes);
const add =
  (bytes: number) =>
  (payload: Buffer): Buffer =>
    Buffer.concat([payload, randomBytes(bytes)]);

const cases: Case[] = [
  { title: "an empty file", pieces: [{ plainBytes: 0, last: true }], wrong: null },
  { title: "one short piece", pieces: [{ plainBytes: 10, last: true }], wrong: null },
  { title: "a last piece that is full", pieces: [{ plainBytes: full, last: true }], wrong: null },
  { title: "two pieces", pieces: [{ plainBytes: full }, { plainBytes: 1, last: true }], wrong: null },
  { title: "two full pieces", pieces: [{ plainBytes: full }, { plainBytes: full, last: true }], wrong: null },
  {
    title: "three pieces",
    pieces: [{ plainBytes: full }, { plainBytes: full }, { plainBytes: 9, last: true }],
    wrong: null,
  },
  { title: "no piece", pieces: [], wrong: "as it is" },
  { title: "no nonce", pieces: [], wrong: (payload) => payload.subarray(0, 0) },
  { title: "half a nonce", pieces: [], wrong: (payload) => payload.subarray(0, 8) },
  { title: "half a tag", pieces: [{ plainBytes: 0, last: true }], wrong: cut(8) },
  { title: "no tag", pieces: [{ plainBytes: 10, last: true }], wrong: cut(16) },
  { title: "a flipped nonce", pieces: [{ plainBytes: 10, last: true }], wrong: flip(3) },
  { title: "a flipped byte", pieces: [{ plainBytes: 10, last: true }], wrong: flip(20) },
  { title: "a flipped tag", pieces: [{ plainBytes: 10, last: true }], wrong: flip(-1) },
  {
    title: "a flipped tag of the second piece",
    pieces: [{ plainBytes: full }, { plainBytes: 9, last: true }],
    wrong: flip(-1),
  },
  {
    title: "a flipped tag of a full second piece",
    pieces: [{ plainBytes: full }, { plainBytes: full, last: true }],
    wrong: flip(-1),
  },
  { title: "no last piece", pieces: [{ plainBytes: 10 }], wrong: "as it is" },
  { title: "no last piece, full", pieces: [{ plainBytes: full }], wrong: "as it is" },
  { title: "no last piece of two", pieces: [{ plainBytes: full }, { plainBytes: 10 }], wrong: "as it is" },
  { title: "no last piece of two full ones", pieces: [{ plainBytes: full }, { plainBytes: full }], wrong: "as it is" },
  {
    title: "an empty last piece behind another",
    pieces: [{ plainBytes: full }, { plainBytes: 0, last: true }],
    wrong: "as it is",
  },
  {
    title: "a short piece before the last",
    pieces: [{ plainBytes: 10 }, { plainBytes: 10, last: true }],
    wrong: "as it is",
  },
  {
    title: "a short second piece of three",
    pieces: [{ plainBytes: full }, { plainBytes: 10 }, { plainBytes: 10, last: true }],
    wrong: "as it is",
  },
  {
    title: "two last pieces",
    pieces: [
      { plainBytes: full, last: true },
      { plainBytes: 10, last: true },
    ],
    wrong: "as it is",
  },
  {
    title: "two last pieces, full",
    pieces: [
      { plainBytes: full, last: true },
      { plainBytes: full, last: true },
    ],
    wrong: "as it is",
  },
  { title: "a few bytes behind the end", pieces: [{ plainBytes: 10, last: true }], wrong: add(5) },
  { title: "many bytes behind the end", pieces: [{ plainBytes: full, last: true }], wrong: add(100) },
  {
    title: "a piece too many behind a full last one",
    pieces: [{ plainBytes: full, last: true }],
    wrong: add(full + 16),
  },
  {
    title: "pieces that changed places",
    pieces: [
      { plainBytes: full, number: 1 },
      { plainBytes: full, number: 0 },
      { plainBytes: 1, last: true },
    ],
    wrong: "as it is",
  },
  {
    title: "a first piece that came twice",
    pieces: [{ plainBytes: full }, { plainBytes: full, number: 0 }, { plainBytes: 1, last: true }],
    wrong: "as it is",
  },
  {
    title: "a number that was left out",
    pieces: [{ plainBytes: full }, { plainBytes: 1, last: true, number: 2 }],
    wrong: "as it is",
  },
];

function seal(fileKey: Uint8Array, pieces: readonly Piece[], plain: Buffer): Buffer {
  const nonce = randomBytes(16);
  const key = new Uint8Array(hkdfSync("sha256", fileKey, nonce, "payload", 32));
  const parts: Uint8Array[] = [nonce];
  let at = 0;
  for (const [place, { plainBytes, last = false, number = place }] of pieces.entries()) {
    const pieceNonce = Buffer.alloc(12);
    pieceNonce.writeUInt32BE(number, 7);
    pieceNonce.writeUInt8(last ? 1 : 0, 11);
    const cipher = createCipheriv("chacha20-poly1305", key, pieceNonce, { authTagLength: 16 });
    parts.push(cipher.update(plain.subarray(at, at + plainBytes)), cipher.final(), cipher.getAuthTag());
    at += plainBytes;
  }
  return Buffer.concat(parts);
}

describe("the payload of an age file", () => {
  let scratch: ReturnType<typeof makeScratch>;
  let identity: string;
  let header: AgeHeader;
  before(async () => {
    scratch = makeScratch();
    const pair = await generateAgeIdentity();
    identity = pair.identity;
    header = await makeAgeHeader([pair.recipient]);
    writeFileSync(join(scratch.path, "identity.txt"), `${identity}\n`, { mode: 0o600 });
  });
  after(() => {
    scratch.remove();
  });

  /** Null where it was refused. */
  async function byOurs(file: Buffer): Promise<Buffer | null> {
    try {
      return await decryptAge(file, [identity], "x");
    } catch (error) {
      if (error instanceof SkepError && error.code === "SKEP_AGE_INVALID") return null;
      throw error;
    }
  }
  async function byPackage(file: Buffer): Promise<Buffer | null> {
    const decrypter = new Decrypter();
    decrypter.addIdentity(identity);
    return await decrypter.decrypt(file).then(
      (plain) => Buffer.from(plain),
      () => null,
    );
  }
  function byCommand(file: Buffer): Buffer | null {
    const argv = ["-d", "-i", join(scratch.path, "identity.txt")];
    const { status, stdout } = spawnSync("age", argv, { input: file, maxBuffer: 1 << 24 });
    return status === 0 ? stdout : null;
  }

  for (const { title, pieces, wrong } of cases) {
    it(`${wrong === null ? "opens with" : "is refused with"} ${title}, by all three`, async () => {
      const plain = randomBytes(pieces.reduce((total, { plainBytes }) => total + plainBytes, 0));
      const sealed = seal(header.fileKey, pieces, plain);
      const payload = typeof wrong === "function" ? wrong(sealed) : sealed;
      const file = Buffer.concat([header.header, payload]);
      const opened = { ours: await byOurs(file), package: await byPackage(file), command: byCommand(file) };
      for (const [who, content] of Object.entries(opened)) {
        if (wrong === null) expect(content?.equals(plain), who).to.equal(true);
        else expect(content, who).to.equal(null);
      }
    });
  }
});
