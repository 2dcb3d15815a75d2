// mocha's own "bdd" interface, which also names the file that could not be loaded: mocha's message often doesn't, and then
// runs none of the others either. test/run/tool.ts reads the line.
// Plain JavaScript, as test/reporter.js.
import { relative } from "node:path";
import mocha from "mocha";

export default function bdd(suite) {
  mocha.interfaces.bdd(suite);
  let loading = null;
  suite.on("pre-require", (_context, file) => (loading = file));
  suite.on("post-require", () => (loading = null));
  process.on("exit", () => {
    if (loading !== null) console.log(`failed: ${relative(process.cwd(), loading)}: can't be loaded`);
  });
}
