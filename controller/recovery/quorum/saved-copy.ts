// The survivor's directory, saved before anything is done to it: one age file beside the journal, encrypted to the operators,
// as `skep swarm backup` writes it, so that `skep swarm inspect` and `skep swarm restore` take it. A recovery that goes on
// plans from it, however the swarm looks by then.
import { createHash } from "node:crypto";
import { open, readFile, rename } from "node:fs/promises";
import { join } from "node:path";
import { Readable } from "node:stream";
import { createZstdDecompress } from "node:zlib";
import { pipeline } from "node:stream/promises";
import { extract } from "tar-stream";
import { z } from "zod";
import { SkepError } from "../../../shared/errors.ts";
import { openRaftArchive, raftArchiveFiles } from "../../../shared/raft/archive-layout.ts";
import { openSwarm } from "../../../shared/raft/open-swarm.ts";
import { makeAgeHeader } from "../../../shared/repository/age.ts";
import { archiveStream } from "../../../shared/repository/archive-stream.ts";
import { decryptAge } from "../../../shared/repository/open/age.ts";
import { flushFolder } from "../../../shared/store/durable-file.ts";
import { skepVersion } from "../../../shared/version.ts";
import type { StepResult } from "../journal.ts";
import type { SurvivorChoice } from "./survivor.ts";

export const savedCopyName = "survivor.tar.zst.age";

/** What the journal keeps of it. */
const savedSchema = z.strictObject({
  file: z.string(),
  sha256: z.string().regex(/^[0-9a-f]{64}$/),
  machine: z.string(),
  hostname: z.string(),
  engineVersion: z.string(),
  knownCommit: z.int().min(0),
  dataRoot: z.string().max(4096),
  others: z.array(z.strictObject({ machine: z.string(), nodeId: z.string() })),
});

/** Writes it into `folder`, whole or not at all. `now` in ms since 1970. */
export async function saveCopy(
  folder: string,
  { chosen, others }: SurvivorChoice,
  recipients: readonly string[],
  now: number,
  signal: AbortSignal,
): Promise<StepResult> {
  const { machine, hostname, engineVersion, dataRoot, knownCommit, copy, swarm } = chosen;
  if (copy === null) throw new TypeError("a copy that was saved is not saved again");
  const facts = {
    format: 1,
    takenAt: new Date(now).toISOString(),
    skepVersion,
    engineVersion,
    hostname,
    clusterId: swarm.state.clusterId,
    proof: copy.proof,
  } as const;
  const files = [...raftArchiveFiles(copy, facts)].map((file) => ({ ...file, mtimeMs: now }));
  const hash = createHash("sha256");
  const path = join(folder, savedCopyName);
  const file = await open(`${path}.partial`, "w", 0o600);
  try {
    for await (const piece of archiveStream({ age: await makeAgeHeader(recipients), files, signal })) {
      hash.update(piece);
      await file.writeFile(piece);
    }
    await file.sync();
  } finally {
    await file.close();
  }
  await rename(`${path}.partial`, path);
  await flushFolder(folder);
  const sha256 = hash.digest("hex");
  return savedSchema.parse({
    ...{ file: savedCopyName, sha256, machine, hostname, engineVersion, dataRoot, knownCommit, others },
  });
}

/** Where the saved directory lies; null before it was saved. */
export function savedPlace(result: StepResult | null): { machine: string; dataRoot: string } | null {
  return savedSchema.safeParse(result).data ?? null;
}

/** What saveCopy wrote, with its result. Throws SKEP_RECOVERY_JOURNAL_INVALID where the file is another now. */
export async function openSavedCopy(
  folder: string,
  result: StepResult,
  identity: string,
  signal: AbortSignal,
): Promise<SurvivorChoice> {
  const path = join(folder, savedCopyName);
  const saved = savedSchema.safeParse(result);
  const bytes = await readFile(path).catch(() => null);
  if (!saved.success || bytes === null || sha256Of(bytes) !== saved.data.sha256) {
    throw new SkepError({
      code: "SKEP_RECOVERY_JOURNAL_INVALID",
      message: `${path} is not what the journal beside it says`,
      permanent: true,
      hint: "put it back as it was written: the recovery goes on from what the survivor had before it began",
    });
  }
  const { machine, hostname, engineVersion, dataRoot, knownCommit, others } = saved.data;
  const archive = await unpack(await decryptAge(bytes, [identity], path), signal);
  const swarm = await openSwarm(archive.files, { unlockKey: archive.unlockKey, knownCommit, signal });
  const of = { machine, hostname, engineVersion, dataRoot, knownCommit };
  return { chosen: { ...of, copy: null, archive, swarm }, others };
}

async function unpack(plain: Uint8Array, signal: AbortSignal): ReturnType<typeof openRaftArchive> {
  const tar = extract();
  const reading = pipeline(Readable.from([plain]), createZstdDecompress(), tar, { signal }).catch((error: unknown) => {
    tar.destroy(error instanceof Error ? error : new Error(String(error)));
  });
  async function* entries(): AsyncGenerator<{ path: string; content: AsyncIterable<Uint8Array> }> {
    for await (const entry of tar) yield { path: entry.header.name, content: entry as AsyncIterable<Uint8Array> };
  }
  const opened = await openRaftArchive(entries());
  await reading;
  return opened;
}

function sha256Of(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}
