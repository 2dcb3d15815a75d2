// Whole files of `skep swarm backup`, changed anywhere and at each layer: the sealed file, the zstd stream, the tar, and the
// files within. Opening and proving one may refuse it with a SkepError, or read it; never another error, never for long.
import { expect } from "chai";
import fc from "fast-check";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { buffer } from "node:stream/consumers";
import { zstdCompressSync } from "node:zlib";
import { pack } from "tar-stream";
import { makeOutput } from "../../../controller/cli/output.ts";
import { openProven } from "../../../controller/cli/swarm/inspect.ts";
import type { Session } from "../../../controller/cli/session.ts";
import { SkepError } from "../../../shared/errors.ts";
import { encryptAge, generateAgeIdentity } from "../../../shared/repository/age.ts";
import { raftVectors, type RaftVector } from "../../shared/raft/raft-vectors.ts";
import { encodeUnlockKey } from "../../../shared/raft/unlock-key.ts";

export type TarFiles = readonly (readonly [string, Uint8Array])[];

/** The files of a vector, as a backup has them. */
export function backupFiles({ files, unlockKey }: RaftVector): TarFiles {
  const swarm = [...files].map(([path, bytes]) => [`swarm/${path}`, bytes] as const);
  if (unlockKey === null) return swarm;
  return [...swarm, ["unlock-key", Buffer.from(`${encodeUnlockKey(unlockKey)}\n`)] as const];
}

export async function makeTar(files: TarFiles): Promise<Buffer> {
  const tar = pack();
  for (const [name, bytes] of files) tar.entry({ name, mode: 0o600 }, Buffer.from(bytes));
  tar.finalize();
  return await buffer(tar);
}

export interface FileRig {
  recipient: string;
  /** Counts of what files were refused with, and `read`. */
  told: Map<string, number>;
  /** Its error's code, or `read`. Throws what is no SkepError. `longestBytes` of tar. */
  open: (bytes: Uint8Array, longestBytes?: number) => Promise<string>;
  end: () => Promise<void>;
}

export async function fileRig(): Promise<FileRig> {
  const folder = await mkdtemp(join(tmpdir(), "skep-swarm-fuzz-"));
  const { identity, recipient } = await generateAgeIdentity();
  await writeFile(join(folder, "identity.txt"), `${identity}\n`);
  const session: Session = { output: makeOutput(true), signal: new AbortController().signal };
  const options = { identity: join(folder, "identity.txt"), passphraseFile: join(folder, "identity.txt") };
  const told = new Map<string, number>();
  const open = async (bytes: Uint8Array, longestBytes?: number): Promise<string> => {
    const path = join(folder, "file");
    await writeFile(path, bytes);
    const end = await openProven(session, path, options, longestBytes).then(
      () => "read",
      (error: unknown) => {
        if (!(error instanceof SkepError)) throw error;
        expect(error.message.length).to.be.lessThan(20_000);
        return error.code;
      },
    );
    told.set(end, (told.get(end) ?? 0) + 1);
    return end;
  };
  return { recipient, told, open, end: () => rm(folder, { recursive: true }) };
}

/** Some bytes changed, cut out or put in. */
function changed(sample: Uint8Array): fc.Arbitrary<Uint8Array> {
  const change = fc.record({
    at: fc.nat({ max: sample.length }),
    cut: fc.oneof(fc.constant(0), fc.nat({ max: 40 }), fc.nat({ max: sample.length })),
    put: fc.uint8Array({ maxLength: 12 }),
  });
  return fc.array(change, { minLength: 1, maxLength: 3 }).map((changes) =>
    changes.reduce<Uint8Array>((bytes, { at, cut, put }) => {
      const from = Math.min(at, bytes.length);
      return Buffer.concat([bytes.subarray(0, from), put, bytes.subarray(from + cut)]);
    }, sample),
  );
}

/** Of each layer as many, or altogether for as many seconds; gives what the files came to. */
export async function fuzzSwarmFiles(
  much: { runs: number; seed: number } | { seconds: number },
): Promise<Map<string, number>> {
  const rig = await fileRig();
  try {
    const vectors = raftVectors().filter(({ name }) => /^docker-26.1\/(locked|snapshot)$/.test(name));
    for (const vector of vectors) {
      const files = backupFiles(vector);
      const tar = await makeTar(files);
      const zstd = zstdCompressSync(tar);
      const sealed = await encryptAge(zstd, [rig.recipient]);
      expect(await rig.open(sealed), vector.name).to.equal("read");
      const inside = fc
        .nat(files.length - 1)
        .chain((which) =>
          changed(files[which]?.[1] ?? new Uint8Array()).map((bytes) =>
            files.map(([name, before], at) => [name, at === which ? bytes : before] as const),
          ),
        );
      const layers: [string, fc.Arbitrary<Uint8Array | TarFiles>][] = [
        ["sealed file", changed(sealed)],
        ["zstd stream", changed(zstd)],
        ["tar", changed(tar)],
        ["file within", inside],
      ];
      for (const [name, inputs] of layers) {
        let slowestMs = 0;
        const property = fc.asyncProperty(inputs, async (input) => {
          const bytes = input instanceof Uint8Array ? input : await makeTar(input);
          const startedAt = performance.now();
          await rig.open(bytes);
          slowestMs = Math.max(slowestMs, performance.now() - startedAt);
        });
        const limits =
          "runs" in much
            ? { numRuns: much.runs, seed: much.seed }
            : { numRuns: 10_000_000, interruptAfterTimeLimit: (much.seconds * 1000) / vectors.length / layers.length };
        await fc.assert(property, { ...limits, markInterruptAsFailure: false });
        expect(slowestMs, `${vector.name}: ${name}`).to.be.lessThan(10_000);
      }
    }
    return rig.told;
  } finally {
    await rig.end();
  }
}
