import { expect } from "chai";
import type { Docker } from "../../../agent/docker.ts";
import { runInContainer } from "../../../agent/quiesce/container-command.ts";
import { runHooks } from "../../../agent/quiesce/hooks.ts";
import { SkepError } from "../../../shared/errors.ts";
import { commandRecordSchema, type CommandRecord } from "../../../shared/repository/run.ts";

const patient = new AbortController().signal;
const command = { volume: "data", container: null, user: null, timeoutSeconds: 5, argv: ["true"] };
const hook = { ...command, onError: "fail" as const };

interface Life {
  /** How many looks until it runs. */
  downFor: number;
  health: string[];
  writes?: [stream: "stdout" | "stderr", text: string][];
  exitCode?: number;
  /** What swarm wants of its task, look by look; null: the node is no manager. Left out: it is of no service. */
  wanted?: (string | null)[];
  /** What the engine throws once all is written. */
  breaks?: Error | undefined;
}

/** An engine with one container, `db`. */
function engine({ downFor, health, wanted, writes = [], exitCode = 0, breaks }: Life): Docker {
  let looks = 0;
  const Labels = wanted === undefined ? {} : { "com.docker.swarm.task.id": "task1" };
  const db = { Id: "1", Names: ["/db"], State: "running", Labels, Mounts: [{ Type: "volume", Name: "data" }] };
  const docker: Pick<Docker, "exec"> &
    Record<"containers" | "container" | "tasks" | "volumes", () => Promise<unknown>> = {
    volumes: () => Promise.resolve([]),
    containers: () => Promise.resolve(looks++ < downFor ? [] : [db]),
    tasks: () => {
      const DesiredState = wanted !== undefined && wanted.length > 1 ? wanted.shift() : wanted?.[0];
      if (DesiredState !== null) return Promise.resolve([{ ID: "task1", DesiredState, Status: { State: "running" } }]);
      return Promise.reject(new SkepError({ code: "SKEP_DOCKER_NOT_MANAGER", message: "a worker", permanent: true }));
    },
    container: () => {
      const Status = health.length > 1 ? health.shift() : health[0];
      return Promise.resolve({ State: { Running: true, StartedAt: "", ...(Status && { Health: { Status } }) } });
    },
    exec: async ({ onStdout, onStderr }) => {
      for (const [stream, text] of writes) await (stream === "stdout" ? onStdout : onStderr)(Buffer.from(text));
      if (breaks !== undefined) throw breaks;
      return { exitCode };
    },
  };
  return docker as unknown as Docker;
}

describe("a hook after a stop", () => {
  const run = async (life: Life, backMs: number): Promise<{ commands: CommandRecord[]; error: unknown }> => {
    const commands: CommandRecord[] = [];
    const error: unknown = await runHooks(
      "hook.post",
      [hook],
      engine(life),
      patient,
      commands,
      Date.now() + backMs,
    ).then(
      () => null,
      (thrown: unknown) => thrown,
    );
    return { commands, error };
  };

  it("waits until its container runs, and is healthy", async () => {
    const { commands, error } = await run({ downFor: 2, health: ["starting", "healthy"] }, 60_000);
    expect(error).to.equal(null);
    expect(commands).to.deep.equal([{ step: "hook.post", container: "db", exitCode: 0, stderr: "" }]);
  });

  it("is not run in a container that is on its way out, where the node can tell", async () => {
    const { commands, error } = await run({ downFor: 0, health: [], wanted: ["shutdown", "running"] }, 60_000);
    expect([error, commands.map(({ exitCode }) => exitCode)]).to.deep.equal([null, [0]]);
    const leaving = await run({ downFor: 0, health: [], wanted: ["shutdown"] }, 10);
    expect((leaving.error as Error).message).to.contain("container db was told to stop");
    expect((await run({ downFor: 0, health: [], wanted: [null] }, 10)).error).to.equal(null);
  });

  it("is not run where its container is not back in time, and says what is amiss", async () => {
    const gone = await run({ downFor: 99, health: [] }, 10);
    expect(gone.error).to.include({ code: "SKEP_COMMAND_NOT_BACK", permanent: true });
    expect((gone.error as Error).message).to.contain("no running container uses volume data");
    const sick = await run({ downFor: 0, health: ["unhealthy"] }, 10);
    expect((sick.error as Error).message).to.contain("container db is unhealthy");
    expect(sick.commands).to.deep.equal([{ step: "hook.post", container: "db", exitCode: null, stderr: "" }]);
  });
});

describe("the record of a command", () => {
  it("has no more than is allowed, and no secret whose name is cut off", async () => {
    const secret = `password=${"hunter2".repeat(100)}`;
    const many = engine({ downFor: 0, health: [], writes: [["stderr", "pwd=x ".repeat(4000)]], exitCode: 1 });
    const { record } = await runInContainer("hook.pre", command, many, patient);
    expect(commandRecordSchema.safeParse(record).success).to.equal(true);
    expect(record.stderr.length).to.equal(4096);
    const cut = engine({ downFor: 0, health: [], writes: [["stderr", `${secret} ${"y".repeat(3800)}`]], exitCode: 1 });
    expect((await runInContainer("hook.pre", command, cut, patient)).record.stderr).to.not.contain("hunter");
  });

  it("of a dump that failed without a word has the end of what it put out", async () => {
    const writes: Life["writes"] = [["stdout", `${"x".repeat(5000)} password=hunter2 no such table`]];
    const { record } = await runInContainer(
      "dump",
      command,
      engine({ downFor: 0, health: [], writes, exitCode: 3 }),
      patient,
    );
    expect(record.stdout)
      .to.match(/^x+ password=\[redacted\] no such table$/)
      .and.have.length(1024);
    const done = await runInContainer("dump", command, engine({ downFor: 0, health: [], writes }), patient);
    expect(done.record).to.not.have.property("stdout");
  });

  it("of a dump that was broken off has none of what it put out, which is the data", async () => {
    const life: Life = { downFor: 0, health: [], writes: [["stdout", "INSERT 4111 1111"]], breaks: new Error("reset") };
    const { record, fault } = await runInContainer("dump", command, engine(life), patient);
    expect(fault).to.include({ code: "SKEP_COMMAND_FAILED" });
    expect(record).to.deep.equal({ step: "dump", container: "db", exitCode: null, stderr: "" });
    const killed = engine({ ...life, breaks: undefined, exitCode: 137 });
    expect((await runInContainer("dump", command, killed, patient)).record).to.not.have.property("stdout");
    const hooked = await runInContainer("hook.pre", command, engine(life), patient);
    expect(hooked.record.stdout).to.equal("INSERT 4111 1111");
  });
});
