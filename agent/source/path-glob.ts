// Globs on paths within a volume: `*` and `?` stay within one folder, `**` crosses folders. A pattern without a
// slash matches in any folder; what lies in a matched folder is left out with it.

/** Whether the path (relative, `/` between segments) is left out. */
export type PathFilter = (path: string) => boolean;

export function pathFilter(globs: readonly string[]): PathFilter {
  const patterns = globs.map(toRegExp);
  return (path) => patterns.some((pattern) => pattern.test(path));
}

function toRegExp(glob: string): RegExp {
  const trimmed = glob.replace(/\/+$/, "");
  const anchored = trimmed.includes("/");
  let source = "";
  const rest = trimmed.replace(/^\//, "");
  for (let at = 0; at < rest.length; at++) {
    const character = rest[at] ?? "";
    if (rest.startsWith("**/", at)) {
      source += "(?:.*/)?";
      at += 2;
    } else if (rest.startsWith("**", at)) {
      source += ".*";
      at += 1;
    } else if (character === "*") source += "[^/]*";
    else if (character === "?") source += "[^/]";
    else source += character.replace(/[\\^$.|+()[\]{}]/, "\\$&");
  }
  return new RegExp(`^${anchored ? "" : "(?:.*/)?"}${source}$`, "su");
}
