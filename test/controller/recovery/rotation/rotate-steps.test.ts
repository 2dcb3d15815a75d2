import { expect } from "chai";
import { mkdtemp, readFile, readdir, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { z } from "zod";
import { SkepError } from "../../../../shared/errors.ts";
import { encodeUnlockKey } from "../../../../shared/raft/unlock-key.ts";
import type { RecoveryTools } from "../../../../controller/recovery/recovery-tools.ts";
import type { EngineCall } from "../../../../controller/recovery/remote-machine.ts";
import { rotationActions, tokenSecret, unlockKeyPath } from "../../../../controller/recovery/rotation/rotate-steps.ts";
import type { StepActions, StepContext } from "../../../../controller/recovery/steps.ts";

const former = new Uint8Array(32).fill(1);
const digest = "0".repeat(50);

/** A manager that answers as Docker does: versions that must be named, a CA whose exchange takes a while. */
class Manager {
  version = 7;
  spec = { CAConfig: { NodeCertExpiry: 1 } as { ForceRotate?: number }, Name: "default" };
  secrets = { Worker: "w0", Manager: "m0" };
  unlockKey = former;
  root = "root0";
  inProgress = false;
  /** So many looks the exchange of the CA takes. */
  rounds = 2;
  ready = true;
  updates: unknown[] = [];
  conflicts = 1;
  /** So many answers get lost on their way. */
  lost = 0;
  locked = true;

  ask({ method, path, query, body }: EngineCall): unknown {
    if (path === "/swarm/unlockkey") return { UnlockKey: this.locked ? encodeUnlockKey(this.unlockKey) : "" };
    if (path === "/nodes") {
      const state = this.ready ? "ready" : "down";
      return [{ Status: { State: state }, Description: { Hostname: "node1" } }];
    }
    if (method === "POST") return this.update(query ?? {}, body as { CAConfig: { ForceRotate?: number } });
    if (this.inProgress && --this.rounds < 0) [this.inProgress, this.root] = [false, "root1"];
    const token = (secret: string): string => `SWMTKN-1-${digest}-${secret}`;
    return {
      ...{ Version: { Index: this.version }, Spec: this.spec, TLSInfo: { TrustRoot: this.root } },
      RootRotationInProgress: this.inProgress,
      JoinTokens: { Worker: token(this.secrets.Worker), Manager: token(this.secrets.Manager) },
    };
  }

  update(query: NonNullable<EngineCall["query"]>, body: { CAConfig: { ForceRotate?: number } }): null {
    if (query["version"] !== this.version) throw new Error("another version");
    if (this.conflicts-- > 0) throw new SkepError({ code: "SKEP_DOCKER_CONFLICT", message: "", permanent: false });
    this.updates.push(query);
    this.version++;
    if (query["rotateWorkerToken"] === true) this.secrets = { Worker: "w1", Manager: "m1" };
    if (query["rotateManagerUnlockKey"] === true) this.unlockKey = new Uint8Array(32).fill(2);
    if ((body.CAConfig.ForceRotate ?? 0) > (this.spec.CAConfig.ForceRotate ?? 0)) this.inProgress = true;
    this.spec = { ...this.spec, ...body };
    if (this.lost-- > 0) throw new SkepError({ code: "SKEP_DOCKER_UNREACHABLE", message: "", permanent: false });
    return null;
  }
}

describe("the rotations of a recovery", () => {
  let folder: string;
  let manager: Manager;
  let actions: Map<string, StepActions>;
  let tools: RecoveryTools;
  let copied: { UnlockKey: string };
  const { signal } = new AbortController();
  const context: StepContext = { signal, resultOf: () => ({}), onProgress: () => undefined };

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), "skep-rotate-"));
    manager = new Manager();
    copied = { ...(manager.ask({ path: "/swarm" }) as object), UnlockKey: encodeUnlockKey(former) };
    const machine = {
      name: "m1",
      engine: (schema: z.ZodType, call: EngineCall) => Promise.resolve(schema.parse(manager.ask(call))),
      askEngine: async (call: EngineCall) => await Promise.resolve().then(() => manager.ask(call)),
    };
    tools = {
      ...{ folder, now: () => Date.now(), machines: new Map([["m1", machine]]) },
      plan: { machines: [{ name: "m1" }], rotations: ["tokens", "unlock-key", "ca"] },
      source: { swarm: { list: () => [{ id: "c" }], get: () => copied } },
    } as unknown as RecoveryTools;
    actions = rotationActions(tools);
  });
  afterEach(() => rm(folder, { recursive: true }));

  const step = (id: string): StepActions => actions.get(id) ?? expect.fail(id);

  it("are each asked for once, also where the first call was cut off before its journal knew", async () => {
    for (const id of ["rotate:tokens", "rotate:ca", "rotate:unlock-key"]) {
      expect(await step(id).check?.(context), id).to.equal(null);
      await step(id).act(context);
      expect(await step(id).check?.(context), id).to.deep.equal({ rotated: true });
    }
    expect(manager.updates).to.deep.equal([
      { version: 7, rotateWorkerToken: true, rotateManagerToken: true },
      { version: 8 },
      { version: 9, rotateManagerUnlockKey: true },
    ]);
    expect(manager.spec.CAConfig).to.deep.equal({ NodeCertExpiry: 1, ForceRotate: 1 });
    expect(manager.spec.Name).to.equal("default");
  });

  it("are asked for once though the swarm's answer is lost", async () => {
    for (const id of ["rotate:tokens", "rotate:ca", "rotate:unlock-key"]) {
      manager.lost = 1;
      expect(
        await step(id)
          .act(context)
          .catch(() => "lost"),
      ).to.equal("lost");
      expect((await step(id).check?.(context)) ?? (await step(id).act(context)), id).to.deep.equal({ rotated: true });
    }
    expect(manager.updates).to.have.length(3);
  });

  it("take any key for new where the state has none, and nothing for one where the swarm is not locked any more", async () => {
    copied.UnlockKey = "";
    expect(await step("rotate:unlock-key").check?.(context)).to.deep.equal({ rotated: true });
    manager.locked = false;
    expect(await step("rotate:unlock-key").check?.(context)).to.deep.equal({ rotated: false });
    expect(manager.updates).to.deep.equal([]);
  });

  it("hand the new unlock key over in a file for its owner alone, and write it nowhere else", async () => {
    const result = await step("rotate:unlock-key").act(context);
    const key = encodeUnlockKey(manager.unlockKey);
    expect(await readFile(unlockKeyPath(tools), "utf8")).to.equal(`${key}\n`);
    expect((await stat(unlockKeyPath(tools))).mode & 0o777).to.equal(0o600);
    expect(await readdir(folder)).to.deep.equal(["unlock-key"]);
    expect(JSON.stringify(result)).to.not.contain(key);
    await rm(unlockKeyPath(tools));
    // Cut off between the swarm's answer and the file: the check writes it.
    await step("rotate:unlock-key").check?.(context);
    expect(await readFile(unlockKeyPath(tools), "utf8")).to.equal(`${key}\n`);
  });

  it("don't begin with the CA while a node is down, go on with an exchange that was begun, but not with the copy's", async () => {
    manager.ready = false;
    const fault = await step("rotate:ca")
      .act(context)
      .catch((error: unknown) => error);
    expect(fault).to.be.instanceOf(SkepError).with.property("code", "SKEP_RECOVERY_ROTATION");
    expect((fault as SkepError).message).to.contain("node1 is not ready");
    expect(manager.updates).to.deep.equal([]);
    manager.inProgress = true;
    manager.spec = { ...manager.spec, CAConfig: { ForceRotate: 1 } };
    expect(await step("rotate:ca").act(context)).to.deep.equal({ rotated: true });
    expect(manager.updates).to.deep.equal([]);
    // One that the copy was amid of: its CA's key is on the old disks too.
    [manager.inProgress, manager.ready, manager.root] = [true, true, "root0"];
    Object.assign(copied, { Spec: { CAConfig: { ForceRotate: 1 } } });
    await step("rotate:ca").act(context);
    expect(manager.updates).to.have.length(1);
  });

  it("don't take tokens for new that only name another CA", () => {
    expect(tokenSecret(`SWMTKN-1-${digest}-abc`)).to.equal(tokenSecret(`SWMTKN-1-${digest.replaceAll("0", "z")}-abc`));
  });
});
