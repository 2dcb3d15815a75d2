// The walk through a tree: what is there, in the order of the manifest, without reading file contents. Its calls are
// synchronous, so that one costs some µs: it runs in a thread of its own (volume.ts).
//
// A container may change the tree while it is walked, also to lead the walk astray: a folder replaced by a link
// to the host's /etc. So each folder is opened without following links and everything in it is looked at through
// that open folder (/proc/self/fd/N/NAME, which is what openat does), never through a path from the root.
// The reader of the files compares the inode that it opened with the one found here.
import { isUtf8 } from "node:buffer";
import { closeSync, constants, fstatSync, lstatSync, openSync, readlinkSync, type BigIntStats } from "node:fs";
import { SkepError } from "../../shared/errors.ts";
import type { EntryMetadata, SourceFile } from "../../shared/repository/snapshot.ts";
import type { Warning } from "../../shared/repository/run.ts";
import { systemErrorName } from "../../shared/system-error.ts";
import { folderNames } from "./folder-names.ts";
import { LinkedFiles } from "./linked-files.ts";
import type { PathFilter } from "./path-glob.ts";
import { XattrReader } from "./xattr-reader.ts";

/** What the walk could not take along; complete once the entries were read to their end. */
export interface WalkFindings {
  warnings: Warning[];
  warningsLeftOut: number;
  /** False where something that belongs to the volume could not be read. */
  complete: boolean;
}

export interface WalkedEntry {
  metadata: EntryMetadata;
  /** Null for everything but a regular file that is to be read. */
  file: Omit<SourceFile, "path"> | null;
}

/** As many as a part may list, less those that the reader of the files may add. */
const maxWarnings = 500;

/**
 * Walks the folder `root` (this process's view). While its entries are read it throws SKEP_SOURCE_VOLUME_GONE where
 * the root is not there, or was removed or replaced before the walk ended.
 */
export function* walkTree(root: string, leaveOut: PathFilter, findings: WalkFindings): Generator<WalkedEntry> {
  const walk = new TreeWalk(root, leaveOut, findings);
  try {
    yield* walk.entries();
  } finally {
    walk.close();
  }
}

class TreeWalk {
  readonly #root: string;
  readonly #leaveOut: PathFilter;
  readonly #findings: WalkFindings;
  readonly #linked = new LinkedFiles();
  readonly #xattrs: XattrReader;
  #device = 0n;

  constructor(root: string, leaveOut: PathFilter, findings: WalkFindings) {
    this.#root = root;
    this.#leaveOut = leaveOut;
    this.#findings = findings;
    this.#xattrs = new XattrReader((path, why) => {
      this.#warn("SKEP_SOURCE_XATTRS_LEFT_OUT", `${show(path)}: ${why}`);
    });
  }

  close(): void {
    this.#linked.close();
  }

  *entries(): Generator<WalkedEntry> {
    let folder: number;
    try {
      folder = openSync(this.#root, constants.O_RDONLY | constants.O_DIRECTORY);
    } catch (error) {
      throw this.#gone("cannot be opened", error);
    }
    try {
      const stat = fstatSync(folder, { bigint: true });
      this.#device = stat.dev;
      const path = Buffer.alloc(0);
      yield {
        metadata: this.#metadataOf(stat, path, Buffer.from(`/proc/self/fd/${folder}/.`), "directory"),
        file: null,
      };
      yield* this.#enter(folder, path);
      let now: BigIntStats;
      try {
        now = lstatSync(`${this.#root}/.`, { bigint: true });
      } catch (error) {
        throw this.#gone("was removed while it was read", error);
      }
      if (now.ino !== stat.ino || now.dev !== stat.dev) throw this.#gone("was replaced while it was read");
    } finally {
      closeSync(folder);
    }
  }

  *#enter(folder: number, path: Buffer): Generator<WalkedEntry> {
    const within = Buffer.from(`/proc/self/fd/${folder}/`);
    const names = folderNames(within);
    for (;;) {
      let name: Buffer;
      try {
        const next = names.next();
        if (next.done === true) return;
        name = next.value;
      } catch (error) {
        this.#survive(error, path);
        return;
      }
      const full = path.length === 0 ? name : Buffer.concat([path, slash, name]);
      if (this.#leaveOut(full.toString("utf8"))) continue;
      const here = Buffer.concat([within, name]);
      let stat: BigIntStats;
      try {
        stat = lstatSync(here, { bigint: true });
      } catch (error) {
        this.#survive(error, full);
        continue;
      }
      if (stat.isDirectory() && stat.dev === this.#device) yield* this.#describeFolder(here, full);
      else {
        const entry = this.#describe(stat, here, full);
        if (entry !== null) yield entry;
      }
    }
  }

  *#describeFolder(here: Buffer, path: Buffer): Generator<WalkedEntry> {
    let folder: number;
    try {
      folder = openFolder(here);
    } catch (error) {
      this.#survive(error, path);
      return;
    }
    try {
      const stat = fstatSync(folder, { bigint: true });
      const itself = Buffer.from(`/proc/self/fd/${folder}/.`);
      yield { metadata: this.#metadataOf(stat, path, itself, "directory"), file: null };
      if (stat.dev === this.#device) yield* this.#enter(folder, path);
    } finally {
      closeSync(folder);
    }
  }

  #describe(stat: BigIntStats, here: Buffer, path: Buffer): WalkedEntry | null {
    if (stat.dev !== this.#device) {
      this.#warn("SKEP_SOURCE_OTHER_FILESYSTEM", `${show(path)} lies on another filesystem and was left out`);
      return null;
    }
    if (stat.isSocket()) {
      const why = "is a socket and was left out: its program makes it anew";
      this.#warn("SKEP_SOURCE_SOCKET_LEFT_OUT", `${show(path)} ${why}`);
      return null;
    }
    const metadata = this.#metadataOf(stat, path, here, typeOf(stat));
    const first = stat.nlink > 1n ? this.#linked.firstName(stat.ino, stat.nlink, path) : null;
    if (first !== null) return { metadata: { ...metadata, ...bytesField("hardLinkTo", first) }, file: null };
    if (stat.isSymbolicLink()) {
      try {
        const target = readlinkSync(here, { encoding: "buffer" });
        return { metadata: { ...metadata, ...bytesField("linkTarget", target) }, file: null };
      } catch (error) {
        this.#survive(error, path);
        return null;
      }
    }
    if (stat.isFile()) {
      const { mtimeNs, ctimeNs, ino } = stat;
      return { metadata, file: { sizeBytes: Number(stat.size), mtimeNs, ctimeNs, inode: ino } };
    }
    if (stat.isFIFO()) return { metadata, file: null };
    return { metadata: { ...metadata, device: deviceNumbers(stat.rdev) }, file: null };
  }

  #metadataOf(stat: BigIntStats, path: Buffer, here: Buffer, type: EntryMetadata["type"]): EntryMetadata {
    const metadata: EntryMetadata = {
      ...bytesField("path", path),
      type,
      mode: Number(stat.mode & 0o7777n),
      uid: Number(stat.uid),
      gid: Number(stat.gid),
      mtimeNs: stat.mtimeNs.toString(),
    };
    let xattrs: Record<string, string> | null = null;
    try {
      xattrs = this.#xattrs.read(here, path);
    } catch (error) {
      const code = systemErrorName(error);
      if (code === null) throw error;
      // What vanished meanwhile is noticed by who reads it.
      if (code !== "ENOENT") this.#lost(`the extended attributes of ${show(path)} cannot be read: ${code}`);
    }
    return xattrs === null ? metadata : { ...metadata, xattrs };
  }

  /** A failure on one entry that the walk survives; anything else is thrown on. */
  #survive(error: unknown, path: Buffer): void {
    const code = systemErrorName(error);
    if (code === "ENOENT")
      this.#warn("SKEP_SOURCE_FILE_VANISHED", `${show(path)} vanished while the volume was walked`);
    else if (code === "ENOTDIR" || code === "ELOOP") {
      this.#warn("SKEP_SOURCE_FILE_CHANGED", `${show(path)} became something else while the volume was walked`);
    } else if (code !== null && !["EMFILE", "ENFILE", "ENOMEM"].includes(code)) {
      // Whatever a broken disk or share answers; but want of our own is no fault of the entry.
      this.#lost(`${show(path)} cannot be read: ${code}`);
    } else throw error;
  }

  #lost(message: string): void {
    this.#findings.complete = false;
    this.#warn("SKEP_SOURCE_FILE_UNREADABLE", message);
  }

  #warn(code: Warning["code"], message: string): void {
    if (this.#findings.warnings.length < maxWarnings) this.#findings.warnings.push({ code, message });
    else this.#findings.warningsLeftOut++;
  }

  #gone(why: string, cause?: unknown): SkepError {
    return new SkepError({
      code: "SKEP_SOURCE_VOLUME_GONE",
      message: `the volume's folder ${this.#root} ${why}`,
      permanent: true,
      hint: "was the volume removed? The next run takes what is there then",
      cause,
    });
  }
}

const slash = Buffer.from("/");

/** Without a link followed and, where this process may, without a new access time. */
function openFolder(path: Buffer): number {
  const flags = constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW;
  try {
    return openSync(path, flags | constants.O_NOATIME);
  } catch (error) {
    // O_NOATIME is for the owner and root.
    if ((error as NodeJS.ErrnoException).code !== "EPERM") throw error;
    return openSync(path, flags);
  }
}

function typeOf(stat: BigIntStats): EntryMetadata["type"] {
  if (stat.isFile()) return "file";
  if (stat.isSymbolicLink()) return "symlink";
  if (stat.isFIFO()) return "fifo";
  if (stat.isDirectory()) return "directory";
  return stat.isBlockDevice() ? "block-device" : "character-device";
}

/** The field `name` where the bytes are UTF-8, else `nameBase64`. */
function bytesField<N extends "path" | "hardLinkTo" | "linkTarget">(
  name: N,
  bytes: Buffer,
): Partial<Record<N | `${N}Base64`, string>> {
  const field = isUtf8(bytes) ? { [name]: bytes.toString("utf8") } : { [`${name}Base64`]: bytes.toString("base64") };
  return field as Partial<Record<N | `${N}Base64`, string>>;
}

/** [major, minor] of Linux's 64-bit device number (makedev(3), glibc's encoding). */
export function deviceNumbers(rdev: bigint): [number, number] {
  const major = ((rdev >> 8n) & 0xfffn) | ((rdev >> 32n) & 0xfffff000n);
  const minor = (rdev & 0xffn) | ((rdev >> 12n) & 0xffffff00n);
  return [Number(major), Number(minor)];
}

/** A path for people: bytes that are no UTF-8 shown as �. */
function show(path: Buffer): string {
  return path.length === 0 ? "the volume's root" : JSON.stringify(path.toString("utf8"));
}
