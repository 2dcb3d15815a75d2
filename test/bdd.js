// mocha's own "bdd" interface, which also names the file that could not be loaded: mocha's message often doesn't, and then
// runs none of the others either. test/run/tool.ts reads the line.
// Plain JavaScript, as test/reporter.js.
import { enableCompileCache } from "node:module";
import { join, relative } from "node:path";
import mocha from "mocha";

// The tests' code, and that of the hundreds of processes they start, is stripped of types and compiled once.
process.env.NODE_COMPILE_CACHE ??= join(import.meta.dirname, "..", "node_modules", ".cache", "compiled");
enableCompileCache(process.env.NODE_COMPILE_CACHE);

let loading = null;
process.on("exit", () => {
  if (loading !== null) console.log(`failed: ${relative(process.cwd(), loading)}: can't be loaded`);
});

/** Called once for all files, or for each of those that run side by side. */
export default function bdd(suite) {
  mocha.interfaces.bdd(suite);
  suite.on("pre-require", (_context, file) => (loading = file));
  suite.on("post-require", () => (loading = null));
}
