import { expect } from "chai";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { text } from "node:stream/consumers";
import { join } from "node:path";

const shared = (name: string): string => JSON.stringify(join(import.meta.dirname, "../../shared", name));

/** A daemon as a process, whose settings and work are these expressions. */
async function daemon(read: string, work: string, signal?: NodeJS.Signals): Promise<{ code: number; lines: object[] }> {
  const script = `import { setTimeout as sleep } from "node:timers/promises";
    import { runDaemon } from ${shared("daemon.ts")};
    import { SkepError } from ${shared("errors.ts")};
    process.exitCode = await runDaemon("skep-test", () => (${read}), ${work});`;
  const child = spawn(process.execPath, ["--input-type=module", "--eval", script], {
    stdio: ["ignore", "pipe", "pipe"],
  });
  const written = text(child.stderr);
  if (signal !== undefined) {
    await once(child.stdout, "data");
    child.kill(signal);
  }
  const [code] = (await once(child, "close")) as [number];
  const lines = (await written).split("\n").filter((line) => line !== "");
  return { code, lines: lines.map((line) => JSON.parse(line) as object) };
}

const settings = `{ SKEP_LOG_LEVEL: "info" }`;
const fault = `new SkepError({ code: "SKEP_TEST_FAULT", message: "no", permanent: true, hint: "now" })`;

describe("a daemon", function () {
  this.timeout(30_000);

  it("ends with 0 once its work is done", async () => {
    expect(await daemon(settings, "async () => {}")).to.deep.equal({ code: 0, lines: [] });
  });

  it("ends with 0 when a signal asked it to, in order or out of its waiting", async () => {
    const waiting = `async (_, log, { signal }) => { console.log("begun"); await sleep(60_000, null, { signal }); }`;
    for (const signal of ["SIGTERM", "SIGINT"] as const) {
      const { code, lines } = await daemon(settings, waiting, signal);
      expect(code).to.equal(0);
      expect(lines).to.have.length(1);
      expect(lines[0]).to.include({ name: "skep-test", msg: "stopping", signal });
    }
  });

  it("ends with 1 and one line that says why, also where its settings are at fault", async () => {
    for (const ended of [
      await daemon(settings, `async () => { throw ${fault}; }`),
      await daemon(`(() => { throw ${fault}; })()`, "async () => {}"),
    ]) {
      expect(ended.code).to.equal(1);
      expect(ended.lines).to.have.length(1);
      expect(ended.lines[0]).to.include({ level: 60, code: "SKEP_TEST_FAULT", msg: "no", hint: "now" });
    }
  });

  it("ends with 1 on a fault of its own work though it was told to stop", async () => {
    const work = `async (_, log, { signal }) => {
      console.log("begun");
      await sleep(60_000, null, { signal }).catch(() => { throw ${fault}; });
    }`;
    const { code, lines } = await daemon(settings, work, "SIGTERM");
    expect(code).to.equal(1);
    expect(lines.at(-1)).to.include({ code: "SKEP_TEST_FAULT" });
  });
});
