// What `skep backup --standalone` makes quiet on a Docker host, and what is left of that when it is killed.
import { expect } from "chai";
import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { Part, Run } from "../../shared/repository/run.ts";
import { cliPath, type CliResult } from "../controller/cli/run-cli.ts";
import { redisImage } from "../lab/image.ts";
import type { LabNode } from "../lab/node.ts";
import { until } from "./agent-rig.ts";

export interface StandaloneHost {
  node: LabNode;
  /** Where the kit is, and the state folder `state`. */
  folder: string;
  /** Flags of this host. */
  host: readonly string[];
  cli: (...argv: string[]) => Promise<CliResult>;
  backup: (...more: string[]) => Promise<{ result: CliResult; run: Run }>;
  file: (volume: string, name: string) => string;
}

export function describeQuiet(given: () => StandaloneHost): void {
  describe("a volume that is to be quiet", function () {
    this.timeout(300_000);
    const docker = async (...argv: string[]): Promise<string> => (await given().node.run(["docker", ...argv])).trim();
    const stateOf = (name: string): Promise<string> => docker("inspect", "--format", "{{.State.Status}}", name);
    const start = async (name: string, volume: string, ...more: string[]): Promise<void> => {
      const server = [redisImage().tag, "redis-server", "--appendonly", "yes"];
      await docker("run", "-d", "--name", name, "-v", `${volume}:/data`, ...more, ...server);
    };
    const journal = (): string => join(given().folder, "state", "standalone.sqlite");

    before(async () => {
      const label = (...words: string[]): string[] => words.flatMap((word) => ["--label", word]);
      const compose = label("com.docker.compose.project=shop", "com.docker.compose.service=shop");
      const hooks = label(
        "skep.hook.pre=echo before >> /data/hooks; sleep 2",
        "skep.hook.post=echo after >> /data/hooks",
      );
      await start("shop", "shop", ...label("skep.quiesce=stop", "skep.group=all"), ...compose, ...hooks);
      const depends = label("com.docker.compose.depends_on=shop:service_started:false");
      await start("counter", "shop", ...label("com.docker.compose.project=shop", "skep.quiesce=stop"), ...depends);
      await start("sessions", "sessions", ...label("skep.quiesce=pause", "skep.group=all"));
    });
    after(async () => {
      await docker("rm", "--force", "shop", "counter", "sessions");
      await docker("volume", "rm", "--force", "shop", "sessions");
    });

    it("is stopped or paused as its labels say, with hooks, in one quiet for a group, and goes on", async () => {
      const { result, run } = await given().backup("--volumes", "shop", "sessions");
      expect(result.code, result.stderr).to.equal(0);
      const part = (name: string): Part => run.parts.find((each) => each.name === name) ?? expect.fail(name);
      for (const name of ["node1/shop", "node1/sessions"]) {
        expect(part(name)).to.include({ status: "done", consistency: "quiet" });
        const quiet = part(name).quiet ?? [];
        expect(quiet.map((each) => `${each.name} ${each.how}`)).to.have.members([
          ...["counter stop", "shop stop", "sessions pause"],
        ]);
        expect(quiet.every(({ quietMs }) => quietMs > 0 && quietMs < 120_000)).to.equal(true);
      }
      console.log(
        `      ${part("node1/shop")
          .quiet?.map(({ name, quietMs }) => `${name} ${quietMs} ms`)
          .join(", ")}`,
      );
      expect(part("node1/shop").commands?.map(({ step, exitCode }) => [step, exitCode])).to.deep.equal([
        ["hook.pre", 0],
        ["hook.post", 0],
      ]);
      expect(readFileSync(given().file("shop", "hooks"), "utf8")).to.equal("before\nafter\n");
      for (const name of ["shop", "counter", "sessions"]) expect(await stateOf(name)).to.equal("running");
      const [first, second] = (await docker("inspect", "--format", "{{.State.StartedAt}}", "shop", "counter")).split(
        "\n",
      );
      expect(Date.parse(first ?? "")).to.be.below(Date.parse(second ?? ""));
      expect(existsSync(journal()), "nothing is left to be undone").to.equal(false);
      const again = await given().cli("resume", "--state-dir", join(given().folder, "state"), "--json");
      expect(JSON.parse(again.stdout)).to.deep.equal({ wentOn: [], released: [], removed: [], faults: [] });
    });

    it("is not stopped where that would remove its container, and says so", async () => {
      await docker("run", "-d", "--rm", "--name", "once", "-v", "shop:/data", redisImage().tag, "sleep", "1000");
      try {
        const { run } = await given().backup("--volumes", "shop");
        const part = run.parts.find(({ name }) => name === "node1/shop");
        expect(part).to.include({ status: "partial", consistency: "not-atomic" });
        expect(part?.error).to.include({ code: "SKEP_STOP_REFUSED" });
        expect(await stateOf("shop")).to.equal("running");
      } finally {
        await docker("rm", "--force", "once");
      }
    });

    describe("whose backup is killed", () => {
      const all = async (state: string): Promise<boolean> =>
        (await docker("inspect", "--format", "{{.State.Status}}", "shop", "counter")) === `${state}\n${state}`;
      const hooks = (): string => readFileSync(given().file("shop", "hooks"), "utf8");
      const goesOn = async (): Promise<void> => {
        await until(() => all("running"), patienceMs);
        await until(() => !existsSync(journal()), patienceMs);
      };
      /** A backup that says nothing any more, since its hook began: what it ordered stays quiet. And the keeper of that. */
      async function frozen(): Promise<{ child: ChildProcess; keeper: number }> {
        const argv = [cliPath, "backup", "--kit", "kit", ...given().host, "--volumes", "shop"];
        const before = hooks().length;
        const child = spawn(process.execPath, argv, { cwd: given().folder, stdio: "ignore" });
        await until(() => hooks().length > before, patienceMs);
        child.kill("SIGSTOP");
        await until(() => all("exited"), patienceMs);
        const keeper = childrenOf(child.pid ?? 0).find((pid) => commandOf(pid).includes("agent/keeper.ts"));
        return { child, keeper: keeper ?? expect.fail("no keeper") };
      }
      async function kill(child: ChildProcess): Promise<void> {
        const ended = once(child, "exit");
        child.kill("SIGKILL");
        await ended;
      }

      it("goes on at once when the command is killed, and another one has to wait while it is not", async () => {
        const { child } = await frozen();
        const busy = await given().cli("backup", "--kit", "kit", ...given().host, "--volumes", "shop");
        expect(busy.code, busy.stderr).to.equal(11);
        expect(busy.stderr).to.contain("SKEP_STANDALONE_BUSY");
        await kill(child);
        await goesOn();
      });

      it("goes on when the process that keeps it quiet is killed, and the run says that it was not quiet", async () => {
        const { child, keeper } = await frozen();
        process.kill(keeper, "SIGKILL");
        const ended = once(child, "exit");
        child.kill("SIGCONT");
        await goesOn();
        expect(await ended).to.deep.equal([3, null]);
      });

      it("is started by `skep resume`, or by the next standalone command, when all was killed", async () => {
        const place = ["--state-dir", join(given().folder, "state"), "--docker-socket", given().node.dockerSocketPath];
        const commands = [
          ["resume", ...place],
          ["restore", "list", "--kit", "kit", ...given().host],
        ];
        for (const argv of commands) {
          const { child, keeper } = await frozen();
          process.kill(keeper, "SIGKILL");
          await kill(child);
          expect(await all("exited")).to.equal(true);
          const { code, stderr } = await given().cli(...argv);
          expect(code, stderr).to.equal(0);
          expect(stderr).to.contain("container shop goes on").and.contain("container counter goes on");
          expect(await all("running")).to.equal(true);
          expect(existsSync(journal())).to.equal(false);
        }
      });
    });
  });
}

/** Of a swarm of this one manager. */
export function describeHeld(given: () => StandaloneHost): void {
  describe("a volume whose service is to be stopped", function () {
    this.timeout(300_000);
    const docker = async (...argv: string[]): Promise<string> => (await given().node.run(["docker", ...argv])).trim();
    const spec = async (): Promise<{ Mode: { Replicated: { Replicas: number } } }> =>
      JSON.parse(await docker("service", "inspect", "--format", "{{json .Spec}}", "ledger")) as never;
    const isHeld = async (): Promise<boolean> => (await spec()).Mode.Replicated.Replicas === 0;
    /** Its task that is to run does: the container of one that was just stopped still ends. */
    const runs = (): Promise<void> =>
      until(async () => {
        const wanted = ["--filter", "desired-state=running", "--format", "{{.CurrentState}}"];
        return /^Running[^\n]*$/.test(await docker("service", "ps", ...wanted, "ledger"));
      }, patienceMs);
    const journal = (): string => join(given().folder, "state", "standalone.sqlite");
    let asBefore: string;

    before(async () => {
      const hook = (when: string): string[] => ["--label", `skep.hook.${when}=echo ${when} >> /data/hooks`];
      // It ignores its stop signal: killed after these seconds, which are long enough to be seen.
      const stopping = ["--stop-grace-period", "3s", redisImage().tag, "sleep", "10000"];
      const labels = ["--label", "skep.quiesce=stop", ...hook("pre"), ...hook("post")];
      const volume = ["--mount", "type=volume,source=ledger,target=/data"];
      const quietly = ["--detach", "--quiet", "--no-resolve-image"];
      await docker("service", "create", ...quietly, "--name", "ledger", ...volume, ...labels, ...stopping);
      await runs();
      asBefore = JSON.stringify(await spec());
    });
    after(async () => {
      await docker("service", "rm", "ledger");
    });

    it("is taken while that has no task, which then runs as before, and its hook after in it", async () => {
      const { result, run } = await given().backup("--volumes", "ledger");
      expect(result.code, result.stderr).to.equal(0);
      const part = run.parts.find(({ name }) => name === "node1/ledger");
      expect(part).to.include({ status: "done", consistency: "quiet" });
      expect(part?.quiet?.map(({ name, how }) => `${name} ${how}`)).to.deep.equal(["ledger stop"]);
      expect(part?.quiet?.[0]?.quietMs).to.be.within(1, patienceMs);
      expect(JSON.stringify(await spec())).to.equal(asBefore);
      expect(readFileSync(given().file("ledger", "hooks"), "utf8")).to.equal("pre\npost\n");
      expect(existsSync(journal()), "nothing is left to be undone").to.equal(false);
    });

    it("runs again when the command is interrupted amid that, with its hook after in it", async () => {
      const hooks = (): string => readFileSync(given().file("ledger", "hooks"), "utf8");
      const before = hooks();
      const argv = [cliPath, "backup", "--kit", "kit", ...given().host, "--volumes", "ledger"];
      const child = spawn(process.execPath, argv, { cwd: given().folder, stdio: ["ignore", "ignore", "pipe"] });
      let stderr = "";
      child.stderr.setEncoding("utf8").on("data", (text: string) => {
        stderr += text;
      });
      const ended = once(child, "exit");
      await until(isHeld, patienceMs);
      child.kill("SIGINT");
      expect(await ended, stderr).to.deep.equal([130, null]);
      expect(stderr).to.contain("hooks after of ledger run first").and.not.contain("owed");
      expect(hooks()).to.equal(`${before}pre\npost\n`);
      expect(JSON.stringify(await spec())).to.equal(asBefore);
      expect(existsSync(journal())).to.equal(false);
    });

    it("has it run again at once when the command is killed, and by `skep resume` when all was killed", async () => {
      for (const isAll of [false, true]) {
        await runs();
        const argv = [cliPath, "backup", "--kit", "kit", ...given().host, "--volumes", "ledger"];
        const child = spawn(process.execPath, argv, { cwd: given().folder, stdio: "ignore" });
        await until(isHeld, patienceMs);
        child.kill("SIGSTOP");
        const keeper = childrenOf(child.pid ?? 0).find((pid) => commandOf(pid).includes("agent/keeper.ts"));
        if (isAll) process.kill(keeper ?? expect.fail("no keeper"), "SIGKILL");
        const ended = once(child, "exit");
        child.kill("SIGKILL");
        await ended;
        if (isAll) {
          expect(await isHeld()).to.equal(true);
          const place = ["--state-dir", join(given().folder, "state")];
          const engine = ["--docker-socket", given().node.dockerSocketPath];
          const { code, stderr } = await given().cli("resume", ...place, ...engine);
          expect(code, stderr).to.equal(0);
          expect(stderr).to.contain("service ledger runs again");
        } else await until(() => !existsSync(journal()), patienceMs);
        expect(JSON.stringify(await spec())).to.equal(asBefore);
        expect(existsSync(journal())).to.equal(false);
      }
    });
  });
}

/** For a machine that is busy with other labs. */
const patienceMs = 150_000;

function childrenOf(pid: number): number[] {
  return readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").trim().split(" ").map(Number);
}

function commandOf(pid: number): string {
  return readFileSync(`/proc/${pid}/cmdline`, "utf8");
}
