import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { join, relative } from "node:path";
import { expect } from "chai";
import { projectRoot, runTool, type Outcome } from "./tool.ts";

const never = new AbortController().signal;

/** What `npm test` makes of the mocha files `sources`, run with these further options; nothing is shown. */
async function outcomeOf(sources: Readonly<Record<string, string>>, ...more: readonly string[]): Promise<Outcome> {
  // In the project: mocha names files relative to it.
  await mkdir(join(projectRoot, ".cache"), { recursive: true });
  const folder = await mkdtemp(join(projectRoot, ".cache", "run-test-"));
  const paths: string[] = [];
  try {
    for (const [name, source] of Object.entries(sources)) {
      paths.push(join(folder, name));
      await writeFile(join(folder, name), source);
    }
    const options = ["--no-config", "--ui", "test/bdd.js", "--reporter", "test/reporter.js", ...more];
    const outcome = await runTool("some", "mocha", [...options, ...paths], { signal: never, show: () => undefined });
    const failures = outcome.failures.map((line) => line.replaceAll(relative(projectRoot, folder), "FOLDER"));
    return { ...outcome, failures };
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

const good = `describe("good", () => { it("works", () => {}); });`;

describe("the outcome of a test run", function () {
  this.timeout(60_000);

  it("counts what passed and failed, and names file, title and fault of what failed", async () => {
    const outcome = await outcomeOf({
      "good.test.mjs": good,
      "bad.test.mjs": `describe("bad", () => { it("breaks", () => { throw new Error("no"); }); });`,
    });
    expect(outcome).to.deep.include({ passed: 1, failed: 1, failures: ["FOLDER/bad.test.mjs: bad › breaks: no"] });
  });

  it("names the file whose set-up failed, and why", async () => {
    const outcome = await outcomeOf({
      "bad.test.mjs": `describe("bad", () => { before(() => { throw new Error("no"); }); it("works", () => {}); });`,
    });
    expect(outcome).to.deep.include({ passed: 0, failed: 1 });
    expect(outcome.failures).to.deep.equal([`FOLDER/bad.test.mjs: bad › "before all" hook for "works": no`]);
  });

  it("names the file that can't be loaded, and fails", async () => {
    const outcome = await outcomeOf({ "good.test.mjs": good, "lost.test.mjs": `import { nothing } from "node:fs";` });
    expect(outcome).to.deep.include({ passed: 0, failed: 1 });
    expect(outcome.failures.join("\n")).to.match(/^FOLDER\/lost\.test\.mjs: can't be loaded\n/);
    expect(outcome.failures.join("\n")).to.contain("does not provide an export named 'nothing'");
  });

  it("names what went wrong in a file of several that run side by side, and counts the others", async () => {
    const parallel = ["--parallel", "--jobs", "2"];
    for (const source of [
      `import { nothing } from "node:fs";`,
      `describe("x", () => it("y", () => process.exit(3)));`,
    ]) {
      const outcome = await outcomeOf({ "good.test.mjs": good, "lost.test.mjs": source }, ...parallel);
      expect(outcome).to.deep.include({ passed: 1, failed: 1 });
      expect(outcome.failures.at(-1)).to.match(
        /^FOLDER\/lost\.test\.mjs: .*(does not provide an export named 'nothing'|terminated)/,
      );
    }
  });

  it("is a failure with the last lines where a check ends badly", async () => {
    const argv = ["-e", "console.log('why'); process.exit(3)"];
    const outcome = await runTool("check", "node", argv, { signal: never, isCheck: true, show: () => undefined });
    expect(outcome).to.deep.include({ passed: 0, failed: 1 });
    expect(outcome.failures).to.deep.equal(["check ended with exit status 3\n      why"]);
  });

  it("is a failure where the run is interrupted", async () => {
    const interruption = new AbortController();
    const running = runTool("slow", "node", ["-e", "setTimeout(() => {}, 60_000); console.log('begun')"], {
      signal: interruption.signal,
      show: () => {
        interruption.abort();
      },
    });
    expect(await running).to.deep.include({ passed: 0, failed: 1 });
  });
});
