// What a recovery is about to do: the run read with the identity, the machines looked at, the plan made of both.
import { SkepError } from "../../shared/errors.ts";
import type { RepositoryObject } from "../../shared/repository/repository-object.ts";
import { findRepository, unprovenFault } from "../../shared/repository/repository-reader.ts";
import type { Store } from "../../shared/store/store.ts";
import { copiedObjects } from "../objects/copied-objects.ts";
import { compareSetups } from "../recovery/engine-setup/ask-setups.ts";
import type { SetupDifferences } from "../recovery/engine-setup/engine-setup.ts";
import { askImages } from "../recovery/images/ask-images.ts";
import type { ImageAnswer } from "../recovery/images/planned-image.ts";
import { registryAccess as registryAccessOf } from "../recovery/images/registry-access.ts";
import { decodeInventory, type ReadInventory } from "../recovery/inventory.ts";
import { Journal, lastEvents, type JournalEvent } from "../recovery/journal.ts";
import { readMachineFacts, type MachineFacts } from "../recovery/machine-facts.ts";
import { askNewerTasks, type NewerTask } from "../recovery/newer-tasks.ts";
import { planRecovery } from "../recovery/plan.ts";
import { stepIds } from "../recovery/plan-steps.ts";
import type { FolderState } from "../recovery/planned-volumes.ts";
import { planSurvivor } from "../recovery/quorum/planned-survivor.ts";
import type { SurvivorChoice } from "../recovery/quorum/survivor.ts";
import type { RecoveryPlan } from "../recovery/recovery-plan.ts";
import { openRecoverySource, type RecoverySource } from "../recovery/recovery-source.ts";
import type { RecoveryTools } from "../recovery/recovery-tools.ts";
import { defaultDockerSocket, RemoteMachine } from "../recovery/remote-machine.ts";
import type { Rotation } from "../recovery/rotation/rotations.ts";
import { inventoryFolder, registryLogins, sshAccesses } from "../recovery/ssh-access.ts";
import { viewSwarm } from "../recovery/swarm-view.ts";
import { lookIntoFolders } from "../recovery/volume-folders.ts";
import type { IdentityOptions, StoreOptions } from "./access.ts";
import * as format from "./format.ts";
import { readInputFile } from "./input-file.ts";
import { chooseJournal, journalFolderOf, type JournalOptions } from "./recover-journal.ts";
import { openSurvivors, survivorFault, type SurvivorOptions } from "./recover-survivors.ts";
import { passingOver } from "./run-address.ts";
import { withRootKey } from "./root-key-access.ts";
import { askSecret } from "./secret-question.ts";
import type { Session } from "./session.ts";

export interface PlanOptions extends StoreOptions, IdentityOptions, JournalOptions, SurvivorOptions {
  inventory: string;
  runJobs?: boolean;
  remapSubnet?: Map<string, string>;
  allowMissingImages?: boolean;
  acceptForeign?: boolean;
  withoutVolume?: string[];
  applyNodeFacts?: boolean;
  rotate?: Rotation[];
}

export interface Planned extends Omit<RecoveryTools, "recoveryId" | "now" | "kit"> {
  inventory: ReadInventory;
  /** The same plan, with these at its end. */
  planRotating: (rotate: Rotation[]) => RecoveryPlan;
}

/** The machines stay connected, and the run open, while `use` runs. */
export async function withPlan<T>(
  session: Session,
  options: PlanOptions,
  use: (planned: Planned) => Promise<T>,
): Promise<T> {
  const { output, signal } = session;
  const inventory = decodeInventory(await readInputFile(options.inventory, "the inventory"), options.inventory);
  const accesses = await sshAccesses(inventory.inventory, {
    folder: inventoryFolder(options.inventory),
    askPassword: output.interactive ? (question) => askSecret(question, signal) : null,
  });
  return await withRootKey(session, options, async ({ store, operator, access, rootPrivateKey, identityFile }) => {
    const journal = await chooseJournal(
      options,
      { inventoryDigest: inventory.digest, repositoryId: operator.repositoryObject.repositoryId },
      Date.now(),
    );
    const fromRun = await openRecoverySource(store, operator, journal.runId, passingOver(session));
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
    const archives = [fromRun.archive];
    try {
      const facts = await gatherFacts(machines, signal).catch(async (fault: unknown) => {
        throw await survivorFault(fault, { machines, events, signal });
      });
      const { identity } = identityFile;
      const { source, survivors } =
        options.mode === "quorum"
          ? await openSurvivors(fromRun, options, {
              ...{ machines, facts, folder, events, identity, now: Date.now(), signal },
            })
          : { source: fromRun, survivors: null };
      if (survivors !== null) archives.push(survivors.chosen.archive);
      for (const { name } of source.undone) {
        output.warn(
          `service ${format.visible(name)} was held by Skep when the copy was taken; it comes back as before`,
        );
      }
      const registryAccess = registryAccessOf(
        await registryLogins(inventory.inventory, inventoryFolder(options.inventory)),
        copiedObjects(source.swarm.state).services,
      );
      const begunSteps = lastEvents(events);
      const isTakenOver = begunSteps.get(stepIds.takeOver) === "done";
      const unproven = isTakenOver ? null : await faultAbove(store, operator.repositoryObject, signal);
      const gathered = { source, survivors, inventory, facts, begunSteps, unproven };
      const first = planFrom(gathered, null, options);
      // Once its swarm was begun, what the copy has not is the recovery's own.
      const asksTasks = !gathered.begunSteps.has(stepIds.swarm);
      const [imageAnswers, setup, folders, newerTasks] = await Promise.all([
        askImages(first.images, machines, registryAccess, signal),
        compareSetups(first.machines, source.setups, machines, signal),
        lookIntoFolders(first.volumes, machines, signal),
        asksTasks ? askNewerTasks(first.machines, viewSwarm(source.swarm), machines, signal) : new Map(),
      ]);
      const answers = { imageAnswers, setup, folders, newerTasks };
      const plan = planFrom(gathered, answers, options);
      const planRotating = (rotate: Rotation[]): RecoveryPlan => planFrom(gathered, answers, { ...options, rotate });
      const allowMissingImages = options.allowMissingImages ?? false;
      const [runJobs, subnets] = [options.runJobs ?? false, options.remapSubnet ?? new Map<string, string>()];
      const { location, credentials } = access;
      const opened = { store, location, credentials, operator, rootPrivateKey };
      const acceptForeign = options.acceptForeign ?? false;
      const wishes = { runJobs, subnets, registryAccess, allowMissingImages, acceptForeign };
      return await use({ plan, planRotating, source, survivors, ...opened, ...wishes, machines, inventory, folder });
    } finally {
      for (const machine of machines.values()) await machine.close();
      for (const archive of archives) await archive.close();
    }
  });
}

/** What lies above the object that counts was told of when that was read. */
async function faultAbove(
  store: Store,
  { version: minVersion, rootPublicKey }: RepositoryObject,
  signal: AbortSignal,
): Promise<SkepError | null> {
  const onForeign = (): void => undefined;
  return unprovenFault(await findRepository(store, rootPublicKey, { minVersion, onForeign, signal }), store.address);
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
  unproven: SkepError | null;
}

function planFrom(
  { source, survivors, inventory, facts, begunSteps, unproven }: Gathered,
  /** Null before the machines were asked. */
  answers: {
    imageAnswers: ReadonlyMap<string, ImageAnswer>;
    setup: ReadonlyMap<string, SetupDifferences>;
    folders: ReadonlyMap<string, FolderState>;
    newerTasks: ReadonlyMap<string, NewerTask[]>;
  } | null,
  options: PlanOptions,
): RecoveryPlan {
  return planRecovery({
    run: source.run,
    copiedNodeId: source.swarm.state.member.nodeId,
    view: viewSwarm(source.swarm),
    survivor: survivors === null ? null : planSurvivor(survivors, options.newerEntries ?? null),
    ...{ volumes: source.volumes, nowhere: source.nowhere, withoutVolumes: options.withoutVolume ?? [] },
    images: source.images,
    ...(answers !== null && answers),
    applyNodeFacts: options.applyNodeFacts ?? false,
    rotate: options.rotate ?? [],
    allowMissingImages: options.allowMissingImages ?? false,
    inventory: inventory.inventory,
    facts,
    mode: options.mode,
    runJobs: options.runJobs ?? false,
    begun: begunSteps.has(stepIds.swarm),
    begunSteps,
    unproven,
    acceptForeign: options.acceptForeign ?? false,
    subnets: options.remapSubnet ?? new Map<string, string>(),
  });
}
