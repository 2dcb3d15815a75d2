import { expect } from "chai";
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { readdir } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { foreignParts } from "../../controller/recovery/foreign-parts.ts";
import { packRuntimeKit } from "../../controller/recovery/runtime-kit.ts";

/** ELF, e_machine (System V ABI): 183 is EM_AARCH64. */
function machineOf(path: string): number {
  const head = readFileSync(path).subarray(0, 20);
  if (head.subarray(0, 4).toString("latin1") !== "\x7fELF") return 0;
  return head.readUInt16LE(18);
}

describe("a kit for arm64, built on another machine and not run here", function () {
  this.timeout(600_000);
  let folder: string;
  before(() => {
    folder = mkdtempSync(join(tmpdir(), "skep-foreign-kit-"));
  });
  after(() => {
    rmSync(folder, { recursive: true, force: true });
  });

  it("has Node and every native module for that architecture, and none for another", async () => {
    const parts = await foreignParts("arm64", join(folder, "parts"), new AbortController().signal);
    const { path, architecture } = await packRuntimeKit(
      join(folder, "kit.tar.gz"),
      parts,
      new AbortController().signal,
    );
    expect(architecture).to.equal("arm64");
    execFileSync("tar", ["-xzf", path, "-C", folder, "bin", "node_modules", "skep"]);
    expect(machineOf(join(folder, "bin/node"))).to.equal(183);
    const modules = join(folder, "node_modules");
    const natives = (await readdir(modules, { recursive: true })).filter((name) => name.endsWith(".node"));
    for (const wanted of [/koffi/, /blake-hash/]) expect(natives.some((name) => wanted.test(name))).to.be.true;
    for (const name of natives) expect(machineOf(join(modules, name)), name).to.equal(183);
  });
});
