// Globs on names: of volumes, as the policy and its rules have them, and of hosts in known_hosts.

/** `*`: any characters, `?`: one. In linear time: the patterns come from people, the names from anybody. */
export function globFits(pattern: string, text: string): boolean {
  let at = 0;
  let star = -1;
  let resume = 0;
  let p = 0;
  while (at < text.length) {
    if (pattern[p] === "*") {
      star = p++;
      resume = at;
    } else if (pattern[p] === "?" || (p < pattern.length && pattern[p] === text[at])) {
      p++;
      at++;
    } else if (star >= 0) {
      p = star + 1;
      at = ++resume;
    } else return false;
  }
  while (pattern[p] === "*") p++;
  return p === pattern.length;
}
