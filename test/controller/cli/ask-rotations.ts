// What recover-rotations.test.ts runs on a terminal: the question, and which steps the plan has then.
import { askRotations } from "../../../controller/cli/recover-rotations.ts";
import { makeOutput } from "../../../controller/cli/output.ts";
import type { PlanInput, RecoveryPlan } from "../../../controller/recovery/recovery-plan.ts";
import { oldNode, planOf } from "../recovery/plan-input.ts";

const [options = "{}", more = "{}"] = process.argv.slice(2);
const { json = false, ...given } = JSON.parse(options) as { json?: boolean } & Parameters<typeof askRotations>[1];
const view = {
  ...{ clusterId: "cluster", nodes: [oldNode("a"), oldNode("b", "worker")], services: [], networks: [] },
  ...{ dataPathPort: 4789, locked: true },
};
const input = { view, ...(JSON.parse(more) as Partial<PlanInput>) };
const planRotating = (rotate: NonNullable<typeof given.rotate>): RecoveryPlan =>
  planOf({ input: { ...input, rotate } });
const plan = planRotating(given.rotate ?? []);
const session = { output: makeOutput(json), signal: new AbortController().signal };
const { rotations } = await askRotations(session, given, { plan, planRotating });
process.stdout.write(`rotates ${rotations.join(" ") || "nothing"}\n`);
