import { expect } from "chai";
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const skep = fileURLToPath(new URL("../../../controller/cli/skep.cjs", import.meta.url));

describe("compiled code of the CLI", () => {
  it("is kept in a folder of one's own, and not where a link leads", () => {
    const scratch = mkdtempSync(join(tmpdir(), "skep-cache-"));
    const runWith = (folder: string): void => {
      const env = { ...process.env, NODE_COMPILE_CACHE: "", XDG_CACHE_HOME: join(scratch, folder) };
      execFileSync(process.execPath, [skep, "--version"], { env });
    };
    try {
      runWith("own");
      expect(existsSync(join(scratch, "own", "skep", "compiled"))).to.be.true;
      for (const folder of ["linked", "elsewhere"]) mkdirSync(join(scratch, folder), { mode: 0o700 });
      symlinkSync(join(scratch, "elsewhere"), join(scratch, "linked", "skep"));
      runWith("linked");
      expect(readdirSync(join(scratch, "elsewhere"))).to.deep.equal([]);
    } finally {
      rmSync(scratch, { recursive: true });
    }
  });
});
