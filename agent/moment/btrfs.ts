// Snapshots of btrfs: of the subvolume that a folder lies in, read-only, made in one transaction of the filesystem, so of
// one moment. Numbers and layouts are those of linux/btrfs.h.
import { closeSync, constants, lstatSync, openSync, readFileSync, statfsSync } from "node:fs";
import path from "node:path";
import { getSystemErrorName } from "node:util";
import { declare, errnoOf, lastErrno } from "../../shared/foreign-library.ts";

export const btrfsMagic = 0x9123683e; // BTRFS_SUPER_MAGIC, linux/magic.h
/** Inode number of a subvolume's root (BTRFS_FIRST_FREE_OBJECTID). */
const rootInode = 256n;
const snapCreateV2 = 0x50009417; // BTRFS_IOC_SNAP_CREATE_V2
const snapDestroy = 0x5000940f; // BTRFS_IOC_SNAP_DESTROY
const getSubvolRootref = 0xd000943d; // BTRFS_IOC_GET_SUBVOL_ROOTREF
const inoLookupUser = 0xd000943e; // BTRFS_IOC_INO_LOOKUP_USER
const readOnly = 2n; // BTRFS_SUBVOL_RDONLY
/** Of the argument of each of these calls. */
const argumentBytes = 4096;
const maxRootrefs = 255;
const sysAdmin = 21n; // CAP_SYS_ADMIN, linux/capability.h

const ioctl = declare("int ioctl(int file, unsigned long request, void *argument)");

/** Removing a snapshot wants CAP_SYS_ADMIN: who can't remove one shall not make one. */
export function mayRemoveSnapshots(): boolean {
  const effective = /^CapEff:\s*([0-9a-f]+)$/m.exec(readFileSync("/proc/self/status", "utf8"))?.[1] ?? "0";
  return ((BigInt(`0x${effective}`) >> sysAdmin) & 1n) === 1n;
}

export function isBtrfs(folder: string): boolean {
  return statfsSync(folder).type === btrfsMagic;
}

/** Root folder of the subvolume that `folder` (no links in it) lies in; null where this process does not see it. */
export function subvolumeRoot(folder: string): string | null {
  const { dev } = lstatSync(folder, { bigint: true });
  for (let at = folder; ; at = path.dirname(at)) {
    const stat = lstatSync(at, { bigint: true });
    if (stat.dev !== dev) return null;
    if (stat.ino === rootInode) return at;
    if (at === "/") return null;
  }
}

/** Whether other subvolumes lie below `folder`: a snapshot has empty folders in their places. */
export function hasSubvolumesBelow(folder: string): boolean {
  const descriptor = openSync(folder, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    const found = Buffer.alloc(argumentBytes);
    for (let least = 0n; ;) {
      found.fill(0);
      found.writeBigUInt64LE(least, 0);
      const isWhole = ioctl(descriptor, getSubvolRootref, found) === 0;
      // It fills the list and says that there are more.
      if (!isWhole && lastErrno() !== errnoOf["EOVERFLOW"]) throw failure("BTRFS_IOC_GET_SUBVOL_ROOTREF", folder);
      const count = Math.min(maxRootrefs, found.readUInt8(8 + 16 * maxRootrefs));
      for (let i = 0; i < count; i++) {
        const subvolume = found.readBigUInt64LE(8 + 16 * i);
        if (isBelow(descriptor, folder, found.readBigUInt64LE(16 + 16 * i), subvolume)) return true;
        least = subvolume + 1n;
      }
      if (isWhole || count === 0) return false;
    }
  } finally {
    closeSync(descriptor);
  }
}

/** `parent`: inode number of the folder that the subvolume lies in. */
function isBelow(descriptor: number, folder: string, parent: bigint, subvolume: bigint): boolean {
  const asked = Buffer.alloc(argumentBytes);
  asked.writeBigUInt64LE(parent, 0);
  asked.writeBigUInt64LE(subvolume, 8);
  if (ioctl(descriptor, inoLookupUser, asked) === 0) return true;
  // EACCES: the way up from it does not lead through this folder. ENOENT: it was removed meanwhile.
  if (lastErrno() === errnoOf["EACCES"] || lastErrno() === errnoOf["ENOENT"]) return false;
  throw failure("BTRFS_IOC_INO_LOOKUP_USER", folder);
}

/** Makes `place`/`name` a read-only snapshot of the subvolume whose root folder is `subvolume`. */
export function makeSnapshot(subvolume: string, place: string, name: string): void {
  withFolder(subvolume, (source) => {
    withFolder(place, (target) => {
      const order = Buffer.alloc(argumentBytes);
      order.writeBigInt64LE(BigInt(source), 0);
      order.writeBigUInt64LE(readOnly, 16);
      order.write(name, 56, "utf8");
      if (ioctl(target, snapCreateV2, order) !== 0) throw failure("BTRFS_IOC_SNAP_CREATE_V2", `${place}/${name}`);
    });
  });
}

export function removeSnapshot(place: string, name: string): void {
  withFolder(place, (target) => {
    const order = Buffer.alloc(argumentBytes);
    order.write(name, 8, "utf8");
    if (ioctl(target, snapDestroy, order) !== 0) throw failure("BTRFS_IOC_SNAP_DESTROY", `${place}/${name}`);
  });
}

function withFolder(folder: string, act: (descriptor: number) => void): void {
  const descriptor = openSync(folder, constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW);
  try {
    act(descriptor);
  } finally {
    closeSync(descriptor);
  }
}

/** As node:fs throws it. */
function failure(syscall: string, file: string): Error {
  const errno = -lastErrno();
  const code = getSystemErrorName(errno);
  return Object.assign(new Error(`${code}: ${syscall} '${file}'`), { errno, code, syscall, path: file });
}
