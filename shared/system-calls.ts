// System calls of Linux that Node has no API for: extended attributes (POSIX ACLs and capabilities among them), times in
// nanoseconds, device nodes, holes, clones of files. All calls are synchronous.
//
// A failure is thrown as node:fs throws it: `code`, `errno` (negative), `syscall`, `path`.
import { getSystemErrorName } from "node:util";
import { declare, errnoOf, lastErrno } from "./foreign-library.ts";

/** linux/xattr.h: a value, and the list of an inode's names, have at most 64 KiB. */
const maxXattrBytes = 65_536;
const noLinkFollowed = 0x100; // AT_SYMLINK_NOFOLLOW, fcntl.h
const atWorkingFolder = -100; // AT_FDCWD, fcntl.h
const seekData = 3; // SEEK_DATA, unistd.h
const seekHole = 4;
const ficlone = 0x40049409; // FICLONE, linux/fs.h

const llistxattr = declare("long llistxattr(const void *path, void *list, unsigned long size)");
const lgetxattr = declare("long lgetxattr(const void *path, const void *name, void *value, unsigned long size)");
const lsetxattr = declare(
  "int lsetxattr(const void *path, const void *name, const void *value, unsigned long size, int flags)",
);
const fsetxattr = declare(
  "int fsetxattr(int file, const void *name, const void *value, unsigned long size, int flags)",
);
const utimensat = declare("int utimensat(int folder, const void *path, const void *times, int flags)");
const futimens = declare("int futimens(int file, const void *times)");
const lseek = declare("int64_t lseek(int file, int64_t offset, int whence)");
const ioctl = declare("int ioctl(int file, unsigned long request, int source)");
const syncfs = declare("int syncfs(int file)");
const mknod = findMknod();

// Reused, since making a buffer costs as much as the call.
const pathBuffer = Buffer.allocUnsafeSlow(4096); // PATH_MAX with its NUL, linux/limits.h
const nameBuffer = Buffer.allocUnsafeSlow(256); // XATTR_NAME_MAX and a NUL, linux/limits.h
const names = Buffer.allocUnsafeSlow(maxXattrBytes);
const value = Buffer.allocUnsafeSlow(maxXattrBytes);

/** Attributes of the entry itself, links not followed, by the bytes of their names as latin1; what vanishes is left out. */
export function readXattrs(path: Buffer): Map<string, Buffer> {
  const found = new Map<string, Buffer>();
  const cPath = cString(path, pathBuffer);
  const listed = check(llistxattr(cPath, names, names.length), "llistxattr", path);
  for (let at = 0; at < listed;) {
    const end = names.indexOf(0, at);
    const name = names.toString("latin1", at, end);
    const length = lgetxattr(cPath, cString(Buffer.from(name, "latin1"), nameBuffer), value, value.length);
    // Removed since it was listed: then it has none.
    if (length >= 0) found.set(name, Buffer.from(value.subarray(0, length)));
    else if (lastErrno() !== errnoOf["ENODATA"]) check(length, "lgetxattr", path);
    at = end + 1;
  }
  return found;
}

/** Of an open file, or of what a path names, links not followed. */
export function writeXattr(target: number | Buffer, name: Buffer, content: Buffer): void {
  const cName = cString(name, nameBuffer);
  if (typeof target === "number") check(fsetxattr(target, cName, content, content.length, 0), "fsetxattr");
  else check(lsetxattr(cString(target, pathBuffer), cName, content, content.length, 0), "lsetxattr", target);
}

/** Access and modification time of an open file, or of what a path names, links not followed; ns since 1970. */
export function setTimes(target: number | Buffer, ns: bigint): void {
  const times = Buffer.alloc(32);
  const second = 1_000_000_000n;
  const rest = ((ns % second) + second) % second;
  for (const at of [0, 16]) {
    times.writeBigInt64LE((ns - rest) / second, at);
    times.writeBigInt64LE(rest, at + 8);
  }
  if (typeof target === "number") check(futimens(target, times), "futimens");
  else check(utimensat(atWorkingFolder, cString(target, pathBuffer), times, noLinkFollowed), "utimensat", target);
}

/** `mode` with the type (S_IFIFO, S_IFCHR, S_IFBLK), less the umask. */
export function makeNode(path: Buffer, mode: number, [major, minor]: readonly [number, number]): void {
  const [wideMajor, wideMinor] = [BigInt(major), BigInt(minor)];
  // makedev(3), glibc's encoding.
  const low = (wideMinor & 0xffn) | ((wideMajor & 0xfffn) << 8n);
  const device = low | ((wideMinor & 0xffffff00n) << 12n) | ((wideMajor & 0xfffff000n) << 32n);
  check(mknod(cString(path, pathBuffer), mode, device), "mknod", path);
}

/** Where the first data at or after `offset` begins; null where only a hole is left, or nothing. */
export function findData(descriptor: number, offset: number): number | null {
  return seek(descriptor, offset, seekData);
}

/** Where the data at `offset` ends, in a hole or the end of the file; null where the file ended before. */
export function findHole(descriptor: number, offset: number): number | null {
  return seek(descriptor, offset, seekHole);
}

/** Open files: `target`, which is empty, gets the content of `source` by sharing its extents. */
export function cloneFile(target: number, source: number): void {
  check(ioctl(target, ficlone, source), "FICLONE");
}

/** Writes to disk what the filesystem of this open file or folder still has in memory. */
export function flushFilesystem(descriptor: number): void {
  check(syncfs(descriptor), "syncfs");
}

function seek(descriptor: number, offset: number, whence: number): number | null {
  const found = lseek(descriptor, offset, whence);
  if (found < 0 && lastErrno() === errnoOf["ENXIO"]) return null;
  return check(found, "lseek");
}

/** glibc has it as a symbol of its own since 2.33 only. */
function findMknod(): (path: Buffer, mode: number, device: bigint) => number {
  try {
    return declare("int mknod(const void *path, unsigned int mode, uint64_t device)");
  } catch {
    const former = declare("int __xmknod(int version, const void *path, unsigned int mode, const void *device)");
    return (path, mode, device) => {
      const bytes = Buffer.alloc(8);
      bytes.writeBigUInt64LE(device);
      return former(0, path, mode, bytes);
    };
  }
}

/** The bytes with a NUL, in `reused` where they fit; what is too long is left to the kernel to refuse. */
function cString(bytes: Buffer, reused: Buffer): Buffer {
  if (bytes.length >= reused.length) return Buffer.concat([bytes, Buffer.alloc(1)]);
  reused.set(bytes);
  reused[bytes.length] = 0;
  return reused;
}

function check(result: number, syscall: string, path?: Buffer): number {
  if (result >= 0) return result;
  const errno = -lastErrno();
  const code = getSystemErrorName(errno);
  const of = path === undefined ? "" : ` '${path.toString("utf8")}'`;
  throw Object.assign(new Error(`${code}: ${syscall}${of}`), { errno, code, syscall, path: path?.toString("utf8") });
}
