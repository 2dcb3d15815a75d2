import { mkdirSync, mkdtempSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect } from "chai";
import { resolveHostPath } from "../../agent/host-path.ts";

describe("a path of the host", () => {
  let root: string;
  beforeEach(() => {
    root = mkdtempSync(join(tmpdir(), "skep-host-"));
    mkdirSync(join(root, "data", "docker"), { recursive: true });
    mkdirSync(join(root, "var", "lib"), { recursive: true });
  });
  afterEach(() => {
    rmSync(root, { recursive: true });
  });

  it("follows the host's absolute links within the host's root", async () => {
    symlinkSync("/data/docker", join(root, "var", "lib", "docker"));
    expect(await resolveHostPath(root, "/var/lib/docker/volumes/x")).to.equal(join(root, "data/docker/volumes/x"));
  });

  it("never leaves the host's root, not by .. and not by a link", async () => {
    symlinkSync("../../../../../../etc", join(root, "var", "up"));
    expect(await resolveHostPath(root, "/var/up/passwd")).to.equal(join(root, "etc/passwd"));
    expect(await resolveHostPath(root, "/../../etc")).to.equal(join(root, "etc"));
  });

  it("refuses a loop of links and a relative path", async () => {
    symlinkSync("/loop", join(root, "loop"));
    for (const path of ["/loop/x", "relative"]) {
      const error: unknown = await resolveHostPath(root, path).catch((thrown: unknown) => thrown);
      expect(error).to.include({ code: "SKEP_HOST_PATH_INVALID" });
    }
  });
});
