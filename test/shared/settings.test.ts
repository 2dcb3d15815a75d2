import { expect } from "chai";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { readSettings, type Setting } from "../../shared/settings.ts";

const settings = {
  SKEP_PORT: { expected: "a port", example: "8420", fallback: "8420", pattern: /^\d+$/ },
  SKEP_NAME: { expected: "a name", example: "anna", pattern: /^[a-z]+$/ },
  SKEP_TOKEN_FILE: { expected: "a file with a token", example: "/run/secrets/token", pattern: /^\w{8}$/, file: true },
} satisfies Record<string, Setting>;

describe("settings", () => {
  let folder: string;
  before(() => {
    folder = mkdtempSync(join(tmpdir(), "skep-settings-"));
    writeFileSync(join(folder, "token"), "hunter22\n");
  });
  after(() => {
    rmSync(folder, { recursive: true });
  });

  it("takes fallbacks, and secrets from files without their line end", () => {
    const read = readSettings(settings, { SKEP_NAME: "anna", SKEP_TOKEN_FILE: join(folder, "token") });
    expect(read).to.deep.equal({ SKEP_PORT: "8420", SKEP_NAME: "anna", SKEP_TOKEN_FILE: "hunter22" });
  });

  it("reports all faults at once, with an example each and no value", () => {
    writeFileSync(join(folder, "bad"), "hunter2 is too long");
    const environment = { SKEP_PORT: "http", SKEP_TOKEN_FILE: join(folder, "bad") };
    expect(() => readSettings(settings, environment))
      .to.throw("SKEP_PORT has another shape: expected a port, e.g. SKEP_PORT=8420")
      .with.property("message")
      .that.contains("SKEP_NAME is not set: expected a name")
      .and.contains("SKEP_TOKEN_FILE names a file of another shape")
      .and.does.not.contain("hunter2");
  });
});
