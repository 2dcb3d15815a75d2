import { expect } from "chai";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Docker } from "../../../agent/docker.ts";
import { Journal } from "../../../agent/journal.ts";
import { Moments } from "../../../agent/moment/moments.ts";
import { pause, unpause } from "../../../agent/quiesce/pause.ts";
import { readPauses } from "../../../agent/quiesce/pause-record.ts";
import { Watches } from "../../../agent/quiesce/watches.ts";
import type { TaskOf } from "../../../shared/contract/job.ts";
import type { TaskResultOf } from "../../../shared/contract/task-result.ts";
import { SkepError } from "../../../shared/errors.ts";

const patient = new AbortController().signal;
const pauseId = "abcdefghijkl";
const hook = (name: string): TaskOf<"unpause">["after"][number] => ({
  ...{ volume: "data", argv: [name], container: null, user: null, timeoutSeconds: 60, onError: "fail" },
});

/** Ends where the test says so. */
class Gate {
  readonly reached = Promise.withResolvers<undefined>();
  readonly opened = Promise.withResolvers<undefined>();

  async pass(signal?: AbortSignal): Promise<void> {
    this.reached.resolve(undefined);
    const aborted = new Promise<never>((_, reject) => {
      signal?.addEventListener("abort", () => {
        reject(signal.reason as Error);
      });
    });
    await Promise.race([this.opened.promise, aborted]);
  }
  open(): void {
    this.opened.resolve(undefined);
  }
}

describe("orders about one pause", () => {
  let folder: string;
  let journal: Journal;
  let told: string[];
  /** By what is told: where it waits. */
  let gates: Map<string, Gate>;
  let docker: Docker;
  const reopen = (): void => {
    journal.close();
    journal = new Journal(join(folder, "journal.sqlite"));
  };
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), "skep-pause-"));
    journal = new Journal(join(folder, "journal.sqlite"));
    told = [];
    gates = new Map();
    const db = { Id: "1", Names: ["/db"], State: "running", Labels: {}, Mounts: [{ Type: "volume", Name: "data" }] };
    const does = async (what: string, signal?: AbortSignal): Promise<void> => {
      told.push(what);
      await gates.get(what)?.pass(signal);
    };
    const calls = {
      volumes: () => Promise.resolve([]),
      containers: () => Promise.resolve([db]),
      container: () => Promise.resolve({ Id: "1", Name: "/db", State: { Running: true, StartedAt: "" } }),
      pauseContainer: () => does("freeze"),
      unpauseContainer: () => does("wake"),
      exec: async ({ argv, signal }: { argv: string[]; signal: AbortSignal }) => {
        await does(argv.join(" "), signal);
        told.push(`end of ${argv.join(" ")}`);
        return { exitCode: argv[0] === "bad" ? 3 : 0 };
      },
    };
    docker = calls as unknown as Docker;
  });
  afterEach(() => {
    journal.close();
    rmSync(folder, { recursive: true });
  });

  const gateAt = (what: string): Gate => {
    const gate = new Gate();
    gates.set(what, gate);
    return gate;
  };
  const makeQuiet = (signal = patient): Promise<TaskResultOf<"pause"> | SkepError> =>
    pause(
      {
        ...{ kind: "pause", pauseId, volumes: ["data"], before: [hook("pre")] },
        deadlineAt: new Date(Date.now() + 60_000).toISOString(),
      },
      { docker, hostRoot: "/" },
      { journal, moments: new Moments(null), watches: new Watches() },
      signal,
    ).catch((error: unknown) => error as SkepError);
  const letGo = (after = [hook("post")], signal = patient): Promise<TaskResultOf<"unpause">> =>
    unpause({ kind: "unpause", pauseId, after }, docker, journal, signal);

  it("that let go one whose hook before runs have it stop there, and run the hooks after once that has ended", async () => {
    const gate = gateAt("pre");
    const made = makeQuiet();
    await gate.reached.promise;
    const went = letGo();
    gate.open();
    expect((await went).commands).to.have.length(1);
    const paused = await made;
    expect(paused).to.deep.include({ paused: [], stopped: [] });
    expect(paused).to.have.nested.property("fault.code", "SKEP_PAUSE_OVER");
    expect(told).to.deep.equal(["pre", "end of pre", "post", "end of post"]);
    expect(readPauses(journal)).to.deep.equal([]);
  });

  it("that let go one that is being frozen come after the last is frozen, and wake it", async () => {
    const gate = gateAt("freeze");
    const made = makeQuiet();
    await gate.reached.promise;
    const went = letGo();
    gate.open();
    await went;
    expect(await made).to.have.nested.property("fault.code", "SKEP_PAUSE_OVER");
    expect(told).to.deep.equal(["pre", "end of pre", "freeze", "wake", "post", "end of post"]);
    expect(readPauses(journal)).to.deep.equal([]);
  });

  it("that let go one before it begins have it do nothing, also after a restart of the agent", async () => {
    await letGo([]);
    for (let life = 0; life < 2; life++) {
      expect(await makeQuiet()).to.include({ code: "SKEP_PAUSE_OVER", permanent: true });
      reopen();
    }
    expect(told).to.deep.equal([]);
    journal.prune(Date.now() + 31 * 24 * 3600_000);
    expect(await makeQuiet(), "nobody asks for it any more").to.deep.include({ paused: ["db"] });
  });

  it("make it anew where the agent was stopped amid it", async () => {
    const stop = new AbortController();
    const gate = gateAt("pre");
    const made = makeQuiet(stop.signal);
    await gate.reached.promise;
    stop.abort(new SkepError({ code: "SKEP_AGENT_STOPPING", message: "stopped", permanent: false }));
    expect(await made).to.include({ code: "SKEP_AGENT_STOPPING" });
    reopen();
    gates.clear();
    expect(await makeQuiet()).to.deep.include({ paused: ["db"] });
  });

  it("run its hooks after once, whoever orders that and when, and tell each what they came to", async () => {
    await makeQuiet();
    const gate = gateAt("post");
    const orders = [letGo([hook("post"), hook("bad"), hook("never")])];
    await gate.reached.promise;
    orders.push(letGo([hook("post")]));
    gate.open();
    const [first, second] = await Promise.all(orders);
    expect(first?.commands.map(({ exitCode }) => exitCode)).to.deep.equal([0, 3]);
    expect(first?.fault).to.include({ code: "SKEP_COMMAND_FAILED" });
    expect(second).to.deep.equal(first);
    reopen();
    expect(await letGo([hook("post")])).to.deep.equal(first);
    expect((await letGo([])).commands, "of the order that has none").to.deep.equal([]);
    expect(told.filter((what) => !what.startsWith("end"))).to.deep.equal(["pre", "freeze", "wake", "post", "bad"]);
  });

  it("run no hooks after where no hook before was begun here", async () => {
    expect((await letGo([hook("post")])).commands).to.deep.equal([]);
    expect(told).to.deep.equal([]);
  });

  it("run its hooks after again where the agent was stopped amid them", async () => {
    await makeQuiet();
    const stop = new AbortController();
    const gate = gateAt("post");
    const order = letGo([hook("post")], stop.signal).catch((error: unknown) => error);
    await gate.reached.promise;
    stop.abort(new SkepError({ code: "SKEP_AGENT_STOPPING", message: "stopped", permanent: false }));
    expect(await order).to.include({ code: "SKEP_AGENT_STOPPING" });
    reopen();
    gates.clear();
    expect((await letGo([hook("post")])).commands).to.have.length(1);
  });
});
