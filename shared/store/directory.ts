// A store in a folder: a local disk, or a mounted file server. Each object is a file named by its key.
//
// An object is written beside (`+partial/`, a name that is no key), flushed to disk, then moved to its place in one
// step: rename() replaces, link() creates or fails. Then its folder is flushed, so that the name survives a power cut
// as the bytes do. What a crash leaves in `+partial/` is never listed, and removed when it is a day old.
// No symbolic link below the root is followed; the root itself may be one, that is the operator's choice.
import { randomBytes } from "node:crypto";
import { constants, type Stats } from "node:fs";
import { link, lstat, mkdir, open, readdir, rename, stat, unlink, type FileHandle } from "node:fs/promises";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { SkepError } from "../errors.ts";
import { errnoCode, explainFileError } from "./directory-errors.ts";
import { flushFolder, lstatIfThere, mkdirIfMissing, readSlices, unlinkIfThere, writeSlices } from "./durable-file.ts";
import { refuseTogether } from "./delete-errors.ts";
import { checkKey, checkPrefix, isKeySegment } from "./key.ts";
import { checkRange, checkSize, refuseLarger, refuseLock } from "./limits.ts";
import { probeKey, raceCreation } from "./probe.ts";
import type {
  ObjectHead,
  ObjectInfo,
  ObjectKey,
  ObjectVersion,
  PutOptions,
  Store,
  StoreAbilities,
  Stored,
} from "./store.ts";

const partialFolder = "+partial";
const leftoverAgeMs = 24 * 60 * 60 * 1000;

/** `rootPath` is absolute and must exist; it is looked for at each call, so that a lost mount is noticed. */
export function openDirectory(rootPath: string): Store {
  return new DirectoryStore(rootPath);
}

/** Makes the folder, and those above it, for its owner alone; one that exists is left as it is. */
export async function createDirectory(rootPath: string): Promise<void> {
  try {
    await mkdir(rootPath, { recursive: true, mode: 0o700 });
  } catch (error) {
    throw explainFileError(error, "make the folder", pathToFileURL(rootPath).href);
  }
}

class DirectoryStore implements Store {
  readonly address: string;
  readonly #root: string;
  /** Folders whose names are known to be on disk, root excluded. */
  readonly #flushed = new Set<string>();
  #sweptAtMs = -Infinity;
  #linksWork = true;

  constructor(rootPath: string) {
    this.#root = rootPath;
    this.address = pathToFileURL(rootPath).href;
  }

  async put(key: ObjectKey, bytes: Uint8Array, options: PutOptions = {}): Promise<Stored> {
    return await this.#explained(`put ${checkKey(key)}`, async () => {
      checkSize(key, bytes, this.address);
      await this.#write(key, bytes, options.signal, async (partial, final) => {
        await rename(partial, final);
        return true;
      });
      return { sizeBytes: bytes.byteLength, versionId: null };
    });
  }

  async putIfAbsent(key: ObjectKey, bytes: Uint8Array, options: PutOptions = {}): Promise<Stored | null> {
    return await this.#explained(`create ${checkKey(key)}`, async () => {
      checkSize(key, bytes, this.address);
      const created = await this.#write(key, bytes, options.signal, (partial, final) => this.#create(partial, final));
      return created ? { sizeBytes: bytes.byteLength, versionId: null } : null;
    });
  }

  async get(key: ObjectKey, maxBytes: number, signal?: AbortSignal): Promise<Uint8Array | null> {
    return await this.#read(`get ${checkKey(key)}`, key, async (file, sizeBytes) => {
      if (sizeBytes > maxBytes) throw refuseLarger(key, sizeBytes, maxBytes, this.address);
      return await readSlices(file, `${key} at ${this.address}`, 0, sizeBytes, signal);
    });
  }

  async getRange(
    key: ObjectKey,
    start: number,
    end: number,
    signal?: AbortSignal,
    into?: Uint8Array,
  ): Promise<Uint8Array | null> {
    checkRange(key, start, end, this.address);
    return await this.#read(`get ${checkKey(key)} from byte ${start}`, key, async (file, sizeBytes) => {
      return await readSlices(
        file,
        `${key} at ${this.address}`,
        Math.min(start, sizeBytes),
        Math.min(end, sizeBytes),
        signal,
        into,
      );
    });
  }

  async head(key: ObjectKey, signal?: AbortSignal): Promise<ObjectHead | null> {
    return await this.#explained(`look at ${checkKey(key)}`, async () => {
      signal?.throwIfAborted();
      if (!(await this.#foldersExist(key))) return null;
      const found = await this.#stat(key);
      if (found === null) return null;
      return {
        ...{ key, sizeBytes: found.size, storedAt: isoOf(found.mtimeMs) },
        ...{ versionId: null, lockedUntil: null },
      };
    });
  }

  lock(key: ObjectKey): Promise<void> {
    return Promise.reject(refuseLock(key, this.address));
  }

  async *list(prefix: string, signal?: AbortSignal): AsyncGenerator<ObjectInfo> {
    checkPrefix(prefix);
    yield* this.#walk("", prefix, signal);
  }

  async *listDeleted(): AsyncGenerator<ObjectKey> {
    // A folder keeps nothing of what was deleted.
  }

  async *listVersions(): AsyncGenerator<ObjectVersion> {
    // A folder keeps none.
  }

  async delete(keys: readonly ObjectKey[], signal?: AbortSignal): Promise<void> {
    keys.forEach(checkKey);
    const refused: { key: ObjectKey; error: unknown }[] = [];
    const folders = new Set<string>();
    for (const key of keys) {
      signal?.throwIfAborted();
      try {
        await this.#explained(`delete ${key}`, async () => {
          if (!(await this.#foldersExist(key)) || (await this.#stat(key)) === null) return;
          await unlink(join(this.#root, key));
          folders.add(parentOf(key));
        });
      } catch (error) {
        refused.push({ key, error });
      }
    }
    await this.#explained("delete objects", async () => {
      for (const folder of folders) await flushFolder(join(this.#root, folder));
    });
    refuseTogether(refused, keys.length, this.address);
  }

  async probe(signal?: AbortSignal): Promise<StoreAbilities> {
    const options = signal === undefined ? {} : { signal };
    const key = probeKey();
    const raced = await raceCreation(
      async (bytes) => (await this.putIfAbsent(key, bytes, options)) !== null,
      () => this.get(key, 1024, signal),
    );
    await this.delete([key], signal);
    return {
      conditionalWrites: raced && this.#linksWork,
      versions: false,
      objectLock: false,
      deletes: true,
      destroys: true,
    };
  }

  close(): Promise<void> {
    return Promise.resolve();
  }

  /** `place` moves the flushed file to its key and says whether it did; either way nothing is left beside. */
  async #write(
    key: ObjectKey,
    bytes: Uint8Array,
    signal: AbortSignal | undefined,
    place: (partial: string, final: string) => Promise<boolean>,
  ): Promise<boolean> {
    signal?.throwIfAborted();
    await this.#makeFolders(partialFolder);
    const partial = join(this.#root, partialFolder, randomBytes(12).toString("hex"));
    const file = await open(partial, "wx", 0o600);
    let placed = false;
    try {
      let written: Stats;
      try {
        await writeSlices(file, bytes, signal);
        await file.sync();
        written = await file.stat();
      } finally {
        await file.close();
      }
      await this.#makeFolders(parentOf(key));
      signal?.throwIfAborted();
      placed = await place(partial, join(this.#root, key));
      // The loser of a race flushes too: what it was told exists must still exist after a power cut.
      await flushFolder(join(this.#root, parentOf(key)));
      await this.#sweep(written.mtimeMs);
    } finally {
      await unlinkIfThere(partial);
    }
    return placed;
  }

  async #create(partial: string, final: string): Promise<boolean> {
    if (this.#linksWork) {
      try {
        await link(partial, final);
        return true;
      } catch (error) {
        const errno = errnoCode(error);
        // Over NFS a repeated request may say EEXIST though the first one worked: the link count tells, see open(2), O_EXCL.
        if (errno === "EEXIST") return (await lstat(partial)).nlink === 2;
        if (errno !== "EPERM" && errno !== "ENOTSUP" && errno !== "EOPNOTSUPP" && errno !== "ENOSYS") throw error;
        this.#linksWork = false; // exFAT and some FUSE file systems: probe says conditionalWrites: false
      }
    }
    if ((await lstatIfThere(final)) !== null) return false;
    await rename(partial, final);
    return true;
  }

  /** Removes what crashed writers left; `nowMs` by the file system's clock. Once a day in each process. */
  async #sweep(nowMs: number): Promise<void> {
    if (nowMs - this.#sweptAtMs < leftoverAgeMs) return;
    this.#sweptAtMs = nowMs;
    for (const name of await readdir(join(this.#root, partialFolder))) {
      const path = join(this.#root, partialFolder, name);
      const found = await lstatIfThere(path);
      if (found?.isFile() === true && nowMs - found.mtimeMs > leftoverAgeMs) await unlinkIfThere(path);
    }
  }

  async #read(
    what: string,
    key: ObjectKey,
    use: (file: FileHandle, sizeBytes: number) => Promise<Uint8Array>,
  ): Promise<Uint8Array | null> {
    return await this.#explained(what, async () => {
      if (!(await this.#foldersExist(key))) return null;
      const file = await this.#openObject(key);
      if (file === null) return null;
      try {
        return await use(file, (await file.stat()).size);
      } finally {
        await file.close();
      }
    });
  }

  async #openObject(key: ObjectKey): Promise<FileHandle | null> {
    if ((await this.#stat(key)) === null) return null;
    try {
      // Not blocking: should a pipe take the file's place now, open() must not wait for its writer.
      return await open(join(this.#root, key), constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
    } catch (error) {
      if (errnoCode(error) === "ENOENT") return null;
      throw error;
    }
  }

  /** The object's file; null where there is none; a link, pipe or device in its place is an error. */
  async #stat(key: ObjectKey): Promise<Stats | null> {
    const found = await lstatIfThere(join(this.#root, key));
    if (found === null || found.isDirectory()) return null;
    if (found.isFile()) return found;
    throw this.#misplaced(found, key);
  }

  /** False where a folder on the way to the key is missing; throws where one is a link, or the root is gone. */
  async #foldersExist(key: ObjectKey): Promise<boolean> {
    await this.#checkRoot();
    for (const folder of foldersOf(parentOf(key))) {
      const found = await lstatIfThere(join(this.#root, folder));
      if (found === null || found.isFile()) return false;
      if (!found.isDirectory()) throw this.#misplaced(found, folder);
    }
    return true;
  }

  async #makeFolders(path: string): Promise<void> {
    await this.#checkRoot();
    for (const folder of foldersOf(path)) {
      const absolute = join(this.#root, folder);
      const found = await lstatIfThere(absolute);
      if (found === null) await mkdirIfMissing(absolute);
      else if (!found.isDirectory()) throw this.#misplaced(found, folder);
      if (found !== null && this.#flushed.has(folder)) continue;
      // Also where somebody else made it: they may have died before the flush.
      await flushFolder(join(this.#root, parentOf(folder)));
      this.#flushed.add(folder);
    }
  }

  async #checkRoot(): Promise<void> {
    let found: Stats | null = null;
    try {
      found = await stat(this.#root);
    } catch (error) {
      if (errnoCode(error) !== "ENOENT" && errnoCode(error) !== "ENOTDIR") throw error;
    }
    if (found?.isDirectory() === true) return;
    throw new SkepError({
      code: "SKEP_STORE_BUCKET_MISSING",
      message: `there is no folder ${this.address}`,
      permanent: true,
      hint: "mount or make it; Skep makes no root by itself, lest a backup land on the disk below a missing mount",
    });
  }

  #misplaced(found: Stats, path: string): SkepError {
    const kind = found.isSymbolicLink() ? "symbolic link" : found.isFile() ? "file" : "device, pipe or socket";
    return new SkepError({
      code: "SKEP_STORE_FAILED",
      message: `a ${kind} stands in the place of ${path} at ${this.address}`,
      permanent: true,
      hint: "Skep follows no links inside a store; put the real file or folder back, or move this out of the store",
    });
  }

  async *#walk(folder: string, prefix: string, signal: AbortSignal | undefined): AsyncGenerator<ObjectInfo> {
    const entries = await this.#explained(`list ${folder === "" ? "the root" : folder}`, async () => {
      signal?.throwIfAborted();
      return await this.#entries(folder);
    });
    for (const entry of entries) {
      const key = folder === "" ? entry.name : `${folder}/${entry.name}`;
      if (entry.isFolder) {
        if (`${key}/`.startsWith(prefix) || prefix.startsWith(`${key}/`)) yield* this.#walk(key, prefix, signal);
      } else if (key.startsWith(prefix)) {
        const found = await this.head(key, signal);
        if (found !== null) yield found; // null: deleted meanwhile
      }
    }
  }

  /** Files and folders with names that a key can have, in the order in which their keys sort: a folder as `name/`. */
  async #entries(folder: string): Promise<{ name: string; isFolder: boolean }[]> {
    await this.#checkRoot();
    let found;
    try {
      found = await readdir(join(this.#root, folder), { withFileTypes: true });
    } catch (error) {
      if (errnoCode(error) === "ENOENT") return [];
      throw error;
    }
    return found
      .filter((entry) => isKeySegment(entry.name) && (entry.isFile() || entry.isDirectory()))
      .map((entry) => ({ name: entry.name, isFolder: entry.isDirectory() }))
      .sort((a, b) => (sortName(a) < sortName(b) ? -1 : 1));
  }

  async #explained<T>(what: string, act: () => Promise<T>): Promise<T> {
    try {
      return await act();
    } catch (error) {
      throw explainFileError(error, what, this.address);
    }
  }
}

/** "" for a key at the top. */
function parentOf(key: string): string {
  return key.slice(0, Math.max(0, key.lastIndexOf("/")));
}

/** `a/b/c` gives `a`, `a/b`, `a/b/c`. */
function foldersOf(path: string): string[] {
  if (path === "") return [];
  const segments = path.split("/");
  return segments.map((_, index) => segments.slice(0, index + 1).join("/"));
}

function sortName(entry: { name: string; isFolder: boolean }): string {
  return entry.isFolder ? `${entry.name}/` : entry.name;
}

/** Of years with four digits: what a file system tells may be beyond all that a date can be. */
function isoOf(mtimeMs: number): string {
  return new Date(Math.min(Math.max(mtimeMs, firstMs), lastMs)).toISOString();
}

const [firstMs, lastMs] = [Date.parse("0000-01-01T00:00:00.000Z"), Date.parse("9999-12-31T23:59:59.999Z")];
