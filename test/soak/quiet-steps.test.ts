// An agent or the controller is killed at each step of a quiet: the agent that is at the step stands still there
// (test/lab/step-gate.ts) until the one or the other was killed. However the run ends: replicas, constraints, labels,
// previous spec and update status are as before, and nothing is left stopped or paused.
import { expect } from "chai";
import type { BackupDocument } from "../../controller/cli/documents.ts";
import { until } from "../e2e/agent-rig.ts";
import { Cluster } from "../e2e/cluster.ts";
import type { Step } from "../lab/step-gate.ts";
import type { LabNode } from "../lab/node.ts";
import { AgentGate, gateOverlay } from "./agent-gate.ts";
import { QuietEstate, type QuietService } from "./quiet-estate.ts";

const policy = `version: 1
select:
  volumes:
    include: ["quiet-*"]
limits:
  quietMinutes: 1
`;
const volumeBytes = 3_000_000;

const command = (mark: string): string => `["node","-e","/* ${mark} */"]`;
const hook = (step: "pre" | "post", mark: string): string => `skep.hook.${step}=${command(mark)}`;
/** Two seconds of output. */
const dump = `skep.dump=["node","-e","/* the dump */ let n = 0; setInterval(() => { console.log(n); if (++n > 20) process.exit(); }, 100)"]`;
const services: readonly QuietService[] = [
  {
    ...{ name: "stopped", nodes: ["node2"], options: ["--replicas", "2"] },
    labels: ["skep.quiesce=stop", hook("post", "after stop")],
  },
  {
    name: "everywhere",
    nodes: ["node1", "node2", "node3"],
    options: ["--mode", "global"],
    labels: ["skep.quiesce=stop"],
  },
  {
    ...{ name: "paused", nodes: ["node1"], options: [] },
    labels: ["skep.quiesce=pause", hook("pre", "before pause"), hook("post", "after pause")],
  },
  { name: "dumped", nodes: ["node3"], options: [], labels: [dump] },
];

const holds = String.raw`POST /services/\w+/update.*"Name":"stopped".*"Replicas":0`;
const gives = String.raw`POST /services/\w+/update.*"Name":"stopped".*"Replicas":2`;
const execOf = (mark: string): string => String.raw`POST /containers/\w+/exec.*${mark}`;
const execStart = String.raw`POST /exec/\w+/start`;
const execEnd = String.raw`GET /exec/\w+/json`;
const steps: Readonly<Record<string, Omit<Step, "id">>> = {
  "the hold is written down": { requests: ["POST /configs/create"], when: "after" },
  "a service is to be stopped": { requests: [holds], when: "before" },
  "a service was told to stop": { requests: [holds], when: "after" },
  "its tasks are awaited gone": { requests: [holds, "GET /tasks"], when: "after" },
  "a hook before has run": { requests: [execOf("before pause"), execStart, execEnd], when: "after" },
  "a container is to be paused": { requests: [String.raw`POST /containers/\w+/pause`], when: "before" },
  "a container is paused": { requests: [String.raw`POST /containers/\w+/pause`], when: "after" },
  "a volume is read that stands still": { requests: [], when: "after", opens: "/noise$" },
  "a dump is written": { requests: [execOf("the dump"), execStart], when: "after" },
  "a service is to be started": { requests: [gives], when: "before" },
  "a service was told to start": { requests: [gives], when: "after" },
  "a container goes on": { requests: [String.raw`POST /containers/\w+/unpause`], when: "after" },
  "a hook after a pause runs": { requests: [execOf("after pause"), execStart], when: "after" },
  "a hook after a stop runs": { requests: [execOf("after stop"), execStart], when: "after" },
  "a container outside of services is to be stopped": {
    requests: [String.raw`POST /containers/\w+/stop`],
    when: "before",
  },
  "a container outside of services is stopped": { requests: [String.raw`POST /containers/\w+/stop`], when: "after" },
  "a container outside of services is to be started": {
    requests: [String.raw`POST /containers/\w+/start`],
    when: "before",
  },
  "a container outside of services is started": { requests: [String.raw`POST /containers/\w+/start`], when: "after" },
};

describe("a run that makes volumes quiet", function () {
  this.timeout(900_000);
  let cluster: Cluster;
  let estate: QuietEstate;
  let gate: AgentGate;

  before(async () => {
    cluster = await Cluster.up({ nodes: 3, managers: 3, policy, overlays: [gateOverlay] });
    gate = await AgentGate.lay(cluster);
    await cluster.deploy();
    await cluster.ready();
    estate = await QuietEstate.make(cluster, services, { plain: { plain: "node3" }, volumeBytes });
    const { run } = await cluster.skepJson<BackupDocument>(["backup", "--wait"]);
    expect(run?.parts.filter(({ status }) => status !== "done")).to.deep.equal([]);
    await estate.untilAsBefore();
  });
  after(() => cluster.down());

  /** Where an agent stands still at the step. */
  async function reached(id: string): Promise<LabNode> {
    let at: LabNode[] = [];
    await until(async () => {
      at = await gate.reached(id);
      return at.length > 0;
    }, 120_000);
    return at[0] ?? expect.fail("no agent came to the step");
  }

  let count = 0;
  for (const victim of ["agent", "controller"] as const) {
    for (const [name, step] of Object.entries(steps)) {
      it(`leaves all as it was, its ${victim} killed when ${name}`, async () => {
        const id = String(++count);
        await estate.renewVolumes();
        await gate.arm({ id, ...step });
        let told = "";
        try {
          const runId = await estate.begin();
          const node = await reached(id);
          const where = victim === "agent" ? node : await cluster.nodeOf("controller");
          await cluster.kill(where ?? expect.fail("no controller"), victim);
          await gate.disarm();
          const { status } = await estate.endOf(runId);
          told = `${victim} killed, ${node.name} at the step, run ${status}`;
        } finally {
          await gate.disarm();
        }
        await estate.untilAsBefore();
        console.log(`      ${told}`);
        await cluster.ready();
      });
    }
  }
});
