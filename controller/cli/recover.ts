// What `skep recover` does: plans, asks, carries out, reports.
import { readFile, writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { SkepError } from "../../shared/errors.ts";
import { draftInventory } from "../recovery/inventory-draft.ts";
import { Journal } from "../recovery/journal.ts";
import { stepIds } from "../recovery/plan-steps.ts";
import { unlockKeyPath } from "../recovery/rotation/rotate-steps.ts";
import { rotationStepId } from "../recovery/rotation/rotations.ts";
import type { RecoveryPlan } from "../recovery/recovery-plan.ts";
import { recoverySteps } from "../recovery/recovery-steps.ts";
import { openRecoverySource } from "../recovery/recovery-source.ts";
import { newRecoveryId, type RecoveryTools } from "../recovery/recovery-tools.ts";
import { reportRecovery } from "../recovery/report.ts";
import { renderReport } from "../recovery/report-text.ts";
import { kitForRecovery, madeOnce } from "../recovery/recovery-kit.ts";
import { kitArchitecture, type RuntimeKit } from "../recovery/runtime-kit.ts";
import { runSteps, type PlannedStep, type StepState } from "../recovery/steps.ts";
import type { IdentityOptions, StoreOptions } from "./access.ts";
import { makeBoard, type BoardLine } from "./board.ts";
import { withOperator } from "./catalogue-access.ts";
import { agree } from "./confirm.ts";
import type { RecoverInventoryDocument, RecoveryRunDocument } from "./documents.ts";
import { exitCodes, type ExitCode } from "./exit-code.ts";
import * as format from "./format.ts";
import { planDocumentOf, renderRecoveryPlan } from "./recovery-plan-text.ts";
import { withPlan, type Planned, type PlanOptions } from "./planned-recovery.ts";
import { askRotations } from "./recover-rotations.ts";
import { passingOver } from "./run-address.ts";
import type { Session } from "./session.ts";

export interface RunOptions extends PlanOptions {
  dryRun?: boolean;
  until?: string;
  only?: string;
  fenceCommand?: string;
  healthSeconds: string;
  yes?: boolean;
}

/** How many steps go at once; each machine has one at a time anyway. */
const stepsAtOnce = 16;
/** A node cut off, a store away: so long a step is tried again. */
const patienceMs = 180_000;

export async function writeInventory(
  session: Session,
  options: StoreOptions & IdentityOptions & { run: string; out: string },
): Promise<ExitCode> {
  const { output } = session;
  return await withOperator(session, options, async ({ store, operator }) => {
    const { run, archive } = await openRecoverySource(store, operator, options.run, passingOver(session));
    await archive.close();
    const path = resolve(options.out);
    try {
      await writeFile(path, draftInventory(run), { flag: "wx", mode: 0o600 });
    } catch (error) {
      throw new SkepError({
        code: "SKEP_CLI_FILE_UNWRITABLE",
        message: `the inventory ${path} can't be written: ${error instanceof Error ? error.message : String(error)}`,
        permanent: true,
        hint: "nothing is overwritten: name another file with --out",
        cause: error,
      });
    }
    const document: RecoverInventoryDocument = { runId: run.id, inventory: path, nodes: run.nodes.length };
    output.document(document);
    output.print(
      `${path}: ${format.plural(run.nodes.length, "node")} of run ${run.id}. Fill in the machines' addresses, then:`,
    );
    output.print(`  skep recover plan --inventory ${options.out} --run ${run.id}`);
    return exitCodes.done;
  });
}

export async function planCommand(session: Session, options: PlanOptions): Promise<ExitCode> {
  return await withPlan(session, options, ({ plan }) => {
    const { output } = session;
    output.document(planDocumentOf(plan));
    output.print(renderRecoveryPlan(output.style, plan, Date.now()));
    return Promise.resolve(hasErrors(plan) ? exitCodes.failed : exitCodes.done);
  });
}

export async function runCommand(session: Session, options: RunOptions): Promise<ExitCode> {
  const { output } = session;
  return await withPlan(session, options, async (found) => {
    const { inventory, operator, folder } = found;
    output.say(renderRecoveryPlan(output.styleWords, found.plan, Date.now()));
    if (options.dryRun === true) {
      output.document(planDocumentOf(found.plan));
      return hasErrors(found.plan) ? exitCodes.failed : exitCodes.done;
    }
    refuseErrors(found.plan);
    const older = olderQuestion(found.plan);
    if (older !== null && !(await agree(session, options.yes ?? false, older))) {
      output.say("nothing was changed");
      return exitCodes.done;
    }
    const plan = await askRotations(session, options, found);
    const planned = { ...found, plan };
    if (!(await agree(session, options.yes ?? false, `Rebuild the swarm on ${machineNames(plan)}?`))) {
      output.say("nothing was changed");
      return exitCodes.done;
    }
    const journal = await Journal.open(folder, {
      format: 1,
      recoveryId: newRecoveryId(),
      mode: plan.mode,
      repositoryId: operator.repositoryObject.repositoryId,
      runId: plan.runId,
      inventoryDigest: inventory.digest,
      startedAt: new Date().toISOString(),
    });
    try {
      await carryOut(session, options, planned, journal);
      return await report(session, planned, journal);
    } finally {
      journal.close();
    }
  });
}

async function carryOut(session: Session, options: RunOptions, planned: Planned, journal: Journal): Promise<void> {
  const { folder } = planned;
  const packing = new AbortController();
  const signal = AbortSignal.any([session.signal, packing.signal]);
  const tools: RecoveryTools = {
    ...planned,
    recoveryId: journal.head.recoveryId,
    now: Date.now,
    kit: madeOnce((architecture) => kitForRecovery(planned, folder, architecture, { ...passingOver(session), signal })),
  };
  const lines = new Map<string, BoardLine>();
  const kits = startPacking(tools, journal);
  const board = makeBoard(session.output);
  const title = `Recovery ${journal.head.recoveryId} from run ${planned.plan.runId}`;
  for (const step of planned.plan.steps) lines.set(step.id, lineOf(step, "waiting", "", null));
  try {
    await runSteps(
      recoverySteps(tools, {
        fenceCommand: options.fenceCommand ?? null,
        healthMs: Number(options.healthSeconds) * 1000,
      }),
      journal,
      {
        signal: session.signal,
        parallel: stepsAtOnce,
        patienceMs,
        now: Date.now,
        ...(options.until !== undefined && { until: options.until }),
        ...(options.only !== undefined && { only: options.only }),
        onState: (step, state, detail, share) => {
          lines.set(step.id, lineOf(step, state, detail, share));
          board.update(title, [...lines.values()]);
        },
      },
    );
  } catch (error) {
    session.output.say(`\nNothing is lost: the same command goes on from here. The journal is in ${folder}.`);
    const rotating = rotationStepId("unlock-key");
    if (journal.events.some(({ step }) => step === rotating)) {
      session.output.warn(
        `the unlock key may be another already: it is in ${unlockKeyPath(tools)}, or will be once this goes on`,
      );
    }
    throw error;
  } finally {
    board.close();
    packing.abort();
    await Promise.allSettled(kits);
  }
}

/** It takes seconds, and nothing of the fence: the step that brings the kit waits for it, and tells its failure. */
function startPacking(tools: RecoveryTools, journal: Journal): Promise<RuntimeKit>[] {
  const kits: Promise<RuntimeKit>[] = [];
  const served = new Set(tools.plan.steps.map(({ id }) => id));
  for (const { name, facts } of tools.plan.machines) {
    if (!served.has(stepIds.kit(name))) continue;
    const architecture = kitArchitecture(facts.architecture);
    if (architecture === null || journal.resultOf(stepIds.kit(name)) !== null) continue;
    const kit = tools.kit(architecture);
    kit.catch(() => undefined);
    kits.push(kit);
  }
  return kits;
}

const boardStates = {
  waiting: "waiting",
  running: "running",
  done: "done",
  failed: "failed",
  "left out": "waiting",
} as const satisfies Record<StepState, BoardLine["state"]>;

function lineOf({ id, title }: PlannedStep, state: StepState, detail: string, share: number | null): BoardLine {
  return { id, label: title, state: boardStates[state], detail: state === "left out" ? "left out" : detail, share };
}

async function report(session: Session, { plan, folder }: Planned, journal: Journal): Promise<ExitCode> {
  const { output } = session;
  const ended = plan.steps.every(({ id }) => journal.resultOf(id) !== null);
  const left = plan.steps.filter(({ id }) => journal.resultOf(id) === null).map(({ id }) => id);
  const made = ended ? reportRecovery(plan, journal) : null;
  if (made !== null) {
    await writeFile(join(folder, "report.json"), `${JSON.stringify(made, null, 2)}\n`, { mode: 0o600 });
    await writeFile(join(folder, "report.md"), renderReport(made), { mode: 0o600 });
  }
  const document: RecoveryRunDocument = { folder, left, report: made };
  output.document(document);
  if (made === null) {
    output.print(`${format.plural(left.length, "step")} left, from ${left[0] ?? ""} on. The same command goes on.`);
    return exitCodes.done;
  }
  output.print(await readFile(join(folder, "report.md"), "utf8"));
  output.say(`The report is in ${folder}.`);
  return made.outcome === "complete" ? exitCodes.done : exitCodes.partial;
}

function hasErrors({ findings }: RecoveryPlan): boolean {
  return findings.some(({ severity }) => severity === "error");
}

function refuseErrors(plan: RecoveryPlan): void {
  const errors = plan.findings.filter(({ severity }) => severity === "error");
  if (errors.length === 0) return;
  throw new SkepError({
    code: "SKEP_RECOVERY_REFUSED",
    message: `the plan can't be carried out: ${errors.map(({ text }) => text).join("; ")}`,
    permanent: true,
    hint: "nothing was touched; correct these, and look at `skep recover plan` again",
  });
}

/** Null where no volume is older than the run. */
function olderQuestion({ volumes, dumps, runId }: RecoveryPlan): string | null {
  const older = [...volumes, ...dumps].filter(({ source }) => source.run.id !== runId);
  if (older.length === 0) return null;
  const names = [...new Set(older.map(({ source }) => `${source.id} of ${source.run.startedAt}`))];
  return `Older than the run: ${format.visible(names.join(", "))}. Take them?`;
}

function machineNames({ machines }: RecoveryPlan): string {
  return machines.map(({ name }) => name).join(", ");
}
