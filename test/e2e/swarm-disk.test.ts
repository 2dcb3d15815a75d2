// The disk under the swarm's own state is full: what the engine says of it, and what becomes of a service that is held.
import { randomBytes } from "node:crypto";
import { expect } from "chai";
import { connectDocker, type Docker } from "../../agent/docker.ts";
import { hold } from "../../agent/quiesce/hold.ts";
import { reconcileHolds } from "../../agent/quiesce/reconcile.ts";
import type { SkepError } from "../../shared/errors.ts";
import { nodeImage } from "../lab/image.ts";
import { Lab } from "../lab/lab.ts";
import type { LabNode } from "../lab/node.ts";
import { failureOf, until } from "./agent-rig.ts";
import { newId, orderFor, program } from "./hold-orders.ts";

const folder = "/var/lib/docker/swarm";
const patient = new AbortController().signal;

describe("a manager whose disk is full", function () {
  this.timeout(240_000);
  let lab: Lab;
  let node: LabNode;
  let engine: Docker;
  before(async () => {
    lab = await Lab.up({ nodes: 1, images: [nodeImage()] });
    node = lab.node("node1");
    engine = connectDocker(node.dockerSocketPath);
    await node.run(["mkdir", "-p", folder]);
    // The engine allots its log 64 MB at once, twice.
    await node.run(["mount", "-t", "tmpfs", "-o", "size=150m", "tmpfs", folder]);
    await node.run(["docker", "swarm", "init", "--advertise-addr", node.address]);
  });
  after(() => lab.down());

  it("says that it stopped amid a call, and gives back what is held once there is room", async () => {
    const create = ["service", "create", "--detach", "--quiet", "--no-resolve-image", "--name", "db"];
    const id = (await node.run(["docker", ...create, nodeImage().tag, ...program("old")])).trim();
    const isRunning = async (): Promise<boolean> =>
      (await engine.tasks({ service: [id], "desired-state": ["running"] })).some(
        ({ Status }) => Status.State === "running",
      );
    await until(isRunning);
    const before = (await engine.service(id))?.Spec;
    const order = orderFor([id]);
    await hold(order, engine, patient);
    await node.exec(["dd", "if=/dev/zero", `of=${folder}/filler`, "bs=64k"]);
    const error = await failureOf(fillLog(engine));
    expect(error).to.include({ code: "SKEP_DOCKER_MANAGER_STOPPED", permanent: false });
    expect(error.hint).to.contain("full");
    const late = Date.parse(order.deadlineAt);
    await until(async () => {
      const { code, hint } = await failureOf(reconcileHolds(engine, late, patient));
      expect(code).to.be.oneOf(["SKEP_DOCKER_MANAGER_STOPPED", "SKEP_DOCKER_NOT_MANAGER"]);
      expect(hint).to.match(/disk( is)? full/);
      return code === "SKEP_DOCKER_NOT_MANAGER";
    });
    await node.run(["rm", `${folder}/filler`]);
    let refused: SkepError | null = null;
    await until(async () => {
      try {
        return (await reconcileHolds(engine, late, patient)).released.includes("db");
      } catch (thrown) {
        refused = thrown as SkepError;
        return false;
      }
    }, 120_000);
    expect((refused as SkepError | null)?.code).to.equal("SKEP_DOCKER_NOT_MANAGER");
    expect((await engine.service(id))?.Spec).to.deep.equal(before);
    await until(isRunning);
  });
});

/** Throws what the engine says once its log has no room left. */
async function fillLog(engine: Docker): Promise<void> {
  for (let count = 0; count < 300; count++) {
    await engine.createConfig({ name: `filler-${newId()}`, labels: {}, data: randomBytes(480_000) });
  }
}
