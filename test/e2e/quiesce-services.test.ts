// Holding services on a real swarm: what is stopped comes back as it was, whoever died or changed it meanwhile.
import { mkdir, readdir, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect } from "chai";
import { connectDocker, type Docker } from "../../agent/docker.ts";
import type { SwarmService } from "../../agent/docker-objects.ts";
import { findRecords, writeRecord } from "../../agent/quiesce/hold-book.ts";
import { hold } from "../../agent/quiesce/hold.ts";
import { reconcileHolds } from "../../agent/quiesce/reconcile.ts";
import { release } from "../../agent/quiesce/release.ts";
import { rollBack } from "../../agent/quiesce/rollback.ts";
import { holdLabels } from "../../shared/contract/hold-record.ts";
import type { TaskOf } from "../../shared/contract/job.ts";
import { heldConstraint } from "../../shared/held-spec.ts";
import { nodeImage, redisImage } from "../lab/image.ts";
import { Lab } from "../lab/lab.ts";
import type { LabNode } from "../lab/node.ts";
import { RedisServer } from "../lab/redis.ts";
import { armedFile, reachedFile, type Step } from "../lab/step-gate.ts";
import { Daemon, failureOf, Rig, until } from "./agent-rig.ts";
import { args, newId, orderFor, program, programOf } from "./hold-orders.ts";

const image = nodeImage();
const patient = new AbortController().signal;

describe("a service that is held", function () {
  this.timeout(240_000);
  let lab: Lab;
  let manager: LabNode;
  let engine: Docker;

  before(async () => {
    lab = await Lab.up({ nodes: 2, managers: 1, images: [image, redisImage()] });
    manager = lab.node("node1");
    engine = connectDocker(manager.dockerSocketPath);
  });
  after(() => lab.down());
  afterEach(async () => {
    for (const { ID } of await engine.services()) await docker("service", "rm", ID);
    for (const { config } of await findRecords(engine)) await engine.removeConfig(config.ID);
  });

  const docker = async (...argv: string[]): Promise<string> => (await manager.run(["docker", ...argv])).trim();
  const create = (name: string, ...options: string[]): Promise<string> =>
    docker(
      "service",
      "create",
      "-d",
      "--quiet",
      "--no-resolve-image",
      "--name",
      name,
      ...options,
      image.tag,
      ...program("old"),
    );
  const service = async (name: string): Promise<SwarmService> =>
    (await engine.service(name)) ?? expect.fail(`no ${name}`);
  const running = async (name: string): Promise<number> =>
    (await engine.tasks({ service: [name], "desired-state": ["running"] })).filter(
      ({ Status }) => Status.State === "running",
    ).length;
  const runs = (name: string, tasks: number): Promise<void> => until(async () => (await running(name)) === tasks);
  /** Two replicas of `new`, which was `old` with one before. */
  const createUpdated = async (name: string): Promise<string> => {
    const id = await create(name, "--update-monitor", "100ms");
    await docker("service", "update", "-d", "--quiet", "--replicas", "2", "--args", args("new"), name);
    // The updater's own writes are over.
    await until(async () => (await service(name)).UpdateStatus?.State === "completed");
    await runs(name, 2);
    return id;
  };

  it("has no task left, and then runs as before; rolled back by Docker, it goes to what it was before that", async () => {
    const id = await createUpdated("db");
    const before = await service("db");
    const order = orderFor([id]);
    expect(await hold(order, engine, patient)).to.deep.include({
      skipped: [],
      held: [{ serviceId: id, name: "db", replicas: 2 }],
    });
    expect(await running("db")).to.equal(0);
    const released = await release(order.holdId, engine);
    expect(released).to.deep.include({ released: ["db"], leftAlone: [], rolledBack: [] });
    expect(released.quiet[0]?.quietMs).to.be.within(1, 60_000);
    expect((await service("db")).Spec).to.deep.equal(before.Spec);
    await runs("db", 2);
    expect(await failureOf(hold(order, engine, patient))).to.include({ code: "SKEP_HOLD_OVER" });

    await docker("service", "rollback", "-d", "db");
    expect((await reconcileHolds(engine, Date.now(), patient)).rolledBack).to.deep.equal(["db"]);
    expect((await service("db")).Spec).to.deep.equal(before.PreviousSpec);
    await runs("db", 1);
    await docker("service", "rollback", "-d", "db");
    await reconcileHolds(engine, Date.now(), patient);
    expect((await service("db")).Spec).to.deep.equal(before.Spec);
  });

  it("is rolled back from the record, through a second hold too", async () => {
    const id = await createUpdated("db");
    const before = await service("db");
    for (let round = 0; round < 2; round++) {
      const order = orderFor([id]);
      await hold(order, engine, patient);
      expect(await failureOf(rollBack({ kind: "rollback", service: "db" }, engine, patient))).to.include({
        code: "SKEP_SERVICE_HELD",
      });
      await release(order.holdId, engine);
    }
    expect(await findRecords(engine)).to.have.length(1);
    const rolled = await rollBack({ kind: "rollback", service: "db" }, engine, patient);
    expect(rolled).to.include({ fromRecord: true });
    expect((await service("db")).Spec).to.deep.equal(before.PreviousSpec);
    await rollBack({ kind: "rollback", service: "db" }, engine, patient);
    expect((await service("db")).Spec).to.deep.equal(before.Spec);
  });

  it("goes where its owner's rollback during the hold meant it to go", async () => {
    const id = await createUpdated("db");
    const before = await service("db");
    const order = orderFor([id]);
    await hold(order, engine, patient);
    await docker("service", "rollback", "-d", "db");
    expect(await release(order.holdId, engine)).to.deep.include({ released: [], rolledBack: ["db"] });
    expect((await service("db")).Spec).to.deep.equal(before.PreviousSpec);
    await runs("db", 1);
  });

  it("is as a stack deploy during the hold says, and as one after it says", async () => {
    const compose = async (name: string, replicas: number): Promise<void> => {
      const command = JSON.stringify(program(name));
      const text = `version: "3.8"\nservices:\n  db:\n    image: ${image.tag}\n    command: ${command}\n    deploy: { replicas: ${replicas} }\n`;
      await writeFile(manager.hostPath("/root/stack.yml"), text);
      await docker("stack", "deploy", "--resolve-image", "never", "-c", "/root/stack.yml", "shop");
    };
    await compose("old", 1);
    await runs("shop_db", 1);
    const { ID, Spec } = await service("shop_db");
    const order = orderFor([ID]);
    await hold(order, engine, patient);
    await compose("new", 2);
    expect(await release(order.holdId, engine)).to.deep.include({ released: [], leftAlone: ["shop_db"] });
    await runs("shop_db", 2);
    expect(programOf((await service("shop_db")).Spec)).to.equal("new");
    await rollBack({ kind: "rollback", service: "shop_db" }, engine, patient);
    expect((await service("shop_db")).Spec).to.deep.equal(Spec);
    const second = orderFor([ID]);
    await hold(second, engine, patient);
    await release(second.holdId, engine);
    await compose("newest", 1);
    await reconcileHolds(engine, Date.now(), patient);
    expect(programOf((await service("shop_db")).Spec)).to.equal("newest");
    await docker("service", "rollback", "-d", "shop_db");
    await reconcileHolds(engine, Date.now(), patient);
    expect((await service("shop_db")).Spec).to.deep.equal(Spec);
  });

  it("keeps an update that its owner made meanwhile, and gets its replicas back", async () => {
    const id = await createUpdated("db");
    const order = orderFor([id]);
    await hold(order, engine, patient);
    await docker("service", "update", "-d", "--quiet", "--args", args("newest"), "db");
    expect(await release(order.holdId, engine)).to.deep.include({ leftAlone: ["db"] });
    const now = await service("db");
    expect([programOf(now.Spec), now.Spec.Mode.Replicated?.Replicas]).to.deep.equal(["newest", 2]);
    await rollBack({ kind: "rollback", service: "db" }, engine, patient);
    expect(programOf((await service("db")).Spec)).to.equal("new");
  });

  it("stays as its owner scaled it meanwhile", async () => {
    const id = await createUpdated("db");
    for (const replicas of [1, 0]) {
      const order = orderFor([id]);
      await hold(order, engine, patient);
      await docker("service", "scale", "-d", `db=${replicas}`);
      expect(await release(order.holdId, engine)).to.deep.include({ released: [], leftAlone: ["db"] });
      expect((await service("db")).Spec.Mode.Replicated?.Replicas).to.equal(replicas);
    }
  });

  it("may be a global one: held off by a constraint that is gone afterwards, also from an update of its owner's", async () => {
    const id = await create("everywhere", "--mode", "global");
    await runs("everywhere", 2);
    const before = await service("everywhere");
    const order = orderFor([id]);
    expect((await hold(order, engine, patient)).held).to.deep.equal([
      { serviceId: id, name: "everywhere", replicas: null },
    ]);
    expect(await running("everywhere")).to.equal(0);
    await release(order.holdId, engine);
    expect((await service("everywhere")).Spec).to.deep.equal(before.Spec);
    await runs("everywhere", 2);
    const second = orderFor([id]);
    await hold(second, engine, patient);
    await docker("service", "update", "-d", "--quiet", "--args", args("new"), "everywhere");
    await release(second.holdId, engine);
    const { Spec } = await service("everywhere");
    expect(Spec.TaskTemplate.Placement?.Constraints ?? []).to.not.include(heldConstraint);
    expect(programOf(Spec)).to.equal("new");
    await runs("everywhere", 2);
  });

  for (const mode of ["global", "replicated"]) {
    it(`is in one hold at a time, ${mode} too: another waits or steps back, and no release is another's, whoever died in between`, async () => {
      const brief = { othersMs: 300, othersOfAllMs: 300 };
      const id = await create("one", "--mode", mode);
      await runs("one", mode === "global" ? 2 : 1);
      const before = (await service("one")).Spec;
      const first = orderFor([id]);
      await hold(first, engine, patient);
      const second = orderFor([id]);
      const stepped = await hold(second, engine, patient, brief);
      expect([stepped.held, stepped.skipped.map(({ reason }) => reason)]).to.deep.equal([[], ["held"]]);
      const all = await failureOf(hold(orderFor([id], { allOrNone: true }), engine, patient, brief));
      expect(all).to.include({ code: "SKEP_HOLD_REFUSED" });
      expect((await release(second.holdId, engine)).released).to.deep.equal([]);
      const third = orderFor([id]);
      const waiting = hold(third, engine, patient);
      expect((await release(first.holdId, engine)).released).to.deep.equal(["one"]);
      expect((await waiting).held.map(({ name }) => name)).to.deep.equal(["one"]);
      expect((await release(first.holdId, engine)).released).to.deep.equal([]);
      expect(await running("one")).to.equal(0);
      await release(third.holdId, engine);
      expect((await service("one")).Spec).to.deep.equal(before);

      const { Spec, PreviousSpec, Version } = await service("one");
      const dead = async (deadlineAt: number): Promise<void> =>
        writeRecord(engine, {
          ...{ version: 1, holdId: newId(), deadlineAt: new Date(deadlineAt).toISOString(), serviceId: id },
          ...{ former: Spec, previous: PreviousSpec ?? null, updateStatus: null, serviceVersion: Version.Index },
        });
      await dead(Date.now() - 1000);
      const orders = [1, 2, 3].map(() => orderFor([id]));
      const results = await Promise.all(orders.map((order) => hold(order, engine, patient, { othersMs: 3000 })));
      expect(results.flatMap(({ held }) => held)).to.have.length(1);
      expect(await running("one")).to.equal(0);
      for (const { holdId } of orders) await release(holdId, engine);
      expect((await service("one")).Spec).to.deep.equal(before);
      await dead(Date.now() + 60_000);
      expect((await hold(orderFor([id]), engine, patient, brief)).held).to.deep.equal([]);
    });
  }

  it("is not held once that was released for good, whether it waits for another hold, writes its record or has not begun", async () => {
    const id = await create("db");
    await runs("db", 1);
    const before = (await service("db")).Spec;
    const first = orderFor([id]);
    await hold(first, engine, patient);
    const second = orderFor([id]);
    const waiting = failureOf(hold(second, engine, patient, { othersMs: 60_000 }));
    await release(second.holdId, engine, true);
    expect(await waiting).to.include({ code: "SKEP_HOLD_OVER" });
    await release(first.holdId, engine);
    const third = orderFor([id]);
    const late: Docker = {
      ...engine,
      createConfig: async (config, signal) => {
        expect((await release(third.holdId, engine, true)).released).to.deep.equal([]);
        return engine.createConfig(config, signal);
      },
    };
    expect(await failureOf(hold(third, late, patient))).to.include({ code: "SKEP_HOLD_OVER" });
    for (const now of [Date.now(), Date.now() + 3_700_000]) {
      expect((await service("db")).Spec).to.deep.equal(before);
      await reconcileHolds(engine, now, patient);
      const left = await engine.configs({ label: [`${holdLabels.hold}=${second.holdId}`] });
      expect(left).to.have.length(now > Date.now() ? 0 : 1);
      if (left.length > 0)
        expect(await failureOf(hold(second, engine, patient))).to.include({ code: "SKEP_HOLD_OVER" });
    }
  });

  it("tells for how long it stood still also where its tasks did not go in time, and where its deadline ended the hold", async () => {
    const id = await create("db");
    await runs("db", 1);
    const standing = async (holdId: string): Promise<void> => {
      const { released, quiet } = await release(holdId, engine);
      expect([released, quiet.map((each) => each.service)]).to.deep.equal([[], ["db"]]);
      expect(quiet[0]?.quietMs).to.be.within(1, 60_000);
    };
    const late = orderFor([id]);
    expect(await failureOf(hold(late, engine, patient, { goneMs: 0 }))).to.include({ code: "SKEP_HOLD_TIMEOUT" });
    await standing(late.holdId);
    const overdue = orderFor([id]);
    await hold(overdue, engine, patient);
    expect((await reconcileHolds(engine, Date.now() + 200_000, patient)).released).to.deep.equal(["db"]);
    await standing(overdue.holdId);
  });

  it("is none that is a job, is being updated, or could start without its data: these are not touched", async () => {
    const ids = [
      await create("job", "--mode", "replicated-job"),
      await create("moving", "--mount", "type=volume,source=data,target=/data"),
      await create("updating", "--replicas", "2", "--update-delay", "5m"),
      await create("pinned", "--mount", "type=volume,source=data,target=/data", "--constraint", "node.hostname==node2"),
    ];
    await docker("service", "update", "-d", "--quiet", "--args", args("new"), "updating");
    await until(async () => (await service("updating")).UpdateStatus?.State === "updating");
    await runs("pinned", 1);
    const versions = async (): Promise<unknown> =>
      (await engine.services())
        .filter(({ Spec }) => Spec.Name !== "pinned")
        .map(({ ID, Spec, PreviousSpec }) => [ID, Spec, PreviousSpec]);
    const before = await versions();
    const order = orderFor(ids);
    const { held, skipped } = await hold(order, engine, patient);
    expect(held.map(({ name }) => name)).to.deep.equal(["pinned"]);
    expect(skipped.map(({ name, reason }) => `${name} ${reason}`)).to.deep.equal([
      "job job",
      "moving placement",
      "updating update",
    ]);
    await release(order.holdId, engine);
    expect(await versions()).to.deep.equal(before);
    const all = await failureOf(hold(orderFor(ids, { allOrNone: true }), engine, patient));
    expect(all).to.include({ code: "SKEP_HOLD_REFUSED", permanent: true });
    expect((await service("pinned")).Spec.Mode.Replicated?.Replicas).to.equal(1);
  });

  it("is as before once somebody comes by after the deadline, though an agent was killed at a step of its hold; what one paused goes on when it starts", async () => {
    const id = await createUpdated("db");
    const before = await service("db");
    const rig = await Rig.make();
    const redis = await RedisServer.alone();
    const gate = join(rig.folder, "gate");
    await mkdir(gate);
    const environment = {
      NODE_OPTIONS: `--import=${join(import.meta.dirname, "../lab/step-gate.ts")}`,
      SKEP_TEST_GATE: gate,
    };
    const daemon = await Daemon.make(rig, manager, await redis.address(), environment);
    const kill = async (task: TaskOf<"hold"> | TaskOf<"pause">, step: Omit<Step, "id">): Promise<void> => {
      const stepId = newId();
      await writeFile(join(gate, armedFile), JSON.stringify({ id: stepId, ...step }));
      daemon.start();
      // What was begun comes back to the queue, and is refused there: nobody waits for that.
      daemon.order(task, task.kind === "hold" ? { target: { kind: "managers" } } : {}).catch(() => undefined);
      await until(async () => (await readdir(gate)).includes(reachedFile(stepId)));
      expect(await daemon.stop("SIGKILL")).to.equal("SIGKILL");
      await rm(join(gate, armedFile));
    };
    try {
      const isStopped = String.raw`POST /services/\w+/update.*"Replicas":0`;
      for (const [request, replicas] of [
        ["POST /configs/create", 2],
        [isStopped, 0],
      ] as const) {
        const order = orderFor([id]);
        await kill(order, { requests: [request], when: "after" });
        expect((await service("db")).Spec.Mode.Replicated?.Replicas).to.equal(replicas);
        const [kept] = await findRecords(engine, { holdId: order.holdId });
        expect(kept).to.include({ releasedAt: null, heldAt: null });
        expect(kept?.record).to.deep.include({ previous: before.PreviousSpec, former: before.Spec });
        expect(kept?.record.updateStatus).to.deep.equal(before.UpdateStatus);
        expect((await reconcileHolds(engine, Date.now(), patient)).released).to.deep.equal([]);
        const late = Date.parse(order.deadlineAt);
        expect((await reconcileHolds(engine, late, patient)).released).to.deep.equal(["db"]);
        expect((await service("db")).Spec).to.deep.equal(before.Spec);
      }
      await docker("run", "-d", "--name", "plain", "-v", "plain:/data", image.tag, ...program("old"));
      const state = (): Promise<string> => docker("inspect", "--format", "{{.State.Status}}", "plain");
      const deadlineAt = new Date(Date.now() + 600_000).toISOString();
      const pause: TaskOf<"pause"> = { kind: "pause", pauseId: newId(), volumes: ["plain"], before: [], deadlineAt };
      await kill(pause, { requests: [String.raw`POST /containers/\w+/pause`], when: "after" });
      expect(await state()).to.equal("paused");
      daemon.start();
      await until(async () => (await state()) === "running");
    } finally {
      await daemon.down();
      await redis.remove();
      await rig.down();
      await manager.exec(["docker", "rm", "--force", "plain"]);
    }
    // Two managers at once.
    const late = Date.now() + 200_000;
    const held = orderFor([id]);
    await hold(held, engine, patient);
    await Promise.all([1, 2, 3].map(() => reconcileHolds(engine, late, patient)));
    expect((await service("db")).Spec).to.deep.equal(before.Spec);
    await rollBack({ kind: "rollback", service: "db" }, engine, patient);
    expect((await service("db")).Spec).to.deep.equal(before.PreviousSpec);
  });
});
