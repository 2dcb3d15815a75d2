// Every decoder of the repository gets what it was not made for: bytes at random, and right ones that were changed.
// It may refuse with a SkepError, or read something; never another error, never for long, never a great deal.
import { expect } from "chai";
import fc from "fast-check";
import { randomBytes } from "node:crypto";
import { SkepError } from "../../../shared/errors.ts";
import { encryptAge, generateAgeIdentity, makeAgeHeader, PayloadSealer } from "../../../shared/repository/age.ts";
import { decodeControllerKey } from "../../../shared/repository/controller-key.ts";
import { encodeChunkFrame } from "../../../shared/repository/chunk-frame.ts";
import { keyedDigest } from "../../../shared/repository/blake3.ts";
import { decodeIdentityFile } from "../../../shared/repository/identity-file.ts";
import { ExtentList } from "../../../shared/repository/extent-records.ts";
import { decodeContinuationLine, decodeEntryLine, entryLines } from "../../../shared/repository/manifest-lines.ts";
import { decodeKitList, encodeKitList } from "../../../shared/repository/kit-list.ts";
import { decryptAge, openAgePayload } from "../../../shared/repository/open/age.ts";
import { openChunkFrame } from "../../../shared/repository/open/sealed-window.ts";
import { decodeChunkTable, encodeChunkTable } from "../../../shared/repository/pack-format.ts";
import { decodePackLines, decodeRefs, encodePackLine } from "../../../shared/repository/refs.ts";
import { decodeRepositoryKey, encodeRepositoryKey } from "../../../shared/repository/repository-key.ts";
import { decodeRepositoryObject } from "../../../shared/repository/repository-object.ts";
import { open, seal } from "../../../shared/repository/sealed.ts";
import { generateSigningKeyPair } from "../../../shared/repository/signature.ts";

const digestText = "ab".repeat(32);
const key = randomBytes(32);
const place = "x";

interface Decoder {
  name: string;
  /** Right input. */
  sample: Uint8Array;
  decode: (bytes: Uint8Array) => unknown;
}

async function decoders(): Promise<Decoder[]> {
  const { identity, recipient } = await generateAgeIdentity();
  const { fileKey } = await makeAgeHeader([recipient]);
  const payload: Uint8Array[] = [];
  const sealer = new PayloadSealer(fileKey, (sealed) => payload.push(sealed));
  sealer.write(randomBytes(70_000));
  sealer.finish();
  const chunk = Buffer.from("a chunk ".repeat(100));
  const frame = { name: keyedDigest(key, chunk), start: 0, frameBytes: 0, plainBytes: chunk.length };
  const header = { type: "refs", repositoryId: "00".repeat(16), epoch: 1, writerId: "node1" } as const;
  const refs = { pack: digestText, sizeBytes: 10, headerBytes: 5, epoch: 1, chunks: [[digestText, 0, 1, 2]] };
  const line = encodePackLine(refs as Parameters<typeof encodePackLine>[0]);
  const refsHeader = {
    format: 1,
    repositoryId: "00".repeat(16),
    runId: "20261121-030000-abcdef",
    writerId: "node1",
    packs: 1,
    chunks: 1,
    plainBytes: 2,
    pages: [],
  };
  const extents = new ExtentList();
  extents.add(Buffer.from(digestText, "hex"), 0, 3);
  const entry = [
    ...entryLines(
      { path: "a/b", type: "file", mode: 0o644, uid: 0, gid: 0, mtimeNs: "1", sizeBytes: 3 },
      extents.take(),
    ),
  ].join("");
  const root = generateSigningKeyPair();
  const text = (bytes: Uint8Array): string => Buffer.from(bytes).toString("utf8");
  return [
    { name: "age file", sample: await encryptAge(chunk, [recipient]), decode: (b) => decryptAge(b, [identity], place) },
    { name: "age payload", sample: Buffer.concat(payload), decode: (b) => openAgePayload(b, fileKey, place) },
    { name: "sealed object", sample: seal(chunk, header, key), decode: (b) => open(b, header, key, place, 1e6) },
    {
      name: "chunk table",
      sample: encodeChunkTable([{ name: randomBytes(32), frameBytes: 1, plainBytes: 2 }]),
      decode: (b) => decodeChunkTable(b, place),
    },
    {
      name: "kit list",
      sample: encodeKitList(
        { format: 1, repositoryId: "00".repeat(16), version: 1, createdAt: "2026-11-21T03:00:00.000Z", kits: [] },
        root.privateKey,
      ),
      decode: (b) => decodeKitList(b, root.publicKey, place),
    },
    { name: "chunk frame", sample: encodeChunkFrame(chunk), decode: (b) => openChunkFrame(b, frame, key, place) },
    { name: "pack lines", sample: Buffer.from(line), decode: (b) => decodePackLines(b, place) },
    {
      name: "refs",
      sample: Buffer.from(`${JSON.stringify(refsHeader)}\n${line}`),
      decode: (b) => decodeRefs(b, place),
    },
    { name: "manifest line", sample: Buffer.from(entry), decode: (b) => decodeEntryLine(text(b), place) },
    {
      name: "continuation line",
      sample: Buffer.from(JSON.stringify({ extents: [[null, 0, 9]] })),
      decode: (b) => decodeContinuationLine(text(b), place),
    },
    { name: "repository key", sample: encodeRepositoryKey(key), decode: (b) => decodeRepositoryKey(b, place) },
    {
      name: "repository object",
      sample: Buffer.from(JSON.stringify({ payload: "{}", signature: "A".repeat(86) + "==" })),
      decode: (b) => decodeRepositoryObject(b, root.publicKey, place),
    },
    {
      name: "identity and controller key files",
      sample: Buffer.from(`# name: x\n# root signing key: ${root.privateKey}\n${identity}\n`),
      decode: (b) => {
        allowRefusal(() => decodeIdentityFile(text(b), place));
        decodeControllerKey(text(b), place);
      },
    },
  ];
}

function allowRefusal(act: () => unknown): void {
  try {
    act();
  } catch (error) {
    if (!(error instanceof SkepError)) throw error;
  }
}

/** A few bytes changed, some cut out, some put in, or all at random. */
function mutated(sample: Uint8Array): fc.Arbitrary<Uint8Array> {
  const change = fc.record({
    at: fc.nat({ max: sample.length }),
    cut: fc.oneof(fc.constant(0), fc.nat({ max: 40 }), fc.nat({ max: sample.length })),
    put: fc.uint8Array({ maxLength: 12 }),
  });
  return fc.oneof(
    { weight: 1, arbitrary: fc.uint8Array({ maxLength: 300 }) },
    {
      weight: 4,
      arbitrary: fc.array(change, { minLength: 1, maxLength: 4 }).map((changes) =>
        changes.reduce<Uint8Array>((bytes, { at, cut, put }) => {
          const from = Math.min(at, bytes.length);
          return Buffer.concat([bytes.subarray(0, from), put, bytes.subarray(from + cut)]);
        }, sample),
      ),
    },
  );
}

/** Of all decoders together; a seed makes the inputs the same each time, as far as the time goes. */
export async function fuzzDecoders(seconds: number, seed?: number): Promise<void> {
  const all = await decoders();
  for (const { name, sample, decode } of all) {
    if (!["repository object", "identity and controller key files"].includes(name)) await decode(sample);
    let slowestMs = 0;
    await fc.assert(
      fc.asyncProperty(mutated(sample), async (bytes) => {
        const startedAt = performance.now();
        try {
          await decode(bytes);
        } catch (error) {
          if (!(error instanceof SkepError)) throw error;
          expect(error.message.length).to.be.lessThan(20_000);
        }
        slowestMs = Math.max(slowestMs, performance.now() - startedAt);
      }),
      {
        numRuns: 10_000_000,
        interruptAfterTimeLimit: (seconds * 1000) / all.length,
        markInterruptAsFailure: false,
        ...(seed === undefined ? {} : { seed }),
      },
    );
    expect(slowestMs, name).to.be.lessThan(1000);
  }
}
