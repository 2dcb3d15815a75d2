// A swarm directory in one file: tar, plain or zstd-compressed, or locked by age, as `skep swarm backup` writes it.
import { createReadStream } from "node:fs";
import { createZstdDecompress } from "node:zlib";
import { pipeline } from "node:stream/promises";
import { extract, type Extract } from "tar-stream";
import { SkepError } from "../../../shared/errors.ts";
import { openRaftArchive, type OpenedArchive } from "../../../shared/raft/archive-layout.ts";
import { archiveTooLarge, longestArchiveBytes } from "../../../shared/raft/size-limits.ts";
import { openAgeStream } from "../../../shared/repository/open/age-stream.ts";
import type { Session } from "../session.ts";
import { fileOpener, type OpenOptions } from "./file-keys.ts";

const zstdMagic = Buffer.from([0x28, 0xb5, 0x2f, 0xfd]);
const ageMagic = Buffer.from("age-encryption.org/");

/**
 * `-` reads standard input. Throws SKEP_RAFT_SOURCE where it is none of these, SKEP_CLI_FILE_UNREADABLE, what its header
 * and pieces throw (SKEP_IDENTITY_DOES_NOT_FIT, SKEP_PASSPHRASE_WRONG, SKEP_AGE_INVALID), and what openRaftArchive throws,
 * SKEP_RAFT_TOO_LARGE also of a tar that is no swarm directory.
 */
export async function openSwarmFile(
  session: Session,
  path: string,
  options: OpenOptions,
  longestBytes: number = longestArchiveBytes,
): Promise<OpenedArchive> {
  const place = path === "-" ? "standard input" : path;
  const { start, whole } = await peek(path, place);
  const isAge = startsWith(start, ageMagic);
  const plain = isAge
    ? await peekAt(openAgeStream(whole, fileOpener(session, options, place), place))
    : { start, whole };
  const tar = extract();
  const isZstd = startsWith(plain.start, zstdMagic);
  const reading = isZstd
    ? pipeline(plain.whole, createZstdDecompress(), bounded(longestBytes), tar)
    : pipeline(plain.whole, bounded(longestBytes), tar);
  const failed = reading.then(
    () => null,
    (error: unknown) => error,
  );
  try {
    const opened = await openRaftArchive(entriesOf(tar));
    // All of it was read, so its last piece is authentic too.
    const failure = await failed;
    if (failure instanceof Error) {
      await opened.close();
      throw failure;
    }
    return opened;
  } catch (error) {
    session.signal.throwIfAborted();
    // The tar breaks off where the age file does.
    tar.destroy();
    const cause = await failed;
    for (const fault of [cause, error]) if (fault instanceof SkepError) throw fault;
    throw new SkepError({
      code: "SKEP_RAFT_SOURCE",
      message: `${place} is no tar of a swarm directory`,
      permanent: true,
      hint: "name a file that `skep swarm backup` wrote, or a tar of a swarm directory",
      cause: error,
    });
  } finally {
    tar.destroy();
    await failed;
  }
}

/** A few bytes of zstd make any number of bytes of tar. */
function bounded(longestBytes: number): (pieces: AsyncIterable<Uint8Array>) => AsyncGenerator<Uint8Array> {
  return async function* (pieces) {
    let lengthBytes = 0;
    for await (const piece of pieces) {
      lengthBytes += piece.length;
      if (lengthBytes > longestBytes) throw archiveTooLarge();
      yield piece;
    }
  };
}

interface Peeked {
  start: Uint8Array;
  /** With the start. */
  whole: AsyncGenerator<Uint8Array>;
}

async function peek(path: string, place: string): Promise<Peeked> {
  try {
    return await peekAt(path === "-" ? process.stdin : createReadStream(path));
  } catch (error) {
    throw new SkepError({
      code: "SKEP_CLI_FILE_UNREADABLE",
      message: `${place} cannot be read: ${error instanceof Error ? error.message : String(error)}`,
      permanent: true,
      cause: error,
    });
  }
}

const peekBytes = 64;

async function peekAt(source: AsyncIterable<Uint8Array>): Promise<Peeked> {
  const pieces = source[Symbol.asyncIterator]();
  let start: Uint8Array = new Uint8Array(0);
  while (start.length < peekBytes) {
    const next = await pieces.next();
    if (next.done === true) break;
    start = Buffer.concat([start, next.value]);
  }
  async function* whole(): AsyncGenerator<Uint8Array> {
    try {
      yield start;
      for (let next = await pieces.next(); next.done !== true; next = await pieces.next()) yield next.value;
    } finally {
      await pieces.return?.();
    }
  }
  return { start, whole: whole() };
}

function startsWith(bytes: Uint8Array, magic: Buffer): boolean {
  return Buffer.compare(bytes.subarray(0, magic.length), magic) === 0;
}

async function* entriesOf(tar: Extract): AsyncGenerator<{ path: string; content: AsyncIterable<Uint8Array> }> {
  for await (const entry of tar) {
    if (entry.header.type === "file") yield { path: entry.header.name, content: entry as AsyncIterable<Uint8Array> };
    else entry.resume();
  }
}
