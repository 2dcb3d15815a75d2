import { expect } from "chai";
import { spawn, spawnSync, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { MachineKit } from "../../../controller/recovery/machine-kit.ts";
import type { RemoteMachine } from "../../../controller/recovery/remote-machine.ts";

describe("the kit on a machine", () => {
  const { signal } = new AbortController();
  const started: ChildProcess[] = [];
  let root: string;
  let kit: MachineKit;

  /** Runs as a job of the kit, or as a stranger. */
  const job = (name: string, program: string): ChildProcess => {
    const child = spawn(program, ["1000"], { stdio: "ignore" });
    started.push(child);
    writeFileSync(join(root, "abc/jobs", name), `${child.pid ?? 0}\n`);
    return child;
  };

  beforeEach(() => {
    root = mkdtempSync(join(tmpdir(), "skep-kit-"));
    mkdirSync(join(root, "abc/jobs"), { recursive: true });
    mkdirSync(join(root, "abc/kit/bin"), { recursive: true });
    copyFileSync("/bin/sleep", join(root, "abc/kit/bin/node"));
    const mustRun = ([program = "", ...args]: string[]): Promise<string> => {
      const here = args.map((argument) => argument.replace("/var/lib/skep-recovery", root));
      const { status, stdout, stderr } = spawnSync(program, here, { encoding: "utf8" });
      return status === 0 ? Promise.resolve(stdout) : Promise.reject(new Error(stderr));
    };
    kit = new MachineKit({ name: "m1", mustRun } as unknown as RemoteMachine, "abc");
  });
  afterEach(() => {
    for (const child of started.splice(0)) child.kill("SIGKILL");
    rmSync(root, { recursive: true, force: true });
  });

  it("ends a job that goes on without its operator, no other one, and nothing that is not of it", async () => {
    const node = join(root, "abc/kit/bin/node");
    const [mine, other, stranger] = [job("mine", node), job("other", node), job("foreign", "/bin/sleep")];
    const ended = once(mine, "exit");
    await kit.end("mine", signal);
    await ended;
    await kit.end("foreign", signal);
    await kit.end("never-was", signal);
    expect([other, stranger].map(({ exitCode, signalCode }) => exitCode ?? signalCode)).to.deep.equal([null, null]);
  });

  it("ends all jobs before it is taken away, also where the kit was brought anew meanwhile", async () => {
    const node = join(root, "abc/kit/bin/node");
    const ended = once(job("mine", node), "exit");
    rmSync(node);
    await kit.remove(signal);
    await ended;
    expect(existsSync(root)).to.equal(false);
  });
});
