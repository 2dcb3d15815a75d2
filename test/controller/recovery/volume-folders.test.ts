import { expect } from "chai";
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { setTimeout as sleep } from "node:timers/promises";
import type { PlannedVolume } from "../../../controller/recovery/planned-volumes.ts";
import type { RemoteMachine } from "../../../controller/recovery/remote-machine.ts";
import { lookIntoFolders, placeInFolder } from "../../../controller/recovery/volume-folders.ts";
import { SkepError } from "../../../shared/errors.ts";

/** This machine, by the same shell. `environment`: for the shell and what it calls. */
function machineWith(environment: NodeJS.ProcessEnv = {}): RemoteMachine {
  const run = async ([program = "", ...args]: string[]) => {
    const child = spawn(program, args, {
      env: { ...process.env, ...environment },
      stdio: ["ignore", "pipe", "pipe"],
      detached: true,
    });
    const [stdout, stderr, [code]] = await Promise.all([
      text(child.stdout),
      text(child.stderr),
      once(child, "exit") as Promise<[number | null]>,
    ]);
    return { code: code ?? -1, stdout, stderr };
  };
  const mustRun = async (argv: string[]) => (await run(argv)).stdout;
  return { name: "m1", run, mustRun } as unknown as RemoteMachine;
}
const machine = machineWith();
const { signal } = new AbortController();
const restoreId = "aaaaaaaaaaaa";

describe("the folder of the host that a volume is", () => {
  let root: string;
  let content: string;
  let folder: string;
  const place = async (onto = machine): Promise<void> => {
    await placeInFolder(onto, { content, folder, restoreId }, signal);
  };
  const refusal = async (): Promise<SkepError> => {
    const fault = await place().then(
      () => null,
      (error: unknown) => error,
    );
    if (!(fault instanceof SkepError)) throw new TypeError("no SkepError");
    return fault;
  };
  const look = async (): Promise<unknown> => {
    const volume = { driver: "local", options: { type: "none", o: "bind", device: folder } };
    const planned = { source: { part: { volume } }, machine: "m1", how: "folder" } as unknown as PlannedVolume;
    return [...(await lookIntoFolders([planned], new Map([["m1", machine]]), signal)).values()];
  };

  /** A volume with content, and no folder yet. */
  const begin = (): void => {
    rmSync(root, { recursive: true, force: true });
    mkdirSync(join(content, "shelf"), { recursive: true });
    writeFileSync(join(content, "shelf/book"), "a book");
    writeFileSync(join(content, ".hidden"), "");
    chmodSync(content, 0o750);
    utimesSync(content, 1_700_000_000.5, 1_700_000_000.5);
  };
  beforeEach(() => {
    root = mkdtempSync(join(tmpdir(), "skep-folder-"));
    [content, folder] = [join(root, "volume/_data"), join(root, "srv/data of it")];
    begin();
  });
  afterEach(() => {
    rmSync(root, { recursive: true });
  });

  const expectPlaced = (): void => {
    expect(readdirSync(folder).sort()).to.deep.equal([".hidden", "shelf"]);
    expect(readFileSync(join(folder, "shelf/book"), "utf8")).to.equal("a book");
    const { mode, mtimeMs } = statSync(folder);
    expect(mode & 0o777).to.equal(0o750);
    expect(mtimeMs).to.equal(1_700_000_000_500);
  };

  it("gets what was restored, with mode and time, where it is missing or empty", async () => {
    expect(await look()).to.deep.equal(["empty"]);
    await place();
    expectPlaced();
    expect(await look()).to.deep.equal(["full"]);
    begin();
    mkdirSync(join(folder, "lost+found"), { recursive: true });
    expect(await look(), "a filesystem that is new").to.deep.equal(["empty"]);
    mkdirSync(join(content, "lost+found"));
    utimesSync(content, 1_700_000_000.5, 1_700_000_000.5);
    await place();
    rmdirSync(join(folder, "lost+found"));
    utimesSync(folder, 1_700_000_000.5, 1_700_000_000.5);
    expectPlaced();
  });

  it("is left as it is where it has files", async () => {
    mkdirSync(folder, { recursive: true });
    writeFileSync(join(folder, "newer"), "");
    expect(await refusal()).to.have.property("code", "SKEP_RECOVERY_FOLDER_FULL");
    expect(readdirSync(folder)).to.deep.equal(["newer"]);
  });

  it("gets nothing over what somebody puts there meanwhile, and loses nothing of what was to be put there", async () => {
    const stage = join(folder, `.skep-${restoreId}`);
    mkdirSync(join(stage, "data"), { recursive: true });
    spawnSync("cp", ["-a", `${content}/.`, join(stage, "data")]);
    writeFileSync(join(stage, "whole"), "");
    mkdirSync(join(folder, "shelf"));
    writeFileSync(join(folder, "shelf/theirs"), "");
    const fault = await refusal();
    expect(fault).to.include({ code: "SKEP_RECOVERY_FOLDER_FULL", permanent: true });
    expect(fault.message).to.contain("of the same names").and.contain("shelf");
    expect(readdirSync(join(folder, "shelf"))).to.deep.equal(["theirs"]);
    expect(readFileSync(join(stage, "data/shelf/book"), "utf8")).to.equal("a book");
    rmSync(join(folder, "shelf"), { recursive: true });
    await place();
    expectPlaced();
  });

  it("gets all of it where a call before was cut off while it copied", async () => {
    const stage = join(folder, `.skep-${restoreId}`);
    mkdirSync(join(stage, "data/shelf"), { recursive: true });
    writeFileSync(join(stage, "data/shelf/book"), "a b");
    await place();
    expectPlaced();
    expect(existsSync(stage)).to.equal(false);
  });

  /** Programs that note each call in `calls`, and do `before` and `after` it what is given. */
  const programs = (names: readonly string[], before: string, after = ""): NodeJS.ProcessEnv => {
    const bin = join(root, "bin");
    rmSync(bin, { recursive: true, force: true });
    mkdirSync(bin);
    for (const name of names) {
      // What reaches the disk cannot be seen here, and a machine's sync may take seconds.
      const real = name === "sync" ? ":" : `PATH=/usr/bin:/bin ${name} "$@" || exit`;
      const script = `#!/bin/sh\necho ${name} >> "${root}/calls"\n${before}\n${real}\n${after}\n`;
      writeFileSync(join(bin, name), script, { mode: 0o755 });
    }
    return { PATH: `${bin}:/usr/bin:/bin` };
  };
  const calls = (): string[] => readFileSync(join(root, "calls"), "utf8").trim().split("\n");

  it("gets all of it wherever a call before was killed", async () => {
    const names = ["cp", "mv", "rmdir", "rm", "touch"];
    await place(machineWith(programs(names, "")));
    expectPlaced();
    const count = calls().length;
    expect(count).to.be.greaterThan(7);
    for (let at = 1; at <= count; at++) {
      begin();
      // The shell and all that it called.
      const environment = programs(names, `[ "$(wc -l < "${root}/calls")" != ${at} ] || kill -9 0`);
      const killed = await place(machineWith(environment)).catch((error: unknown) => error);
      expect(killed, `call ${at}`).to.be.instanceOf(SkepError);
      await place(machineWith(programs(["sync"], "")));
      expectPlaced();
    }
  });

  it("gets it once where a call before goes on, though its operator's end was killed", async () => {
    const goes = join(root, "goes");
    const environment = programs(["cp"], "", `[ "$1" = --version ] || while [ ! -e "${goes}" ]; do sleep 0.02; done`);
    const former = place(machineWith(environment));
    for (let tries = 0; !existsSync(join(folder, `.skep-${restoreId}/data/shelf/book`)); tries++) {
      expect(tries).to.be.lessThan(1000);
      await sleep(10);
    }
    const next = place(machineWith(environment));
    // Long enough for it to copy, if it did not wait.
    await sleep(300);
    writeFileSync(goes, "");
    await Promise.all([former, next]);
    expectPlaced();
    // Each asks which cp this is.
    expect(calls()).to.have.length(3);
  });
});
