// The walk through a volume: what is there, in the order of the manifest, without reading file contents.
//
// A container may change the tree while it is walked, also to lead the walk astray: a folder replaced by a link
// to the host's /etc. So each folder is opened without following links and everything in it is looked at through
// that open folder (/proc/self/fd/N/NAME, which is what openat does), never through a path from the root.
// The reader of the files compares the inode that it opened with the one found here.
import type { BigIntStats } from "node:fs";
import { constants, lstat, open, readdir, readlink, type FileHandle } from "node:fs/promises";
import { SkepError } from "../../shared/errors.ts";
import type { EntryMetadata, SourceEntries, SourceEntry } from "../../shared/repository/snapshot.ts";
import type { Warning } from "../../shared/repository/run.ts";
import { systemErrorName } from "../../shared/system-error.ts";
import type { PathFilter } from "./path-glob.ts";

/** What the walk could not take along; complete once the entries were read to their end. */
export interface WalkFindings {
  warnings: Warning[];
  warningsLeftOut: number;
  /** False where something that belongs to the volume could not be read. */
  complete: boolean;
}

export interface Walk {
  entries: SourceEntries;
  findings: WalkFindings;
}

/** As many as a part may list, less those that the reader of the files may add. */
const maxWarnings = 500;
/** lstat calls at once in one folder. */
const statsAtOnce = 64;

/**
 * Walks the folder `root` (this process's view). While its entries are read it throws SKEP_SOURCE_VOLUME_GONE where
 * the root is not there, or was removed or replaced before the walk ended.
 */
export function walkVolume(root: string, leaveOut: PathFilter, signal: AbortSignal): Walk {
  const findings: WalkFindings = { warnings: [], warningsLeftOut: 0, complete: true };
  return { entries: walk(root, leaveOut, signal, findings), findings };
}

async function* walk(
  root: string,
  leaveOut: PathFilter,
  signal: AbortSignal,
  findings: WalkFindings,
): AsyncGenerator<SourceEntry> {
  const warn = (code: Warning["code"], message: string): void => {
    if (findings.warnings.length < maxWarnings) findings.warnings.push({ code, message });
    else findings.warningsLeftOut++;
  };
  const lost = (code: Warning["code"], message: string): void => {
    findings.complete = false;
    warn(code, message);
  };
  /** A failure on one entry that the walk survives; anything else is thrown on. */
  const survive = (error: unknown, path: Buffer): void => {
    const code = systemErrorName(error);
    if (code === "ENOENT") warn("SKEP_SOURCE_FILE_VANISHED", `${show(path)} vanished while the volume was walked`);
    else if (code === "ENOTDIR" || code === "ELOOP") {
      warn("SKEP_SOURCE_FILE_CHANGED", `${show(path)} became something else while the volume was walked`);
    } else if (code !== null && !["EMFILE", "ENFILE", "ENOMEM"].includes(code)) {
      // Whatever a broken disk or share answers; but want of our own is no fault of the entry.
      lost("SKEP_SOURCE_FILE_UNREADABLE", `${show(path)} cannot be read: ${code}`);
    } else throw error;
  };
  /** Of a file with several names: where it was seen first, and how many names are still to come. */
  const firstNames = new Map<bigint, { path: Buffer; left: bigint }>();
  const rootBytes = Buffer.from(root);

  async function* enter(folder: FileHandle, path: Buffer, device: bigint): AsyncGenerator<SourceEntry> {
    const within = Buffer.from(`/proc/self/fd/${folder.fd}/`);
    let names: Buffer[];
    try {
      names = await readdir(within, { encoding: "buffer" });
    } catch (error) {
      survive(error, path);
      return;
    }
    names.sort((a, b) => a.compare(b));
    for (let start = 0; start < names.length; start += statsAtOnce) {
      signal.throwIfAborted();
      const batch = names.slice(start, start + statsAtOnce);
      const stats = await Promise.allSettled(
        batch.map((name) => lstat(Buffer.concat([within, name]), { bigint: true })),
      );
      for (const [position, name] of batch.entries()) {
        const full = path.length === 0 ? name : Buffer.concat([path, Buffer.from("/"), name]);
        if (leaveOut(full.toString("utf8"))) continue;
        const stat = stats[position];
        if (stat === undefined || stat.status === "rejected") survive(stat?.reason, full);
        else yield* describe(stat.value, Buffer.concat([within, name]), full, device);
      }
    }
  }

  async function* describe(stat: BigIntStats, here: Buffer, path: Buffer, device: bigint): AsyncGenerator<SourceEntry> {
    if (stat.dev !== device) {
      warn("SKEP_SOURCE_OTHER_FILESYSTEM", `${show(path)} lies on another filesystem and was left out`);
      return;
    }
    if (stat.isSocket()) {
      warn("SKEP_SOURCE_SOCKET_LEFT_OUT", `${show(path)} is a socket and was left out: its program makes it anew`);
      return;
    }
    if (stat.isDirectory()) {
      let folder: FileHandle;
      try {
        folder = await open(here, constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW);
      } catch (error) {
        survive(error, path);
        return;
      }
      try {
        const opened = await folder.stat({ bigint: true });
        yield { metadata: metadataOf(opened, path, "directory"), file: null };
        if (opened.dev === device) yield* enter(folder, path, device);
      } finally {
        await folder.close();
      }
      return;
    }
    const known = stat.nlink > 1n ? firstNames.get(stat.ino) : undefined;
    if (known !== undefined) {
      if (--known.left === 0n) firstNames.delete(stat.ino);
      const link = bytesField("hardLinkTo", known.path);
      yield { metadata: { ...metadataOf(stat, path, typeOf(stat)), ...link }, file: null };
      return;
    }
    if (stat.nlink > 1n) firstNames.set(stat.ino, { path, left: stat.nlink - 1n });
    if (stat.isSymbolicLink()) {
      try {
        const target = await readlink(here, { encoding: "buffer" });
        yield { metadata: { ...metadataOf(stat, path, "symlink"), ...bytesField("linkTarget", target) }, file: null };
      } catch (error) {
        survive(error, path);
      }
      return;
    }
    if (stat.isFile()) {
      yield {
        metadata: metadataOf(stat, path, "file"),
        file: {
          path: Buffer.concat([rootBytes, Buffer.from("/"), path]),
          sizeBytes: Number(stat.size),
          mtimeNs: stat.mtimeNs,
          ctimeNs: stat.ctimeNs,
          inode: stat.ino,
        },
      };
      return;
    }
    const metadata = metadataOf(stat, path, typeOf(stat));
    yield {
      metadata: stat.isFIFO() ? metadata : { ...metadata, device: deviceNumbers(stat.rdev) },
      file: null,
    };
  }

  const gone = (why: string, cause?: unknown): SkepError =>
    new SkepError({
      code: "SKEP_SOURCE_VOLUME_GONE",
      message: `the volume's folder ${root} ${why}`,
      permanent: true,
      hint: "was the volume removed? The next run takes what is there then",
      cause,
    });
  let folder: FileHandle;
  try {
    folder = await open(root, constants.O_RDONLY | constants.O_DIRECTORY);
  } catch (error) {
    throw gone("cannot be opened", error);
  }
  try {
    const stat = await folder.stat({ bigint: true });
    yield { metadata: metadataOf(stat, Buffer.alloc(0), "directory"), file: null };
    yield* enter(folder, Buffer.alloc(0), stat.dev);
    const now = await lstat(`${root}/.`, { bigint: true }).catch((error: unknown) => {
      throw gone("was removed while it was read", error);
    });
    if (now.ino !== stat.ino || now.dev !== stat.dev) throw gone("was replaced while it was read");
  } finally {
    await folder.close();
  }
}

function metadataOf(stat: BigIntStats, path: Buffer, type: EntryMetadata["type"]): EntryMetadata {
  return {
    ...bytesField("path", path),
    type,
    mode: Number(stat.mode & 0o7777n),
    uid: Number(stat.uid),
    gid: Number(stat.gid),
    mtimeNs: stat.mtimeNs.toString(),
  };
}

function typeOf(stat: BigIntStats): EntryMetadata["type"] {
  if (stat.isFile()) return "file";
  if (stat.isSymbolicLink()) return "symlink";
  if (stat.isFIFO()) return "fifo";
  return stat.isBlockDevice() ? "block-device" : "character-device";
}

/** The field `name` where the bytes are UTF-8, else `nameBase64`. */
function bytesField<N extends "path" | "hardLinkTo" | "linkTarget">(
  name: N,
  bytes: Buffer,
): Partial<Record<N | `${N}Base64`, string>> {
  const text = bytes.toString("utf8");
  const isText = Buffer.from(text, "utf8").equals(bytes);
  const field = isText ? { [name]: text } : { [`${name}Base64`]: bytes.toString("base64") };
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
