// A change of the root key by the whole program, killed at every step that it takes on the disk: store, kit and identity file.
import { expect } from "chai";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { decodeIdentityFile } from "../../shared/repository/identity-file.ts";
import { openAsOperator } from "../../shared/repository/open/operator.ts";
import { openDirectory } from "../../shared/store/directory.ts";
import { initKit } from "../controller/cli/init-kit.ts";
import { cliPath, runCli } from "../controller/cli/run-cli.ts";

const killer = join(import.meta.dirname, "killed-at-step.ts");

describe("skep key rotate root, killed at each step", () => {
  let folder: string;
  before(async () => {
    folder = mkdtempSync(join(tmpdir(), "skep-root-soak-"));
    await initKit(folder);
  });
  after(() => {
    rmSync(folder, { recursive: true });
  });

  it("has changed nothing or goes on, and ends with one root key everywhere", async () => {
    const untouched = decodeIdentityFile(readFileSync(join(folder, "kit", "identity-anna.txt"), "utf8"), "identity");
    let kept = 0;
    let done = 0;
    for (let step = 1; ; step++) {
      const cwd = join(folder, `step-${step}`);
      for (const name of ["kit", "store"]) cpSync(join(folder, name), join(cwd, name), { recursive: true });
      const argv = [
        "key",
        "rotate",
        "root",
        "--new-identity",
        "--kit",
        "kit",
        "--store",
        `file://${cwd}/store`,
        "--yes",
      ];
      const killed = spawn(process.execPath, ["--import", killer, cliPath, ...argv], {
        cwd,
        env: { PATH: process.env["PATH"], HOME: cwd, SKEP_TEST_STEP: String(step) },
        stdio: "ignore",
      });
      const [code, signal] = (await once(killed, "exit")) as [number | null, string | null];
      const store = openDirectory(join(cwd, "store"));
      const kit = (name: string): string => readFileSync(join(cwd, "kit", name), "utf8");
      const isOpenTo = async (name: string): Promise<boolean> => {
        const operator = await openAsOperator(store, decodeIdentityFile(kit(name), name));
        return operator.repositoryObject.rootPublicKey !== untouched.rootPublicKey;
      };
      if (signal === "SIGKILL") {
        const isDone = await isOpenTo("identity-anna.txt").catch(() => isOpenTo("identity-anna.txt.next"));
        if (isDone) done++;
        else kept++;
        const finished = existsSync(join(cwd, "kit", "identity-anna.txt.next")) || !isDone;
        if (finished) {
          const again = await runCli(argv, { cwd });
          expect(again.code, `step ${step}: ${again.stderr}`).to.equal(0);
        }
      } else expect(code).to.equal(0);
      const file = decodeIdentityFile(kit("identity-anna.txt"), "identity");
      const { repositoryObject } = await openAsOperator(store, file);
      expect(repositoryObject, `step ${step}`).to.include({ version: 2, rootPublicKey: file.rootPublicKey });
      for (const name of ["controller.key", "skep.yaml", "recovery-card.txt"]) {
        expect(kit(name), `${name}, step ${step}`).to.contain(file.rootPublicKey);
      }
      expect(existsSync(join(cwd, "kit", "identity-anna.txt.next")), `step ${step}`).to.be.false;
      await store.close();
      rmSync(cwd, { recursive: true });
      if (signal === "SIGKILL") continue;
      expect({ kept: kept > 10, done: done > 5 }, `${kept} before, ${done} after`).to.deep.equal({
        kept: true,
        done: true,
      });
      break;
    }
  }).timeout(1_800_000);
});
