// How a Raft copy lies in a tar: the swarm directory under swarm/, and beside it, where the swarm is autolocked, the
// unlock key that opens this copy, what starts it by hand, and in a file of `skep swarm backup` what was proven of it (a run says that itself).
// Encoder and decoder, so that what is packed is what the CLI and a restore find.
import { z } from "zod";

import type { SwarmCopy } from "./copy.ts";
import { raftProofSchema } from "./proof.ts";
import { archiveTooLarge, longestArchiveBytes, longestSmallFilesBytes, mostArchivedFiles } from "./size-limits.ts";
import { SpooledFiles } from "./spooled-files.ts";
import type { SwarmFiles } from "./swarm-files.ts";
import { decodeUnlockKey, encodeUnlockKey } from "./unlock-key.ts";
import { formatError } from "./wire.ts";
import { shapeFaults } from "../fault-list.ts";

const swarmPrefix = "swarm/";
/** The text that `docker swarm unlock-key` prints, and a line end. */
export const unlockKeyPath = "unlock-key";

/** The key file in clear, and the body of POST /swarm/init: with these stock tools start the directory (forced-start.ts). */
export const byHandPaths = { keyFile: "by-hand/swarm-node.key", initBody: "by-hand/swarm-init.json" } as const;

export const backupFactsPath = "backup.json";

/** What a file of `skep swarm backup` says of itself. */
export const backupFactsSchema = z.strictObject({
  format: z.literal(1),
  takenAt: z.iso.datetime(),
  skepVersion: z.string().max(64),
  engineVersion: z.string().max(255),
  hostname: z.string().max(255),
  clusterId: z.string().max(64),
  proof: raftProofSchema,
});
export type BackupFacts = z.infer<typeof backupFactsSchema>;

export interface RaftArchiveFile {
  path: string;
  mode: number;
  sizeBytes: number;
  content: AsyncIterable<Uint8Array> | Uint8Array;
}

/** The copy's files with their places in the archive. Their contents are opened when they are read. */
export function* raftArchiveFiles(copy: SwarmCopy, facts?: BackupFacts): Generator<RaftArchiveFile> {
  if (facts !== undefined) {
    const content = Buffer.from(`${JSON.stringify(facts, null, 2)}\n`);
    yield { path: backupFactsPath, mode: 0o600, sizeBytes: content.length, content };
  }
  for (const file of copy.files) {
    const { path, mode, sizeBytes } = file;
    const content = { [Symbol.asyncIterator]: () => file.content()[Symbol.asyncIterator]() };
    yield { path: `${swarmPrefix}${path}`, mode, sizeBytes, content };
  }
  if (copy.unlockKey !== null) {
    const content = Buffer.from(`${encodeUnlockKey(copy.unlockKey)}\n`);
    yield { path: unlockKeyPath, mode: 0o600, sizeBytes: content.length, content };
  }
  if (copy.forcedStart !== null) {
    const { keyFile, body } = copy.forcedStart;
    yield { path: byHandPaths.keyFile, mode: 0o600, sizeBytes: keyFile.length, content: keyFile };
    const content = Buffer.from(`${JSON.stringify(body, null, 2)}\n`);
    yield { path: byHandPaths.initBody, mode: 0o600, sizeBytes: content.length, content };
  }
}

export interface OpenedArchive {
  files: SwarmFiles;
  unlockKey: Uint8Array | null;
  /** Null in a run's archive, and in a tar that somebody made by hand. */
  facts: BackupFacts | null;
  /** When snapshot and log were read for the last time. Certificates and state files stay readable. */
  close(): Promise<void>;
}

/** What a restore reads of a swarm directory besides what lies in `raft/`. */
const smallFiles = /^(certificates\/[^/]+|state\.json|docker-state\.json)$/;

/**
 * Reads all of an archive's entries; of a large one snapshot and log lie on disk until it is closed. A swarm directory that
 * lies at the top, as `tar -C /var/lib/docker/swarm` makes it, is taken too. Throws SKEP_RAFT_FORMAT where there is none,
 * SKEP_RAFT_TOO_LARGE where there is more than a copy may have, SKEP_RAFT_SPOOL.
 */
export async function openRaftArchive(
  entries: AsyncIterable<{ path: string; content: AsyncIterable<Uint8Array> }>,
  mostHeldBytes?: number,
): Promise<OpenedArchive> {
  const files = new SpooledFiles(mostHeldBytes);
  try {
    return { files, ...(await readEntries(entries, files)), close: () => files.close() };
  } catch (error) {
    await files.close();
    throw error;
  }
}

async function readEntries(
  entries: AsyncIterable<{ path: string; content: AsyncIterable<Uint8Array> }>,
  files: SpooledFiles,
): Promise<Pick<OpenedArchive, "unlockKey" | "facts">> {
  let unlockKey: Uint8Array | null = null;
  let facts: BackupFacts | null = null;
  let count = 0;
  let hasState = false;
  const total = new ByteCount(longestArchiveBytes);
  const small = new ByteCount(longestSmallFilesBytes);
  for await (const { path, content } of entries) {
    if (++count > mostArchivedFiles) throw archiveTooLarge();
    const plain = path.replace(/^\.\//, "");
    const inside = plain.startsWith(swarmPrefix) ? plain.slice(swarmPrefix.length) : plain;
    const counted = total.of(content);
    if (plain === unlockKeyPath) unlockKey = decodeUnlockKey((await wholeOf(small.of(counted))).toString());
    else if (plain === backupFactsPath) facts = decodeFacts(await wholeOf(small.of(counted)));
    else if (inside.startsWith("raft/")) {
      hasState = true;
      await files.add(inside, counted);
    } else if (smallFiles.test(inside)) files.hold(inside, await wholeOf(small.of(counted)));
    else await passOver(counted);
  }
  if (!hasState) throw formatError("the archive holds no swarm directory");
  return { unlockKey, facts };
}

/** Counts the bytes of several files; SKEP_RAFT_TOO_LARGE above a bound. */
class ByteCount {
  #left: number;
  constructor(longestBytes: number) {
    this.#left = longestBytes;
  }
  async *of(content: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
    for await (const piece of content) {
      this.#left -= piece.length;
      if (this.#left < 0) throw archiveTooLarge();
      yield piece;
    }
  }
}

async function wholeOf(content: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const pieces: Uint8Array[] = [];
  for await (const piece of content) pieces.push(piece);
  return Buffer.concat(pieces);
}

async function passOver(content: AsyncGenerator<Uint8Array>): Promise<void> {
  while ((await content.next()).done !== true);
}

function decodeFacts(bytes: Uint8Array): BackupFacts {
  let value: unknown;
  try {
    value = JSON.parse(Buffer.from(bytes).toString("utf8"));
  } catch {
    value = undefined;
  }
  const parsed = backupFactsSchema.safeParse(value);
  if (parsed.success) return parsed.data;
  throw formatError(`${backupFactsPath}: ${shapeFaults(parsed.error)}`);
}
