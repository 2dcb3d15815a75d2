import { expect } from "chai";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { loadActions, loadOutcome } from "../../../controller/recovery/load-step.ts";
import type { PlannedDump } from "../../../controller/recovery/planned-dumps.ts";
import { derivedId, type RecoveryTools } from "../../../controller/recovery/recovery-tools.ts";
import { volumeSources } from "../../../controller/recovery/volume-sources.ts";
import { SkepError } from "../../../shared/errors.ts";
import { runOf, volumePart } from "./plan-input.ts";

describe("loading a dump in a recovery", () => {
  let folder: string;
  let asked: number;
  let tools: RecoveryTools;
  const load = { argv: ["load"], container: null, user: null };
  const [source] = volumeSources(runOf("r1", [volumePart("a", "rows", 10, { kind: "dump", load })]), []);
  const dump = { source, machine: "m1", service: "db", elsewhere: true } as PlannedDump;
  const { signal } = new AbortController();
  const act = async (one = dump): Promise<unknown> =>
    loadOutcome(await loadActions(tools, one, 0).act({ signal, resultOf: () => ({}), onProgress: () => undefined }));

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), "skep-load-"));
    asked = 0;
    const engine = (): unknown => {
      asked++;
      return Promise.resolve([]);
    };
    tools = {
      plan: { machines: [{ name: "m1" }], steps: [{ id: "kit:m1" }] },
      machines: new Map([["m1", { name: "m1", engine }]]),
      ...{ folder, recoveryId: "aaaaaaaaaaaa", now: () => (asked > 1 ? 1_000 : 0) },
    } as unknown as RecoveryTools;
  });
  afterEach(() => {
    rmSync(folder, { recursive: true });
  });

  it("stops nobody where no container of its service comes", async () => {
    expect(await act()).to.include({ loaded: false, detail: "no container of db was ready within 0 s" });
  });

  it("looks for a server of several tasks where its volume is, and nowhere else", async () => {
    const running = [{ Id: "c", Names: ["/db.1.x"], Labels: {}, Mounts: [] }];
    const ready = { State: { Running: true, Health: { Status: "healthy" } } };
    const asking: string[] = [];
    const engineOf = (name: string, containers: unknown[]) => ({
      name,
      engine: (_: unknown, { path }: { path: string }) => {
        asking.push(name);
        asked++;
        return Promise.resolve(path === "/containers/json" ? containers : ready);
      },
    });
    Object.assign(tools, {
      plan: { machines: [{ name: "m1" }, { name: "m2" }], steps: [{ id: "kit:m1" }, { id: "kit:m2" }] },
      machines: new Map([
        ["m1", engineOf("m1", [])],
        ["m2", engineOf("m2", running)],
      ]),
    });
    expect(await act({ ...dump, elsewhere: false })).to.include({
      loaded: false,
      detail: "no container of db was ready on m1 within 0 s",
    });
    expect(new Set(asking)).to.deep.equal(new Set(["m1"]));
  });

  it("is not begun a second time by a recovery that was cut off in it", async () => {
    const loadId = derivedId("aaaaaaaaaaaa", "load m1 a/rows");
    writeFileSync(join(folder, `load-${loadId}.begun`), "m1\n");
    const ran: string[] = [];
    let lost = 1;
    Object.assign(tools.machines.get("m1") ?? {}, {
      mustRun: (argv: string[]) => {
        if (lost-- > 0) return Promise.reject(new SkepError({ code: "SKEP_SSH_LOST", message: "", permanent: false }));
        ran.push(argv.slice(3).join(" "));
        return Promise.resolve("");
      },
    });
    expect(await act()).to.include({ loaded: false, mayBeLoaded: true, machine: "m1" });
    expect(ran, "what may go on is ended").to.deep.equal([`end /var/lib/skep-recovery/aaaaaaaaaaaa ${loadId}`]);
    expect(asked).to.equal(0);
  });

  it("is not said to be done before its step was", () => {
    expect(loadOutcome(null)).to.include({ loaded: false });
  });
});
