// A repository with one run of a volume that has changed since, and the run that follows: to be killed at any step that it
// takes on the disk, in the store as well as beside it.
import { expect } from "chai";
import { spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { cpSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { openDirectory } from "../../../../shared/store/directory.ts";
import type { Place } from "../snapshots.ts";
import { checkAll } from "./check-all.ts";
import { backUpRun, makeNode, restored, runsOf } from "./repository-of-runs.ts";

const child = join(import.meta.dirname, "backup-killed.ts");
const killer = join(import.meta.dirname, "..", "..", "..", "soak", "killed-at-step.ts");

export interface KilledBackup {
  /** False once the backup has fewer steps than that. */
  killed: boolean;
  /** True where the run counted, though its process died. */
  counted: boolean;
}

/** The second run writes so many bytes, and some. `killAt`: of a fresh copy each time, before that step of the second run (from 1); fails where anything is not as it must be. */
export async function makeBackupWork(
  place: Place,
  largeBytes: number,
): Promise<{ killAt: (step: number) => Promise<KilledBackup> }> {
  const node = makeNode(place, "node1");
  const contents = new Map([
    ["kept", randomBytes(300_000)],
    ["changes", randomBytes(100_000)],
  ]);
  const fill = (): void => {
    for (const [name, bytes] of contents) writeFileSync(join(node.source, name), bytes);
  };
  fill();
  const first = await backUpRun(place, node);
  const before = new Map(contents);
  contents.set("changes", randomBytes(100_000)).set("large", randomBytes(largeBytes));
  fill();

  const killAt = async (step: number): Promise<KilledBackup> => {
    const path = join(place.path, `copy-${step}`);
    const copy = { ...node, cachePath: `${path}.sqlite` };
    cpSync(place.storePath, path, { recursive: true });
    cpSync(node.cachePath, copy.cachePath);
    const writer = spawn(process.execPath, ["--import", killer, child], {
      env: { ...process.env, SKEP_TEST_STEP: String(step) },
      stdio: ["pipe", "inherit", "inherit"],
    });
    writer.stdin.end(JSON.stringify({ path, made: place.made, node: copy }));
    const [code, signal] = (await once(writer, "exit")) as [number | null, string | null];
    if (signal !== "SIGKILL") expect(code, `step ${step}`).to.equal(0);

    const home = { ...place, store: openDirectory(path) };
    const clean = async (when: string): Promise<void> => {
      expect((await checkAll(home)).findings, `${when} step ${step}`).to.deep.equal([]);
      expect(await restored(home, first, node), `the first run, ${when} step ${step}`).to.deep.equal(before);
    };
    await clean("killed at");
    const left = await runsOf(home);
    for (const run of left.filter(({ id }) => id !== first.id)) {
      expect(await restored(home, run, node), `the run that counts after step ${step}`).to.deep.equal(contents);
    }
    const next = await backUpRun(home, copy);
    expect(next.status, `after step ${step}`).to.equal("done");
    await clean("after");
    expect(await restored(home, next, node), `the next run after step ${step}`).to.deep.equal(contents);
    expect((await runsOf(home)).map(({ id }) => id)).to.deep.equal([next.id, ...left.map(({ id }) => id)]);
    await home.store.close();
    rmSync(path, { recursive: true });
    for (const end of ["", "-wal", "-shm"]) rmSync(`${copy.cachePath}${end}`, { force: true });
    return { killed: signal === "SIGKILL", counted: left.length === 2 };
  };
  return { killAt };
}
