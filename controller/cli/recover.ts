// What `skep recover` does: reads the run with the identity, looks at the machines, plans, asks, carries out, reports.
import password from "@inquirer/password";
import { readFile, writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { SkepError } from "../../shared/errors.ts";
import { copiedObjects } from "../objects/copied-objects.ts";
import { compareSetups } from "../recovery/engine-setup/ask-setups.ts";
import type { SetupDifferences } from "../recovery/engine-setup/engine-setup.ts";
import { askImages } from "../recovery/images/ask-images.ts";
import type { ImageAnswer } from "../recovery/images/planned-image.ts";
import { registryAccess as registryAccessOf } from "../recovery/images/registry-access.ts";
import { draftInventory } from "../recovery/inventory-draft.ts";
import { decodeInventory, type ReadInventory } from "../recovery/inventory.ts";
import { Journal, lastEvents, type JournalEvent } from "../recovery/journal.ts";
import { readMachineFacts, type MachineFacts } from "../recovery/machine-facts.ts";
import { planRecovery } from "../recovery/plan.ts";
import { stepIds } from "../recovery/plan-steps.ts";
import { planSurvivor } from "../recovery/quorum/planned-survivor.ts";
import type { SurvivorChoice } from "../recovery/quorum/survivor.ts";
import type { RecoveryPlan } from "../recovery/recovery-plan.ts";
import { recoverySteps } from "../recovery/recovery-steps.ts";
import { openRecoverySource, type RecoverySource } from "../recovery/recovery-source.ts";
import { newRecoveryId, type RecoveryTools } from "../recovery/recovery-tools.ts";
import { defaultDockerSocket, RemoteMachine } from "../recovery/remote-machine.ts";
import { renderReport, reportRecovery } from "../recovery/report.ts";
import { kitForRecovery, madeOnce } from "../recovery/recovery-kit.ts";
import { kitArchitecture } from "../recovery/runtime-kit.ts";
import { inventoryFolder, registryLogins, sshAccesses } from "../recovery/ssh-access.ts";
import { runSteps, type PlannedStep, type StepState } from "../recovery/steps.ts";
import { viewSwarm } from "../recovery/swarm-view.ts";
import type { IdentityOptions, StoreOptions } from "./access.ts";
import { makeBoard, type BoardLine } from "./board.ts";
import { withOperator } from "./catalogue-access.ts";
import { agree } from "./confirm.ts";
import type { RecoverInventoryDocument, RecoveryRunDocument } from "./documents.ts";
import { exitCodes, type ExitCode } from "./exit-code.ts";
import * as format from "./format.ts";
import { readInputFile } from "./input-file.ts";
import { chooseJournal, journalFolderOf, type JournalOptions } from "./recover-journal.ts";
import { openSurvivors, survivorFault, type SurvivorOptions } from "./recover-survivors.ts";
import { planDocumentOf, renderRecoveryPlan } from "./recovery-plan-text.ts";
import { withRootKey } from "./root-key-access.ts";
import type { Session } from "./session.ts";

export interface PlanOptions extends StoreOptions, IdentityOptions, JournalOptions, SurvivorOptions {
  inventory: string;
  runJobs?: boolean;
  remapSubnet?: Map<string, string>;
  allowMissingImages?: boolean;
  applyNodeFacts?: boolean;
}

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
    const { run } = await openRecoverySource(store, operator, options.run, reading(session));
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

interface Planned extends Omit<RecoveryTools, "recoveryId" | "now" | "kit"> {
  inventory: ReadInventory;
}

async function withPlan<T>(session: Session, options: PlanOptions, use: (planned: Planned) => Promise<T>): Promise<T> {
  const { output, signal } = session;
  const inventory = decodeInventory(await readInputFile(options.inventory, "the inventory"), options.inventory);
  const accesses = await sshAccesses(inventory.inventory, {
    folder: inventoryFolder(options.inventory),
    askPassword: output.interactive
      ? (question) => password({ message: question }, { signal, output: process.stderr })
      : null,
  });
  return await withRootKey(session, options, async ({ store, operator, access, rootPrivateKey, identityFile }) => {
    const journal = await chooseJournal(
      options,
      { inventoryDigest: inventory.digest, repositoryId: operator.repositoryObject.repositoryId },
      Date.now(),
    );
    const fromRun = await openRecoverySource(store, operator, journal.runId, reading(session));
    const folder = journalFolderOf(journal, fromRun.run.id);
    const events = Journal.eventsIn(folder);
    if (journal.found !== null) {
      const { recoveryId, startedAt, runId } = journal.found;
      const done = new Set(events.filter(({ event }) => event === "done").map(({ step }) => step)).size;
      output.warn(
        `this goes on with recovery ${recoveryId} of run ${runId}, begun at ${startedAt}, ${format.plural(done, "step")} done: its journal is ${folder}`,
      );
    }
    for (const { id, status } of fromRun.passedOver) {
      output.warn(`run ${id} is newer, but ${status}: it has no proven Raft state`);
    }
    const machines = new Map(
      [...accesses].map(([name, ssh]) => {
        const socket = inventory.inventory.machines[name]?.dockerSocket ?? defaultDockerSocket;
        return [name, new RemoteMachine(ssh, socket)] as const;
      }),
    );
    try {
      const facts = await gatherFacts(machines, signal).catch(async (fault: unknown) => {
        throw await survivorFault(fault, { machines, events, signal });
      });
      const { identity } = identityFile;
      const { source, survivors } =
        options.mode === "quorum"
          ? await openSurvivors(fromRun, options, { machines, facts, folder, events, identity, signal })
          : { source: fromRun, survivors: null };
      const registryAccess = registryAccessOf(
        await registryLogins(inventory.inventory, inventoryFolder(options.inventory)),
        copiedObjects(source.swarm.state).services,
      );
      const gathered = { source, survivors, inventory, facts, begunSteps: lastEvents(events) };
      const first = planFrom(gathered, null, options);
      const [imageAnswers, setup] = await Promise.all([
        askImages(first.images, machines, registryAccess, signal),
        compareSetups(first.machines, source.setups, machines, signal),
      ]);
      const plan = planFrom(gathered, { imageAnswers, setup }, options);
      const allowMissingImages = options.allowMissingImages ?? false;
      const [runJobs, subnets] = [options.runJobs ?? false, options.remapSubnet ?? new Map<string, string>()];
      const { location, credentials } = access;
      const opened = { store, location, credentials, operator, rootPrivateKey };
      const wishes = { runJobs, subnets, registryAccess, allowMissingImages };
      return await use({ plan, source, survivors, ...opened, ...wishes, machines, inventory, folder });
    } finally {
      for (const machine of machines.values()) await machine.close();
    }
  });
}

/** All at once; every machine's fault is told, not just the first. */
async function gatherFacts(
  machines: ReadonlyMap<string, RemoteMachine>,
  signal: AbortSignal,
): Promise<Map<string, MachineFacts>> {
  const asked = await Promise.allSettled(
    [...machines.values()].map((machine) => readMachineFacts(machine, Date.now, signal)),
  );
  const faults = asked.flatMap((one) => (one.status === "rejected" ? [one.reason as unknown] : []));
  const [first] = faults;
  if (faults.length === 1) throw first;
  if (first instanceof SkepError) {
    const messages = faults.map((fault) => (fault instanceof Error ? fault.message : String(fault)));
    const { code, permanent, hint } = first;
    throw new SkepError({ code, permanent, message: messages.join("\n"), ...(hint !== undefined && { hint }) });
  }
  if (faults.length > 0) throw first;
  return new Map(asked.flatMap((one) => (one.status === "fulfilled" ? [[one.value.name, one.value] as const] : [])));
}

interface Gathered {
  source: RecoverySource;
  survivors: SurvivorChoice | null;
  inventory: ReadInventory;
  facts: ReadonlyMap<string, MachineFacts>;
  /** Of this recovery's journal: the last event of each step. */
  begunSteps: ReadonlyMap<string, JournalEvent["event"]>;
}

function planFrom(
  { source, survivors, inventory, facts, begunSteps }: Gathered,
  /** Null before the machines were asked. */
  answers: {
    imageAnswers: ReadonlyMap<string, ImageAnswer>;
    setup: ReadonlyMap<string, SetupDifferences>;
  } | null,
  options: PlanOptions,
): RecoveryPlan {
  return planRecovery({
    run: source.run,
    copiedNodeId: source.swarm.state.member.nodeId,
    view: viewSwarm(source.swarm),
    survivor: survivors === null ? null : planSurvivor(survivors, options.newerEntries ?? null),
    volumes: source.volumes,
    images: source.images,
    ...(answers !== null && answers),
    applyNodeFacts: options.applyNodeFacts ?? false,
    allowMissingImages: options.allowMissingImages ?? false,
    inventory: inventory.inventory,
    facts,
    mode: options.mode,
    runJobs: options.runJobs ?? false,
    begun: begunSteps.has(stepIds.swarm),
    begunSteps,
    subnets: options.remapSubnet ?? new Map<string, string>(),
  });
}

export async function runCommand(session: Session, options: RunOptions): Promise<ExitCode> {
  const { output } = session;
  return await withPlan(session, options, async (planned) => {
    const { plan, inventory, operator, folder } = planned;
    output.say(renderRecoveryPlan(output.styleWords, plan, Date.now()));
    if (options.dryRun === true) {
      output.document(planDocumentOf(plan));
      return hasErrors(plan) ? exitCodes.failed : exitCodes.done;
    }
    refuseErrors(plan);
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
  const tools: RecoveryTools = {
    ...planned,
    recoveryId: journal.head.recoveryId,
    now: Date.now,
    kit: madeOnce((architecture) => kitForRecovery(planned, folder, architecture, reading(session))),
  };
  const lines = new Map<string, BoardLine>();
  startPacking(tools, journal);
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
    throw error;
  } finally {
    board.close();
  }
}

/** It takes seconds, and nothing of the fence: the step that brings the kit waits for it, and tells its failure. */
function startPacking(tools: RecoveryTools, journal: Journal): void {
  const served = new Set(tools.plan.steps.map(({ id }) => id));
  for (const { name, facts } of tools.plan.machines) {
    if (!served.has(stepIds.kit(name))) continue;
    const architecture = kitArchitecture(facts.architecture);
    if (architecture === null || journal.resultOf(stepIds.kit(name)) !== null) continue;
    tools.kit(architecture).catch(() => undefined);
  }
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

function machineNames({ machines }: RecoveryPlan): string {
  return machines.map(({ name }) => name).join(", ");
}

function reading({ output, signal }: Session): {
  signal: AbortSignal;
  onFault: (fault: SkepError, key: string) => void;
} {
  return {
    signal,
    onFault: (fault, key) => {
      output.warn(`${key} is passed over: ${format.visible(fault.message)}`);
    },
  };
}
