import { expect } from "chai";
import { globSync, readFileSync } from "node:fs";
import { join } from "node:path";
import ts from "typescript";

const root = join(import.meta.dirname, "..", "..", "..");

/** Marks between two functions of one file, never shown. */
const notShown = new Set(["SKEP_NOT_THIS_FILE"]);

/** String literals that are a code; `process.env["SKEP_…"]` and the settings' names (object keys) are none. */
function codesOfSource(): Set<string> {
  const codes = new Set<string>();
  const visit = (node: ts.Node): void => {
    const isEnvironment = ts.isElementAccessExpression(node.parent) && node.parent.argumentExpression === node;
    const isFlag = ts.isPropertyAssignment(node.parent) && node.parent.name === node;
    if (ts.isStringLiteralLike(node) && /^SKEP_[A-Z0-9_]*[A-Z0-9]$/.test(node.text) && !isEnvironment && !isFlag) {
      codes.add(node.text);
    }
    ts.forEachChild(node, visit);
  };
  for (const path of globSync("{agent,controller,shared}/**/*.ts", { cwd: root })) {
    const source = ts.createSourceFile(path, readFileSync(join(root, path), "utf8"), ts.ScriptTarget.Latest, true);
    ts.forEachChild(source, visit);
  }
  // The launcher is plain JavaScript, and prints its one code itself.
  const launcher = readFileSync(join(root, "controller", "cli", "skep.cjs"), "utf8");
  for (const [code] of launcher.matchAll(/SKEP_[A-Z0-9_]+/g)) codes.add(code);
  return codes;
}

describe("docs/ERRORS.md", () => {
  const page = readFileSync(join(root, "docs", "ERRORS.md"), "utf8");
  const rows = [...page.matchAll(/^\| `(SKEP_[A-Z0-9_]+)` +\| (.+?) +\| (.+?) +\|$/gm)];
  const listed = rows.map(([, code]) => code ?? "");

  it("lists each code of the source once, and no other", () => {
    const known = [...codesOfSource().difference(notShown)];
    const missing = known.filter((code) => !listed.includes(code));
    expect(missing, "in the source, but without a row (code, cause, what to do) in docs/ERRORS.md").to.deep.equal([]);
    const unknown = listed.filter((code) => !known.includes(code));
    expect(unknown, "in docs/ERRORS.md, but not in the source any more").to.deep.equal([]);
    expect(listed.filter((code, index) => listed.indexOf(code) !== index)).to.deep.equal([]);
  });

  it("says of each code what caused it", () => {
    for (const [, code, cause] of rows) expect(cause, code).to.have.length.above(8);
  });
});
