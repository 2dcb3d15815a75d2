import { expect } from "chai";
import fc from "fast-check";
import { planDocumentOf } from "../../../controller/cli/recovery-plan-text.ts";
import { recoveryPlanDocument } from "../../../controller/cli/documents.ts";
import { unknownTasks, type NewerTask } from "../../../controller/recovery/newer-tasks.ts";
import type { PlanInput, RecoveryPlan } from "../../../controller/recovery/recovery-plan.ts";
import type { PlannedSurvivor } from "../../../controller/recovery/quorum/planned-survivor.ts";
import { facts, oldNode, planOf, service } from "./plan-input.ts";

const survivor: PlannedSurvivor = {
  ...{ machine: "m1", nodeId: "ida", hostname: "a", host: "192.0.2.11", port: 2377, term: 7, commitIndex: 40 },
  ...{ lastIndex: 40, managers: 3, majority: 2, newer: [], choice: null, others: [], locked: false },
};
const task = (more: Partial<NewerTask> = {}): NewerTask => ({
  ...{ machine: "m2", node: "b", taskId: "t9", serviceId: "idweb", service: "web" },
  ...{ startedAt: "2026-11-27T01:00:00.5Z", ...more },
});
const living = [facts("m1", { swarmState: "active" }), facts("m2", { swarmState: "active" })];
const view: PlanInput["view"] = {
  ...{ clusterId: "cluster", nodes: [oldNode("a"), oldNode("b", "worker")], services: [service("web")] },
  ...{ networks: [], dataPathPort: 4789, lastChangeAt: "2026-11-26T02:59:00.000Z" },
};
const said = ({ findings }: RecoveryPlan, code: string): string[] =>
  findings.filter((finding) => finding.code === code).map(({ text }) => text);

describe("what a plan says of tasks that are newer than the state", () => {
  it("takes every running task that the state has not, and no container that is no task", () => {
    const id = fc.string({ minLength: 1 });
    fc.assert(
      fc.property(fc.uniqueArray(id), fc.uniqueArray(id), (ran, known) => {
        const containers = ran.map((one) => ({ Id: `c${one}`, Labels: { "com.docker.swarm.task.id": one } }));
        const bystanders = [{ Id: "x", Labels: null }, { Id: "y" }, { Id: "z", Labels: { "com.example": "t" } }];
        const unknown = unknownTasks([...bystanders, ...containers], new Set(known)).map(({ Id }) => Id);
        expect(unknown).to.deep.equal(ran.filter((one) => !known.includes(one)).map((one) => `c${one}`));
      }),
    );
  });

  it("names each by service, node and start, with what becomes of it and of its service", () => {
    const newerTasks = new Map([
      ["m1", []],
      ["m2", [task(), task({ taskId: "t10", serviceId: "idlate", service: "late" })]],
    ]);
    const plan = planOf({ facts: living, input: { mode: "quorum", survivor, view, newerTasks } });
    expect(said(plan, "task-newer")).to.deep.equal([
      "the task of web on b (m2), which runs since 2026-11-27T01:00:00.5Z, is newer than the state: the recovered manager removes it; its service starts another",
      "the task of late on b (m2), which runs since 2026-11-27T01:00:00.5Z, is newer than the state: the recovered manager removes it; its service is not in the state, and does not come back",
    ]);
    expect(said(plan, "tasks-unasked")).to.deep.equal([]);
    expect(said(plan, "state-reach")).to.deep.equal([
      "the state is that of m1, its last change was at 2026-11-26T02:59:00.000Z: services, secrets, configs, networks and nodes that were made or changed later, it does not know",
    ]);
    const raft = planOf({ facts: living, input: { view, newerTasks } });
    expect(said(raft, "task-newer")[0]).to.contain("it ends when the machine leaves its swarm");
    const document = recoveryPlanDocument.parse(planDocumentOf(plan));
    expect(document.newerTasks.map(({ taskId }) => taskId)).to.deep.equal(["t9", "t10"]);
    expect(document.stateChangedAt).to.equal("2026-11-26T02:59:00.000Z");
  });

  it("says where nobody could be asked", () => {
    const [one] = said(planOf({ input: { view } }), "tasks-unasked");
    expect(one).to.contain("no machine of the inventory is in the old swarm");
    const inventory = `version: 1
machines: { m1: { address: 192.0.2.11, role: manager } }
nodes: { a: m1, b: survives }
`;
    const quorum = planOf({ inventory, facts: living.slice(0, 1), input: { mode: "quorum", survivor, view } });
    expect(said(quorum, "tasks-unasked")).to.have.length(1);
    expect(said(quorum, "tasks-unasked")[0]).to.contain("nobody asked b which tasks");
    const asked = planOf({ facts: living, input: { view, newerTasks: new Map([["m1", []]]) } });
    expect(said(asked, "tasks-unasked")).to.deep.equal([]);
  });

  it("takes no task of the recovered swarm for one, once that was begun", () => {
    const newerTasks = new Map([["m2", [task()]]]);
    const plan = planOf({ facts: living, input: { mode: "quorum", survivor, view, newerTasks, begun: true } });
    expect(plan.newerTasks).to.deep.equal([]);
    expect(said(plan, "task-newer")).to.deep.equal([]);
    expect(said(plan, "state-reach")).to.have.length(1);
  });

  it("counts those beyond the first thirty, and has all in its JSON", () => {
    const many = Array.from({ length: 45 }, (_, index) => task({ taskId: `t${index}` }));
    const plan = planOf({ facts: living, input: { view, newerTasks: new Map([["m2", many]]) } });
    expect(said(plan, "task-newer")).to.have.length(31);
    expect(said(plan, "task-newer")[30]).to.equal("and 15 more tasks that are newer than the state");
    expect(planDocumentOf(plan).newerTasks).to.have.length(45);
  });
});
