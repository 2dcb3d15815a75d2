// The thread in which a volume's filesystem is told to keep a moment of it, or to let one go: those calls wait for the
// disk, while the agent goes on. It gets ready first, so that nothing but the moment itself falls into the quiet.
import { closeSync, constants, lstatSync, mkdirSync, openSync, rmSync } from "node:fs";
import path from "node:path";
import { parentPort, workerData } from "node:worker_threads";
import { toErrorRecord, type ErrorRecord } from "../../shared/errors.ts";
import { flushFilesystem } from "../../shared/system-calls.ts";
import type { WalkFindings } from "../source/tree-walk.ts";
import {
  hasSubvolumesBelow,
  isBtrfs,
  makeSnapshot,
  mayRemoveSnapshots,
  removeSnapshot,
  subvolumeRoot,
} from "./btrfs.ts";
import { cloneTree, prepareClones } from "./clone-tree.ts";
import { hasMountsBelow } from "./mounts.ts";

export type MomentOrder =
  | {
      kind: "take";
      /** The volume's folder, no links in it. */
      root: string;
      /** Folder on the same filesystem; the moment becomes `place`/`name`. */
      place: string;
      name: string;
      excludePaths: readonly string[];
      /** A reflink copy will do: the volume is quiet. */
      mayClone: boolean;
    }
  | { kind: "remove"; place: string; name: string };

/** To the thread, once it is ready. */
export type ToMomentThread = "go";

export type FromMomentThread =
  /** `how`: null where the filesystem gives none; the thread ends. */
  | { kind: "ready"; how: "btrfs" | "reflink" | null; why: string }
  /** `root`: where the volume's content is; `findings`: of a copy, whose list is read with clonedEntries. */
  | { kind: "taken"; root: string; findings: WalkFindings | null; tookMs: number }
  | { kind: "removed" }
  | { kind: "failed"; error: ErrorRecord };

const port = parentPort;
if (port === null) throw new TypeError("this file is a worker thread");
const order = workerData as MomentOrder;
const tell = (message: FromMomentThread): void => {
  port.postMessage(message);
};

/** An inode number that only the root of a subvolume has. */
function isSubvolume(file: string): boolean {
  return lstatSync(file, { bigint: true }).ino === 256n && isBtrfs(file);
}

function remove(place: string, name: string): void {
  const file = path.join(place, name);
  try {
    if (isSubvolume(file)) removeSnapshot(place, name);
    else rmSync(file, { recursive: true });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
  }
}

/** A snapshot keeps the numbers of its subvolume. Null: there is none. */
function inodeOf(folder: string): bigint | null {
  return lstatSync(folder, { bigint: true, throwIfNoEntry: false })?.ino ?? null;
}

/** What is written to disk now is not to be waited for while the volume is quiet. */
function flush(folder: string): void {
  const descriptor = openSync(folder, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    flushFilesystem(descriptor);
  } finally {
    closeSync(descriptor);
  }
}

/** What filesystems answer that cannot clone (ioctl_ficlone(2)). */
const noReflinks: ReadonlySet<string> = new Set(["ENOTSUP", "EOPNOTSUPP", "ENOTTY", "EINVAL", "ENOSYS"]);

type Taking = () => Pick<Extract<FromMomentThread, { kind: "taken" }>, "root" | "findings">;

function ready(take: Extract<MomentOrder, { kind: "take" }>): { how: "btrfs" | "reflink"; taking: Taking } | string {
  const { root, place, name, excludePaths, mayClone } = take;
  mkdirSync(place, { recursive: true, mode: 0o700 });
  flush(place);
  const subvolume = isBtrfs(root) ? subvolumeRoot(root) : null;
  const holdsOthers = subvolume !== null && (hasSubvolumesBelow(root) || hasMountsBelow(root));
  if (subvolume !== null && mayRemoveSnapshots() && !holdsOthers) {
    const within = path.join(place, name, path.relative(subvolume, root));
    return {
      how: "btrfs",
      taking: () => {
        makeSnapshot(subvolume, place, name);
        // A bind mount on the way to the volume leads to another folder of the subvolume than its path tells.
        if (inodeOf(within) !== inodeOf(root)) throw new Error(`${within} is not what ${root} is`);
        return { root: within, findings: null };
      },
    };
  }
  if (!mayClone) return holdsOthers ? "other filesystems or subvolumes lie in it" : "no snapshot can be made of it";
  const folder = path.join(place, name);
  mkdirSync(folder, { mode: 0o700 });
  try {
    prepareClones(folder);
  } catch (error) {
    if (!noReflinks.has((error as NodeJS.ErrnoException).code ?? "")) throw error;
    return "its filesystem has no reflinks";
  }
  return { how: "reflink", taking: () => ({ root: folder, findings: cloneTree(root, excludePaths, folder) }) };
}

function begin(): void {
  if (order.kind === "remove") {
    remove(order.place, order.name);
    tell({ kind: "removed" });
    return;
  }
  const state = ready(order);
  if (typeof state === "string") {
    tell({ kind: "ready", how: null, why: state });
    return;
  }
  port?.once("message", () => {
    const startedMs = performance.now();
    try {
      const taken = state.taking();
      tell({ kind: "taken", ...taken, tookMs: performance.now() - startedMs });
    } catch (error) {
      tell({ kind: "failed", error: toErrorRecord(error) });
    }
  });
  tell({ kind: "ready", how: state.how, why: "" });
}

try {
  begin();
} catch (error) {
  tell({ kind: "failed", error: toErrorRecord(error) });
}
