// Holding services on a real swarm: what is stopped comes back as it was, whoever died or changed it meanwhile.
import { randomBytes } from "node:crypto";
import { writeFile } from "node:fs/promises";
import { expect } from "chai";
import { connectDocker, type Docker } from "../../agent/docker.ts";
import type { SwarmService } from "../../agent/docker-objects.ts";
import { findRecords, writeRecord } from "../../agent/quiesce/hold-book.ts";
import { hold, release } from "../../agent/quiesce/hold.ts";
import { reconcileHolds } from "../../agent/quiesce/reconcile.ts";
import { rollBack } from "../../agent/quiesce/rollback.ts";
import { heldConstraint, heldSpec } from "../../shared/contract/hold-record.ts";
import type { TaskOf } from "../../shared/contract/job.ts";
import { nodeImage, redisImage } from "../lab/image.ts";
import { Lab } from "../lab/lab.ts";
import type { LabNode } from "../lab/node.ts";
import { failureOf, until } from "./agent-rig.ts";

const image = nodeImage();
const script = "process.on('SIGTERM', () => process.exit()); setInterval(() => {}, 1e6)";
const patient = new AbortController().signal;
const newId = (): string => randomBytes(6).toString("hex");

/** A service's program is told apart by its last argument: `old`, `new`. */
const program = (name: string): string[] => ["node", "-e", script, name];

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
  const programOf = (spec: SwarmService["Spec"] | null | undefined): unknown =>
    (spec?.TaskTemplate.ContainerSpec?.["Args"] as string[] | undefined)?.at(-1);
  const running = async (name: string): Promise<number> =>
    (await engine.tasks({ service: [name], "desired-state": ["running"] })).filter(
      ({ Status }) => Status.State === "running",
    ).length;
  const runs = (name: string, tasks: number): Promise<void> => until(async () => (await running(name)) === tasks);
  const orderFor = (ids: string[], more: Partial<TaskOf<"hold">> = {}): TaskOf<"hold"> => ({
    kind: "hold",
    holdId: newId(),
    serviceIds: ids,
    deadlineAt: new Date(Date.now() + 120_000).toISOString(),
    allOrNone: false,
    sharedVolumes: [],
    ...more,
  });
  /** Two replicas of `new`, which was `old` with one before. */
  const createUpdated = async (name: string): Promise<string> => {
    const id = await create(name, "--update-monitor", "100ms");
    await docker("service", "update", "-d", "--quiet", "--replicas", "2", "--args", args("new"), name);
    // The updater's own writes are over.
    await until(async () => (await service(name)).UpdateStatus?.State === "completed");
    await runs(name, 2);
    return id;
  };
  const args = (name: string): string => `node -e "${script}" ${name}`;

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

  it("is given back after its deadline by whoever comes by, at whatever step its hold died", async () => {
    const id = await createUpdated("db");
    const before = await service("db");
    const late = Date.now() + 200_000;
    const record = (holdId: string, { Spec, PreviousSpec, Version }: SwarmService): Promise<void> =>
      writeRecord(engine, {
        ...{ version: 1, holdId, deadlineAt: new Date(Date.now() + 1000).toISOString(), serviceId: id, former: Spec },
        ...{ previous: PreviousSpec ?? null, updateStatus: null, serviceVersion: Version.Index },
      });
    // Died after it wrote the record.
    await record(newId(), before);
    await reconcileHolds(engine, late, patient);
    expect((await service("db")).Version).to.deep.equal(before.Version);
    // Died after it stopped the service, before it noted that.
    const now = await service("db");
    await record(newId(), now);
    await engine.updateService(id, now.Version.Index, heldSpec(now.Spec) ?? expect.fail("a job"));
    expect((await reconcileHolds(engine, Date.now(), patient)).released).to.deep.equal([]);
    expect((await reconcileHolds(engine, late, patient)).released).to.deep.equal(["db"]);
    expect((await service("db")).Spec).to.deep.equal(before.Spec);
    // Two managers at once.
    const order = orderFor([id]);
    await hold(order, engine, patient);
    await Promise.all([1, 2, 3].map(() => reconcileHolds(engine, late, patient)));
    expect((await service("db")).Spec).to.deep.equal(before.Spec);
    await rollBack({ kind: "rollback", service: "db" }, engine, patient);
    expect((await service("db")).Spec).to.deep.equal(before.PreviousSpec);
  });
});
