// How a Raft copy lies in a tar: the swarm directory under swarm/, and beside it, where the swarm is autolocked, the
// unlock key that opens this copy, what starts it by hand, and in a file of `skep swarm backup` what was proven of it (a run says that itself).
// Encoder and decoder, so that what is packed is what the CLI and a restore find.
import { z } from "zod";

import type { SwarmCopy } from "./copy.ts";
import { raftProofSchema } from "./proof.ts";
import { memoryFiles, type SwarmFiles } from "./swarm-files.ts";
import { decodeUnlockKey, encodeUnlockKey } from "./unlock-key.ts";
import { formatError } from "./wire.ts";
import { SkepError } from "../errors.ts";

const swarmPrefix = "swarm/";
/** The text that `docker swarm unlock-key` prints, and a line end. */
export const unlockKeyPath = "unlock-key";

/** The key file in clear, and the body of POST /swarm/init: with these stock tools start the directory (forced-start.ts). */
export const byHandPaths = { keyFile: "by-hand/swarm-node.key", initBody: "by-hand/swarm-init.json" } as const;
const byHandPrefix = "by-hand/";

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
}

/** What is held of one archive in memory, and how long its tar may be. */
export const longestArchiveBytes = 1024 * 1024 * 1024;
/** An engine's swarm directory has some dozen files. */
const mostFiles = 100_000;

/**
 * Reads all of an archive's entries into memory. A swarm directory that lies at the top, as `tar -C /var/lib/docker/swarm`
 * makes it, is taken too. Throws SKEP_RAFT_FORMAT where there is none, or too much.
 */
export async function openRaftArchive(
  entries: AsyncIterable<{ path: string; content: AsyncIterable<Uint8Array> }>,
): Promise<OpenedArchive> {
  const files = new Map<string, Uint8Array>();
  let unlockKey: Uint8Array | null = null;
  let facts: BackupFacts | null = null;
  let heldBytes = 0;
  for await (const { path, content } of entries) {
    const pieces: Uint8Array[] = [];
    for await (const piece of content) {
      heldBytes += piece.length;
      if (heldBytes > longestArchiveBytes) throw archiveTooLarge();
      pieces.push(piece);
    }
    const bytes = Buffer.concat(pieces);
    const plain = path.replace(/^\.\//, "");
    if (plain === unlockKeyPath) unlockKey = decodeUnlockKey(bytes.toString());
    else if (plain === backupFactsPath) facts = decodeFacts(bytes);
    else if (files.size >= mostFiles) throw archiveTooLarge();
    else if (!plain.startsWith(byHandPrefix)) {
      files.set(plain.startsWith(swarmPrefix) ? plain.slice(swarmPrefix.length) : plain, bytes);
    }
  }
  if (![...files.keys()].some((path) => path.startsWith("raft/")))
    throw formatError("the archive holds no swarm directory");
  return { files: memoryFiles(files), unlockKey, facts };
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
  throw formatError(`${backupFactsPath}: ${z.prettifyError(parsed.error)}`);
}

/** SKEP_RAFT_TOO_LARGE. */
export function archiveTooLarge(): SkepError {
  return new SkepError({
    code: "SKEP_RAFT_TOO_LARGE",
    message: `the archive unpacks to more than ${longestArchiveBytes} bytes or ${mostFiles} files`,
    permanent: true,
    hint: "unpack it with age, zstd and tar, and name the folder",
  });
}
