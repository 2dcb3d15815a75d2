import { expect } from "chai";
import { once } from "node:events";
import { connect, type AddressInfo } from "node:net";
import { createServer, type Server } from "node:tls";
import { generate } from "selfsigned";
import { raiseFence } from "../../../controller/recovery/fence-step.ts";
import { rebuildActions } from "../../../controller/recovery/rebuild-mode.ts";
import type { RecoveryTools } from "../../../controller/recovery/recovery-tools.ts";
import type { StepContext } from "../../../controller/recovery/steps.ts";
import { layDownSwarm } from "../../../controller/recovery/swarm-steps.ts";
import { SkepError } from "../../../shared/errors.ts";
import { openSwarm } from "../../../shared/raft/open-swarm.ts";
import { memoryFiles } from "../../../shared/raft/swarm-files.ts";
import { clusterId, member, plainWal, syntheticSwarm } from "../../shared/raft/synthetic-swarm.ts";

const { signal } = new AbortController();
const context: StepContext = { signal, resultOf: () => ({}), onProgress: () => undefined };

/** What comes of the first thing that is done to the machine itself. */
const begun = new Error("begun");

describe("the fence before a swarm begins", () => {
  let manager: Server;
  let tools: RecoveryTools;
  /** What the engine of the first machine says. */
  let swarm: { NodeID: string; LocalNodeState: string };

  before(async () => {
    const { private: key, cert } = await generate([
      { name: "commonName", value: member.nodeId },
      { name: "organizationName", value: clusterId },
    ]);
    // Shows a certificate of the old swarm, as a manager does.
    manager = createServer({ key, cert, ALPNProtocols: ["h2"] }).listen(0, "127.0.0.1");
    manager.on("tlsClientError", () => undefined);
    await once(manager, "listening");
    const { port } = manager.address() as AddressInfo;
    const files = memoryFiles(await syntheticSwarm(plainWal(5).finish()));
    const archive = { files, unlockKey: null, facts: null };
    const opened = await openSwarm(files, { unlockKey: null, signal });
    opened.state.membership.members.set(member.raftId, { ...member, addr: `127.0.0.1:${port}` });
    const openTcp = async (host: string, to: number): Promise<unknown> => {
      const socket = connect(to, host);
      await once(socket, "connect");
      return socket;
    };
    const engine = (): unknown => Promise.resolve({ Swarm: { ...swarm, ControlAvailable: false, Error: "" } });
    const begin = (): unknown => Promise.reject(begun);
    tools = {
      plan: {
        ...{
          mode: "raft",
          clusterId,
          survivor: null,
          endedJobs: [],
          rotations: [],
          waves: [],
          own: [],
          volumes: [],
          services: [],
        },
        machines: [
          { name: "m1", advertise: "127.0.0.1", dataPath: null, facts: { dataRoot: "/nowhere" }, replaces: [] },
        ],
      },
      ...{
        source: { archive, swarm: opened, undone: [] },
        now: () => Date.now(),
        subnets: new Map(),
        recoveryId: "aaaaaaaaaaaa",
      },
      machines: new Map([["m1", { name: "m1", openTcp, engine, run: begin, openEngine: begin }]]),
    } as unknown as RecoveryTools;
  });
  after(() => manager.close());
  beforeEach(() => {
    swarm = { NodeID: "", LocalNodeState: "inactive" };
  });

  const faultOf = async (doing: Promise<unknown>): Promise<unknown> =>
    await doing.then(
      () => null,
      (error: unknown) => error,
    );

  it("stops a swarm from being laid down while a manager lives that came back since the fence was raised first", async () => {
    const fault = await faultOf(layDownSwarm(tools, context));
    expect(fault).to.be.instanceOf(SkepError).with.property("code", "SKEP_RECOVERY_OLD_MANAGER_ALIVE");
  });

  it("stops a new swarm from being made beside it, too", async () => {
    const swarmStep = rebuildActions(tools, 0).get("swarm");
    const fault = await faultOf(swarmStep?.act(context) ?? Promise.resolve());
    expect(fault).to.be.instanceOf(SkepError).with.property("code", "SKEP_RECOVERY_OLD_MANAGER_ALIVE");
  });

  it("takes no offence at the swarm that this recovery itself had started when it was cut off", async () => {
    swarm = { NodeID: member.nodeId, LocalNodeState: "pending" };
    expect(await faultOf(layDownSwarm(tools, context))).to.equal(begun);
    const own = { host: "127.0.0.1", nodeId: member.nodeId };
    expect((await raiseFence(tools, null, context, own))["managersAsked"]).to.have.length(1);
    for (const other of [
      { ...own, host: "127.0.0.2" },
      { ...own, nodeId: "idb" },
    ]) {
      const fault = await faultOf(raiseFence(tools, null, context, other));
      expect(fault).to.have.property("code", "SKEP_RECOVERY_OLD_MANAGER_ALIVE");
    }
  });
});
