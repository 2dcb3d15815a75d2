// What is mounted where, by the mountinfo of proc(5): its first field is the mount's number, its fifth the place.
import { closeSync, constants, openSync, readFileSync } from "node:fs";

/** Whether anything is mounted below `folder`, no links in it: a snapshot of its filesystem has an empty folder in its place. Throws where that cannot be seen. */
export function hasMountsBelow(folder: string): boolean {
  const { list, place } = mountListOf(folder);
  const mounts = readFileSync(list, "utf8");
  // By a path that leads into another mount namespace: what is mounted there would not be in this list either.
  if (!isListed(mounts, mountNumberOf(folder), place)) throw new Error(`${list} does not have the mount of ${folder}`);
  return isMountedBelow(mounts, place);
}

/** Where the mounts at `folder` are listed, and its name there: below /proc/PID/root they are those that the process sees. */
export function mountListOf(folder: string): { list: string; place: string } {
  const [, pid = "self", place = folder] = /^\/proc\/(\d+|self)\/root(\/.*)$/.exec(folder) ?? [];
  return { list: `/proc/${pid}/mountinfo`, place };
}

export function isMountedBelow(mountinfo: string, folder: string): boolean {
  return mountinfo.split("\n").some((line) => placeOf(line).startsWith(`${folder}/`));
}

/** Whether the mount of that number is there, and leads to `place`. */
export function isListed(mountinfo: string, number: string, place: string): boolean {
  const line = mountinfo.split("\n").find((line) => line.startsWith(`${number} `));
  if (line === undefined) return false;
  const at = placeOf(line);
  return at === "/" || at === place || place.startsWith(`${at}/`);
}

/** Number of the mount that `folder` lies in. */
function mountNumberOf(folder: string): string {
  const descriptor = openSync(folder, constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW);
  try {
    return openedMount(descriptor);
  } finally {
    closeSync(descriptor);
  }
}

/** Number of the mount that an opened file or folder lies in. */
export function openedMount(descriptor: number): string {
  const facts = readFileSync(`/proc/self/fdinfo/${descriptor}`, "utf8");
  return /^mnt_id:\s*(\d+)$/m.exec(facts)?.[1] ?? "";
}

/** Blank, tab, line feed and backslash stand there as octal numbers. */
function placeOf(line: string): string {
  const written = line.split(" ")[4] ?? "";
  return written.replace(/\\([0-7]{3})/g, (_all, octal: string) => String.fromCharCode(parseInt(octal, 8)));
}
