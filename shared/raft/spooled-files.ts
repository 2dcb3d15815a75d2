// The files of an archive while it is open: small ones in memory, and beyond a bound snapshots and segments in one file on
// disk that has no name, so that a killed process leaves nothing. They are sealed by a key that stays in memory.
import { mkdtemp, open, rm, type FileHandle } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { SkepError } from "../errors.ts";
import { memoryFiles, type SwarmFile, type SwarmFiles } from "./swarm-files.ts";

/** Snapshots and segments up to this in all stay in memory: the state of a usual swarm never touches the disk. */
const defaultMostHeldBytes = 64 * 1024 * 1024;

interface Place {
  offset: number;
  sizeBytes: number;
}

export class SpooledFiles implements SwarmFiles {
  readonly #held = new Map<string, Uint8Array>();
  readonly #spooled = new Map<string, Place>();
  readonly #mostHeldBytes: number;
  #heldBytes = 0;
  #spool: FileHandle | null = null;
  #end = 0;

  constructor(mostHeldBytes = defaultMostHeldBytes) {
    this.#mostHeldBytes = mostHeldBytes;
  }

  /** A file that never touches the disk. */
  hold(path: string, bytes: Uint8Array): void {
    this.#held.set(path, bytes);
  }

  /** Throws SKEP_RAFT_SPOOL where it should lie on disk and can't, and what `content` throws. */
  async add(path: string, content: AsyncIterable<Uint8Array>): Promise<void> {
    const pieces: Uint8Array[] = [];
    let place: Place | null = null;
    for await (const piece of content) {
      if (place === null && this.#heldBytes + piece.length <= this.#mostHeldBytes) {
        pieces.push(piece);
        this.#heldBytes += piece.length;
        continue;
      }
      place ??= { offset: this.#end, sizeBytes: 0 };
      for (const bytes of [...pieces.splice(0), piece]) {
        await this.#append(bytes);
        place.sizeBytes += bytes.length;
      }
    }
    if (place === null) this.#held.set(path, pieces.length === 1 ? (pieces[0] ?? none) : Buffer.concat(pieces));
    else this.#spooled.set(path, place);
  }

  async list(folder: string): Promise<string[] | null> {
    const held = (await memoryFiles(this.#held).list(folder)) ?? [];
    const spooled = [...this.#spooled.keys()]
      .filter((path) => path.startsWith(`${folder}/`) && !path.slice(folder.length + 1).includes("/"))
      .map((path) => path.slice(folder.length + 1));
    const names = [...held, ...spooled];
    return names.length === 0 ? null : names;
  }

  open(path: string): Promise<SwarmFile | null> {
    const place = this.#spooled.get(path);
    if (place === undefined) return memoryFiles(this.#held).open(path);
    return Promise.resolve({
      read: (position, lengthBytes) => this.#read(place, position, lengthBytes),
      close: () => Promise.resolve(),
    });
  }

  /** What lies on disk is gone then; what is held stays. */
  async close(): Promise<void> {
    const spool = this.#spool;
    this.#spool = null;
    await spool?.close();
  }

  async #append(bytes: Uint8Array): Promise<void> {
    try {
      this.#spool ??= await namelessFile();
      await this.#spool.writeFile(bytes);
      this.#end += bytes.length;
    } catch (error) {
      throw unusable(error);
    }
  }

  async #read(place: Place, position: number, lengthBytes: number): Promise<Uint8Array> {
    const spool = this.#spool;
    if (spool === null) throw new Error("the archive was closed");
    const wanted = Math.max(0, Math.min(lengthBytes, place.sizeBytes - position));
    const buffer = Buffer.allocUnsafe(wanted);
    let filled = 0;
    while (filled < wanted) {
      const at = place.offset + position + filled;
      const { bytesRead } = await spool
        .read(buffer, filled, wanted - filled, at)
        .catch((error: unknown) => Promise.reject(unusable(error)));
      if (bytesRead === 0) throw unusable(new Error("it became shorter"));
      filled += bytesRead;
    }
    return new Uint8Array(buffer.buffer, buffer.byteOffset, filled);
  }
}

const none = new Uint8Array(0);

async function namelessFile(): Promise<FileHandle> {
  const folder = await mkdtemp(join(tmpdir(), "skep-raft-"));
  try {
    return await open(join(folder, "spool"), "wx+", 0o600);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

function unusable(cause: unknown): SkepError {
  return new SkepError({
    code: "SKEP_RAFT_SPOOL",
    message: `a large Raft state cannot be kept in ${tmpdir()} while it is read: ${cause instanceof Error ? cause.message : String(cause)}`,
    permanent: false,
    hint: "make room there, or name another folder with TMPDIR; up to 4.5 GiB may be needed",
    cause,
  });
}
