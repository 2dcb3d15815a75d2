// mocha's own "spec" output, then a line for each failure with its file, and the one line by which a CI counts:
// "N passed, N failed". test/run/tool.ts reads both.
// Plain JavaScript: mocha loads reporters before it loads TypeScript.
import { relative } from "node:path";
import mocha from "mocha";

export default class CountingSpec extends mocha.reporters.Spec {
  epilogue() {
    super.epilogue();
    for (const failure of this.failures) {
      const file = failure.file ? relative(process.cwd(), failure.file) : "around all files";
      console.log(`failed: ${file}: ${failure.titlePath().join(" › ")}`);
    }
    console.log(`${this.stats.passes} passed, ${this.stats.failures} failed`);
  }
}
