import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { expect } from "chai";
import { findTestFiles, planBatches } from "./lanes.ts";
import { projectRoot } from "./tool.ts";

describe("the batches of the end-to-end tests", () => {
  it("keep the files that share the cluster together, and begin with what takes longest", () => {
    const batches = planBatches([
      { path: "test/e2e/runs.test.ts", sharesCluster: true },
      { path: "test/e2e/alone.test.ts", sharesCluster: false },
      { path: "test/e2e/bad-input.test.ts", sharesCluster: false },
      { path: "test/e2e/kills.test.ts", sharesCluster: true },
    ]);
    expect(batches).to.deep.equal([
      { name: "shared-cluster", paths: ["test/e2e/kills.test.ts", "test/e2e/runs.test.ts"] },
      { name: "bad-input", paths: ["test/e2e/bad-input.test.ts"] },
      { name: "alone", paths: ["test/e2e/alone.test.ts"] },
    ]);
  });

  it("hold each test file of test/e2e once", async () => {
    const files = (await readdir(join(projectRoot, "test/e2e"), { recursive: true })).filter((path) =>
      path.endsWith(".test.ts"),
    );
    const planned = planBatches(await findTestFiles()).flatMap((batch) => batch.paths);
    expect(planned).to.have.members(files.map((file) => join("test/e2e", file)));
    expect(new Set(planned)).to.have.lengthOf(planned.length);
  });

  it("are those of the files that were asked for", async () => {
    const files = await findTestFiles(["kills", "drained"]);
    const paths = files.map(({ path }) => path).toSorted();
    expect(paths).to.deep.equal(["test/e2e/drained.test.ts", "test/e2e/kills.test.ts"]);
    expect(files.find(({ path }) => path.includes("kills"))?.sharesCluster).to.be.true;
    expect(files.find(({ path }) => path.includes("drained"))?.sharesCluster).to.be.false;
  });
});
