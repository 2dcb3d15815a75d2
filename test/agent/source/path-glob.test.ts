import { expect } from "chai";
import fc from "fast-check";
import { pathFilter } from "../../../agent/source/path-glob.ts";

/** The same globs as a regular expression, which may take for ever. */
function oracle(glob: string): RegExp {
  const trimmed = glob.replace(/\/+$/, "");
  const parts: Record<string, string> = { "**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]" };
  const source = trimmed
    .replace(/^\//, "")
    .replaceAll(/\*\*\/|\*\*|\*|\?|[^*?]/gu, (part) => parts[part] ?? RegExp.escape(part));
  return new RegExp(`^${trimmed.includes("/") ? "" : "(?:.*/)?"}${source}$`, "su");
}

describe("globs on paths", () => {
  const cases: [glob: string, path: string, matches: boolean][] = [
    ["*.log", "a.log", true],
    ["*.log", "deep/down/a.log", true],
    ["/*.log", "deep/a.log", false],
    ["/*.log", "a.log", true],
    ["cache/*", "cache/x", true],
    ["cache/*", "cache/x/y", false],
    ["cache/**", "cache/x/y", true],
    ["**/tmp", "tmp", true],
    ["**/tmp", "a/b/tmp", true],
    ["a/**/z", "a/z", true],
    ["a/**/z", "a/b/c/z", true],
    ["a?c", "a/c", false],
    ["a?c", "a🐝c", true],
    ["x.(y)+[z]", "x.(y)+[z]", true],
    ["x.y", "xzy", false],
  ];
  for (const [glob, path, matches] of cases) {
    it(`${glob} ${matches ? "matches" : "does not match"} ${path}`, () => {
      expect(pathFilter([glob])(path)).to.equal(matches);
    });
  }

  it("mean what their regular expression means", () => {
    const text = (...pieces: string[]): fc.Arbitrary<string> =>
      fc.array(fc.constantFrom(...pieces), { maxLength: 12 }).map((all) => all.join(""));
    fc.assert(
      fc.property(
        text("a", "b", "🐝", "/", "*", "**", "**/", "?", "\n"),
        text("a", "b", "🐝", "/", "\n"),
        (glob, path) => {
          expect(pathFilter([glob])(path), `${glob} on ${path}`).to.equal(oracle(glob).test(path));
        },
      ),
      { numRuns: 2000 },
    );
  });

  it("are soon done with a path that somebody made for them", () => {
    const hostile: [glob: string, path: string][] = [
      ["**/cache/**/tmp/**/x/**/y", "cache/tmp/x/".repeat(340)],
      ["*a*a*a*a*a*a*a*b", "a".repeat(255)],
      ["**a**a**a**a**a**b", "a".repeat(4096)],
    ];
    const before = process.threadCpuUsage().user;
    for (const [glob, path] of hostile) expect(pathFilter([glob])(path), glob).to.equal(false);
    expect((process.threadCpuUsage().user - before) / 1000, "ms of CPU").to.be.lessThan(1000);
  });
});
