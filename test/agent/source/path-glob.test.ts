import { expect } from "chai";
import { pathFilter } from "../../../agent/source/path-glob.ts";

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
});
