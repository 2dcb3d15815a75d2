// Globs on paths within a volume: `*` and `?` stay within one folder, `**` crosses folders. A pattern without a
// slash matches in any folder; what lies in a matched folder is left out with it.
//
// The patterns come from people, the paths from whoever writes in the volume: a regular expression goes back and forth, and
// three `**` took it half a second for one path made for them. Here each piece of the pattern is told all the places of the
// path up to which the pieces before it fit, and tells those up to which it does: once along the path for each piece.

/** Whether the path (relative, `/` between segments) is left out. */
export type PathFilter = (path: string) => boolean;

export function pathFilter(globs: readonly string[]): PathFilter {
  const patterns = globs.map((glob) => ({ texts: glob.split(/\*+\/*|\?|^\/|\/+$/), pieces: piecesOf(glob) }));
  // Most paths lack a text of the pattern, which is soon seen.
  return (path) =>
    patterns.some(({ texts, pieces }) => texts.every((wanted) => path.includes(wanted)) && fits(pieces, path));
}

/** From places in the path, ascending, to those that can follow. */
type Piece = (places: readonly number[], path: string) => number[];

function piecesOf(glob: string): Piece[] {
  const trimmed = glob.replace(/\/+$/, "");
  const pieces: Piece[] = trimmed.includes("/") ? [] : [folders];
  for (const [found] of trimmed.replace(/^\//, "").matchAll(/\*\*\/|\*\*|\*|\?|[^*?]+/gu)) {
    if (found === "**/") pieces.push(folders);
    else if (found === "**") pieces.push(anything);
    else if (found === "*") pieces.push(withinFolder);
    else if (found === "?") pieces.push(oneCharacter);
    else pieces.push(text(found));
  }
  return pieces;
}

function fits(pieces: readonly Piece[], path: string): boolean {
  let places: readonly number[] = [0];
  for (const piece of pieces) {
    places = piece(places, path);
    if (places.length === 0) return false;
  }
  return places.at(-1) === path.length;
}

function text(wanted: string): Piece {
  return (places, path) => places.filter((at) => path.startsWith(wanted, at)).map((at) => at + wanted.length);
}

const oneCharacter: Piece = (places, path) =>
  places.flatMap((at) => {
    const length = characterAt(path, at);
    return length === null ? [] : [at + length];
  });

const withinFolder: Piece = (places, path) => {
  const reached: number[] = [];
  for (const place of places) {
    if (place <= (reached.at(-1) ?? -1)) continue;
    for (let at: number | null = place; at !== null;) {
      reached.push(at);
      const length = characterAt(path, at);
      at = length === null ? null : at + length;
    }
  }
  return reached;
};

const anything: Piece = ([first = 0], path) => {
  const reached: number[] = [];
  for (let at = first; at <= path.length; at += characterAt(path, at) ?? 1) reached.push(at);
  return reached;
};

/** Whole ones, each with its slash; none, too. */
const folders: Piece = (places, path) => {
  const reached = new Set(places);
  for (let end = path.indexOf("/", places[0]); end >= 0; end = path.indexOf("/", end + 1)) reached.add(end + 1);
  return [...reached].sort((a, b) => a - b);
};

/** The length of the one at `at`, which may be a pair of surrogates; null where it is a slash, or the path ends. */
function characterAt(path: string, at: number): number | null {
  const character = path.codePointAt(at);
  if (character === undefined || character === slash) return null;
  return character > 0xffff ? 2 : 1;
}

const slash = 0x2f;
