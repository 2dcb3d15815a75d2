// What is mounted where, by the mountinfo of proc(5): its fifth field is the place, as this process sees it.

/** Whether anything is mounted below `folder`: a snapshot of its filesystem has an empty folder in its place. */
export function hasMountsBelow(mountinfo: string, folder: string): boolean {
  return mountinfo.split("\n").some((line) => placeOf(line).startsWith(`${folder}/`));
}

/** Blank, tab, line feed and backslash stand there as octal numbers. */
function placeOf(line: string): string {
  const written = line.split(" ")[4] ?? "";
  return written.replace(/\\([0-7]{3})/g, (_all, octal: string) => String.fromCharCode(parseInt(octal, 8)));
}
