// The health checks of stack.yml, as the engine runs them: by the container's shell.
import { expect } from "chai";
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parse } from "yaml";

interface Stack {
  services: Record<string, { healthcheck: { test: string[] } }>;
}

describe("the health checks of stack.yml", () => {
  const { services } = parse(readFileSync(join(import.meta.dirname, "..", "..", "stack.yml"), "utf8")) as Stack;
  const file = { controller: "/tmp/alive", agent: "/var/lib/skep/alive" };
  let folder: string;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), "skep-health-"));
  });
  afterEach(() => {
    rmSync(folder, { recursive: true });
  });

  for (const service of ["controller", "agent"] as const) {
    it(`tell by the age of its file whether ${service} is alive`, () => {
      const [kind, script = ""] = services[service]?.healthcheck.test ?? [];
      expect(kind).to.equal("CMD-SHELL");
      const here = join(folder, "alive");
      const check = (): { status: number | null; stdout: string } =>
        spawnSync("/bin/sh", ["-c", script.replaceAll(file[service], here)], { encoding: "utf8" });
      expect(check()).to.deep.include({ status: 1, stdout: `${here} was not touched for a minute\n` });
      writeFileSync(here, "");
      expect(check()).to.deep.include({ status: 0, stdout: "" });
      const seconds = Date.now() / 1000;
      utimesSync(here, seconds, seconds - 50);
      expect(check().status, "a busy machine is late").to.equal(0);
      utimesSync(here, seconds, seconds - 70);
      expect(check().status).to.equal(1);
      utimesSync(here, seconds, seconds + 3600);
      expect(check().status, "the clock was set back").to.equal(0);
    });
  }
});
