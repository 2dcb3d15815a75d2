import { expect } from "chai";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { Docker } from "../../../agent/docker.ts";
import type { EngineEvent } from "../../../agent/docker-objects.ts";
import { Journal } from "../../../agent/journal.ts";
import { QuietWatch } from "../../../agent/quiesce/quiet-watch.ts";
import { Watches } from "../../../agent/quiesce/watches.ts";
import { SkepError } from "../../../shared/errors.ts";

const patient = new AbortController().signal;
const watchId = "abcdefghijkl";

/** An engine that answers when the test says. */
class Engine {
  /** Of each stream of events: aborted, it is closed. */
  readonly streams: AbortSignal[] = [];
  readonly tell: ((event: EngineEvent) => void)[] = [];
  answers = true;
  /** What it takes to tell of one container, and of all volumes. */
  look: () => Promise<void> = () => Promise.resolve();
  place: () => Promise<void> = () => Promise.resolve();
  readonly docker: Docker;

  constructor() {
    const calls: Pick<Docker, "volumes" | "containers" | "watch"> = {
      volumes: async () => {
        await this.place();
        return [];
      },
      containers: async (filters) => {
        if (!this.answers) throw new SkepError({ code: "SKEP_DOCKER_UNREACHABLE", message: "", permanent: false });
        if (filters["id"] !== undefined) await this.look();
        return [];
      },
      watch: (_, onEvent, signal) => {
        this.streams.push(signal);
        this.tell.push(onEvent);
        return Promise.resolve({ ended: new Promise(() => undefined), hasEnded: () => false });
      },
    };
    this.docker = calls as Docker;
  }

  get open(): number {
    return this.streams.filter(({ aborted }) => !aborted).length;
  }
}

describe("the watches over volumes that another node reads", () => {
  let folder: string;
  let journal: Journal;
  let engine: Engine;
  let watches: Watches;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), "skep-watches-"));
    journal = new Journal(join(folder, "journal.sqlite"));
    engine = new Engine();
    watches = new Watches();
  });
  afterEach(() => {
    journal.close();
    rmSync(folder, { recursive: true });
  });

  const begin = (leftMs = 60_000): ReturnType<Watches["begin"]> => {
    const deadlineAt = new Date(Date.now() + leftMs).toISOString();
    const volumes = ["one", "two"].map((volume) => ({ volume, how: "stop" as const }));
    return watches.begin({ kind: "watch", watchId, volumes, deadlineAt }, engine.docker, journal);
  };
  const prove = (): ReturnType<Watches["prove"]> => watches.prove({ kind: "prove", watchId }, patient);
  const codeOf = (work: Promise<unknown>): Promise<unknown> =>
    work.then(
      () => "done",
      (error: unknown) => (error as SkepError).code,
    );

  it("end with their proof, but not where the engine does not answer", async () => {
    await begin();
    expect(engine.open).to.equal(2);
    engine.answers = false;
    expect(await codeOf(prove())).to.equal("SKEP_DOCKER_UNREACHABLE");
    expect(engine.open).to.equal(2);
    engine.answers = true;
    expect(await prove()).to.deep.equal({ kind: "prove", broken: [] });
    expect(engine.open).to.equal(0);
    expect(await codeOf(prove())).to.equal("SKEP_QUIET_BROKEN");
  });

  it("end with the agent, those too that are only beginning", async () => {
    await begin();
    const looking = Promise.withResolvers<undefined>();
    engine.place = () => looking.promise;
    const beginning = codeOf(
      watches.begin(
        {
          ...{ kind: "watch", watchId: "lkjihgfedcba", volumes: [{ volume: "one", how: "stop" }] },
          deadlineAt: new Date(Date.now() + 60_000).toISOString(),
        },
        engine.docker,
        journal,
      ),
    );
    watches.closeAll();
    expect(engine.open).to.equal(0);
    looking.resolve(undefined);
    expect(await beginning).to.equal("SKEP_QUIET_BROKEN");
    expect(engine.streams).to.have.length(3);
    expect(engine.open).to.equal(0);
  });

  it("end at a deadline that passes while they begin", async () => {
    engine.place = async () => {
      // The second one's is looked for until the first one is given up.
      while (engine.open > 0) await sleep(5);
    };
    expect(await codeOf(begin(300))).to.equal("SKEP_QUIET_BROKEN");
    expect(engine.streams).to.have.length(2);
    expect(engine.open).to.equal(0);
  });

  it("are proven within the time that there is for it, however slow the engine is to tell of a container", async () => {
    const watch = await QuietWatch.begin(engine.docker, journal, "one", { how: "stop", id: watchId });
    engine.look = () => new Promise(() => undefined);
    const event = { Type: "container", Action: "start", Actor: { ID: "1", Attributes: { name: "late" } } };
    for (const tell of engine.tell) tell(event);
    const late = new Error("out of time");
    const proof = watch.prove(AbortSignal.any([patient, abortedIn(20, late)]));
    expect(await proof.catch((error: unknown) => error)).to.equal(late);
    watch.close();
  });
});

function abortedIn(ms: number, reason: Error): AbortSignal {
  const controller = new AbortController();
  setTimeout(() => {
    controller.abort(reason);
  }, ms);
  return controller.signal;
}
