// mocha's own "spec" output, then a line for each failure with its file and what was wrong, for a CI may show nothing but
// the end of what was printed, and the one line by which it counts:
// "N passed, N failed". test/run/tool.ts reads both.
// Plain JavaScript: mocha loads reporters before it loads TypeScript.
import { relative } from "node:path";
import mocha from "mocha";

/** How much is said of what was wrong; above it is the whole. */
const messageLength = 300;

export default class CountingSpec extends mocha.reporters.Spec {
  epilogue() {
    super.epilogue();
    for (const failure of this.failures) {
      const file = failure.file ? relative(process.cwd(), failure.file) : "around all files";
      const message = String(failure.err?.message ?? failure.err)
        .replaceAll(/\s+/g, " ")
        .slice(0, messageLength);
      console.log(`failed: ${file}: ${failure.titlePath().join(" › ")}: ${message}`);
    }
    console.log(`${this.stats.passes} passed, ${this.stats.failures} failed`);
  }
}
