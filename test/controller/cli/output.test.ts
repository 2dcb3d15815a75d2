import { expect } from "chai";
import { spawnSync } from "node:child_process";
import { join } from "node:path";

const module = join(import.meta.dirname, "..", "..", "..", "controller", "cli", "output.ts");

/** Whether output in a new terminal, prepared by `stty`, is redrawn in place. */
function isLive(stty: string): string {
  const program = `const { makeOutput } = await import(${JSON.stringify(module)}); console.log("live", makeOutput(false).live)`;
  const command = `stty ${stty}; '${process.execPath}' --input-type=module -e '${program}'`;
  const { stdout } = spawnSync("script", ["--quiet", "--command", command, "/dev/null"], {
    encoding: "utf8",
    env: { PATH: process.env["PATH"], TERM: "xterm", NO_COLOR: "1" },
  });
  return stdout.trim();
}

describe("the CLI's output", () => {
  it("is redrawn in place on a terminal, and not on one without a size, where nothing of it would show", () => {
    expect(isLive("rows 24 cols 80")).to.equal("live true");
    expect(isLive("rows 0 cols 0")).to.equal("live false");
  });
});
