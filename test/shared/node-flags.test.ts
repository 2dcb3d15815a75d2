import { spawnSync } from "node:child_process";
import { expect } from "chai";
import { daemonFlags, nodeFlags } from "../../shared/node-flags.ts";

describe("the flags of processes that move data", () => {
  it("are taken by Node, and bound what it keeps before it collects", () => {
    const program = "process.stdout.write(String(require('node:v8').getHeapStatistics().heap_size_limit))";
    const { stdout, stderr } = spawnSync(process.execPath, [...nodeFlags, "-e", program], { encoding: "utf8" });
    expect(stderr).to.equal("");
    // Three semi-spaces come on top.
    expect(Number(stdout)).to.be.within(1024 * 2 ** 20, 1040 * 2 ** 20);
  });

  it("leave a daemon the memory that Node takes by itself: an entry of the chain may need more", () => {
    expect(daemonFlags).to.deep.equal(nodeFlags.filter((flag) => !flag.startsWith("--max-old-space-size")));
  });
});
