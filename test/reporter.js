// mocha's own "spec" output, then the one line by which a CI counts: "N passed, N failed".
// Plain JavaScript: mocha loads reporters before it loads TypeScript.
import mocha from "mocha";

export default class CountingSpec extends mocha.reporters.Spec {
  epilogue() {
    super.epilogue();
    console.log(`${this.stats.passes} passed, ${this.stats.failures} failed`);
  }
}
