// A dump back into its server: once the service's container runs on one of the machines, agent/once.ts there hands the dump to
// the command that takes it (agent/restore-load.ts). Nothing takes that back, so it is never begun twice: a note beside the
// journal is written before, and a recovery that goes on leaves a load that may have been begun to its operator. One whose
// machine was lost sight of is ended there, before anything else is done with that data. A load that failed stops nobody; the
// report has the command that does it by hand.
import { open, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { z } from "zod";
import type { ContainerCommand, TaskOf } from "../../shared/contract/job.ts";
import { SkepError, toErrorRecord } from "../../shared/errors.ts";
import { collectRestoreKeys } from "../../shared/repository/open/file-keys.ts";
import { describeProgress } from "../cli/board.ts";
import type { StepResult } from "./journal.ts";
import { onceInput } from "./once-input.ts";
import { stepIds } from "./plan-steps.ts";
import type { PlannedDump } from "./planned-dumps.ts";
import { derivedId, kitOn, machineOf, type RecoveryTools } from "./recovery-tools.ts";
import type { StepActions, StepContext } from "./steps.ts";

/** A server without a health check makes its data directory and opens its port meanwhile. */
const settleMs = 20_000;
const pollMs = 1_000;
/** Where the part's record does not say, as `skep restore volume` gives it. */
const loadSeconds = 4 * 3600;

const resultSchema = z.looseObject({
  loaded: z.boolean(),
  mayBeLoaded: z.boolean(),
  detail: z.string(),
  machine: z.string(),
});

export interface LoadOutcome {
  loaded: boolean;
  /** It was begun, and nobody saw its good end: whole, in part or not at all. */
  mayBeLoaded: boolean;
  /** Into which container, or why not. */
  detail: string;
  /** Where it was loaded, null where it was not begun. */
  machine: string | null;
}

const containersSchema = z.array(
  z.looseObject({
    Id: z.string(),
    Names: z.array(z.string()),
    Labels: z.record(z.string(), z.string()).nullish(),
    Mounts: z.array(z.looseObject({ Type: z.string(), Name: z.string().optional() })).nullish(),
  }),
);
const containerSchema = z.looseObject({
  State: z.looseObject({ Running: z.boolean(), Health: z.looseObject({ Status: z.string() }).nullish() }),
});

interface Server {
  machine: string;
  /** Name of the container. */
  container: string;
}

/** What the step left; of one that was not done, that. */
export function loadOutcome(result: StepResult | null): LoadOutcome {
  const parsed = resultSchema.safeParse(result);
  if (parsed.success) return parsed.data;
  return { loaded: false, mayBeLoaded: false, detail: "its step was not done", machine: null };
}

/** `healthMs`: for how long its container is waited for. */
export function loadActions(tools: RecoveryTools, dump: PlannedDump, healthMs: number): StepActions {
  return { act: (context) => load(tools, dump, healthMs, context) };
}

async function load(
  tools: RecoveryTools,
  dump: PlannedDump,
  healthMs: number,
  context: StepContext,
): Promise<StepResult> {
  const { source, machine, service } = dump;
  const { signal } = context;
  const loadId = derivedId(tools.recoveryId, `load ${machine} ${source.id}`);
  const note = join(tools.folder, `load-${loadId}.begun`);
  const end = (outcome: "loaded" | "not loaded" | "may be loaded", detail: string, at = machine): StepResult => ({
    ...{ volume: source.id, runId: source.run.id, takenAt: source.part.startedAt },
    ...{ machine: at, loaded: outcome === "loaded", mayBeLoaded: outcome === "may be loaded", detail },
  });
  const begunOn = await readNote(note);
  if (begunOn !== null) {
    if (tools.machines.has(begunOn)) await endJob(tools, begunOn, loadId, healthMs, context);
    return end("may be loaded", "it was begun before the recovery was cut off", begunOn === "" ? machine : begunOn);
  }
  const deadline = tools.now() + healthMs;
  for (;;) {
    const server = await awaitServer(tools, dump, deadline, context);
    if (server === null)
      return end(
        "not loaded",
        `no container of ${service} was ready ${dump.elsewhere ? "" : `on ${machine} `}within ${healthMs / 1000} s`,
      );
    context.onProgress("collecting its keys", null);
    const identityKeys = await collectRestoreKeys(tools.store, tools.operator, source.part, signal);
    await makeNote(note, server.machine);
    try {
      const loadedBytes = await handOver(tools, { dump, server, loadId, identityKeys }, context);
      return { ...end("loaded", server.container, server.machine), loadedBytes };
    } catch (error) {
      signal.throwIfAborted();
      const { code, message, permanent } = toErrorRecord(error);
      if (!wasNotBegun(code)) {
        // The job may not have noticed, and go on.
        if (code.startsWith("SKEP_SSH_")) await endJob(tools, server.machine, loadId, healthMs, context);
        return end("may be loaded", message, server.machine);
      }
      await rm(note, { force: true });
      if (code === "SKEP_COMMAND_NO_CONTAINER" && tools.now() < deadline) continue;
      if (!permanent) throw error;
      return end("not loaded", message, server.machine);
    }
  }
}

async function handOver(
  tools: RecoveryTools,
  wanted: {
    dump: PlannedDump;
    server: Server;
    loadId: string;
    identityKeys: Awaited<ReturnType<typeof collectRestoreKeys>>;
  },
  context: StepContext,
): Promise<number> {
  const { dump, server, loadId, identityKeys } = wanted;
  const { part, sizeBytes } = dump.source;
  const { load } = part;
  if (load === undefined) throw new TypeError(`nobody said how ${dump.source.id} is loaded`);
  const { argv, user, timeoutSeconds = loadSeconds } = load;
  const command: ContainerCommand = {
    volume: part.volume.name,
    argv,
    user,
    timeoutSeconds,
    container: server.container,
  };
  const task: TaskOf<"restore-load"> = {
    ...{ kind: "restore-load", restoreId: loadId, command, sourceBytes: sizeBytes },
    ...{ manifest: part.manifest, refs: part.refs, writerId: part.nodeId, sealedKeys: "" },
  };
  const { machine } = server;
  const input = onceInput(tools, { machine, name: loadId, task, writerId: part.nodeId, identityKeys });
  const { loadedBytes } = await kitOn(tools, machine).once("restore-load", loadId, input, {
    signal: context.signal,
    onProgress: (progress) => {
      const { detail, share } = describeProgress(progress);
      context.onProgress(`${server.container}: ${detail}`, share);
    },
  });
  return loadedBytes;
}

/** As loadDump says: the command saw nothing yet. */
function wasNotBegun(code: string): boolean {
  return code === "SKEP_COMMAND_NO_CONTAINER" || code === "SKEP_MANIFEST_INVALID" || code.startsWith("SKEP_STORE_");
}

/** Until the machine can be asked again. Throws as MachineKit.end does, what connectSsh throws once the time is over. */
async function endJob(
  tools: RecoveryTools,
  machine: string,
  loadId: string,
  withinMs: number,
  { signal, onProgress }: StepContext,
): Promise<void> {
  const deadline = tools.now() + withinMs;
  onProgress(`ending what goes on of it on ${machine}`, null);
  for (;;) {
    try {
      await kitOn(tools, machine).end(loadId, signal);
      return;
    } catch (error) {
      signal.throwIfAborted();
      if (toErrorRecord(error).permanent || tools.now() > deadline) throw error;
      await sleep(pollMs, undefined, { signal });
    }
  }
}

/** The machine on which it was begun, "" where it was cut off before that; null where there is none. */
async function readNote(path: string): Promise<string | null> {
  try {
    return (await readFile(path, "utf8")).trim();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return null;
    throw error;
  }
}

/** It is on the disk before anything is begun. */
async function makeNote(path: string, machine: string): Promise<void> {
  const file = await open(path, "wx", 0o600);
  try {
    await file.writeFile(`${machine}\n`);
    await file.sync();
  } finally {
    await file.close();
  }
}

/** Null where none is ready in time: healthy, or, without a health check, up for a while. */
async function awaitServer(
  tools: RecoveryTools,
  dump: PlannedDump,
  deadline: number,
  { signal, onProgress }: StepContext,
): Promise<Server | null> {
  const served = new Set(tools.plan.steps.map(({ id }) => id));
  const others = tools.plan.machines.map(({ name }) => name).filter((name) => name !== dump.machine);
  // Only where the kit is; first where its volume is.
  const machines = [dump.machine, ...(dump.elsewhere ? others : [])].filter((name) => served.has(stepIds.kit(name)));
  const firstSeen = new Map<string, number>();
  for (;;) {
    for (const machine of machines) {
      const found = await containerOf(tools, machine, dump, signal);
      if (found === null) continue;
      const { State } = await tryInspect(tools, machine, found.id, signal);
      if (!State.Running) continue;
      const since = firstSeen.get(found.id) ?? tools.now();
      firstSeen.set(found.id, since);
      const health = State.Health?.Status ?? "none";
      const isReady = health === "none" ? tools.now() - since >= settleMs : health === "healthy";
      if (isReady) return { machine, container: found.name };
    }
    if (tools.now() > deadline) return null;
    onProgress(`waiting until ${dump.service} is ready`, null);
    await sleep(pollMs, undefined, { signal });
  }
}

async function tryInspect(
  tools: RecoveryTools,
  machine: string,
  id: string,
  signal: AbortSignal,
): Promise<z.infer<typeof containerSchema>> {
  try {
    return await machineOf(tools, machine).engine(containerSchema, { path: `/containers/${id}/json` }, signal);
  } catch (error) {
    if (!(error instanceof SkepError) || error.code !== "SKEP_DOCKER_NOT_FOUND") throw error;
    return { State: { Running: false } };
  }
}

/** The container of the service that runs there; of several the one that uses the volume. */
async function containerOf(
  tools: RecoveryTools,
  machine: string,
  { source, service }: PlannedDump,
  signal: AbortSignal,
): Promise<{ id: string; name: string } | null> {
  const filters = { status: ["running"], label: [`com.docker.swarm.service.name=${service}`] };
  const query = { filters: JSON.stringify(filters) };
  const running = await machineOf(tools, machine).engine(containersSchema, { path: "/containers/json", query }, signal);
  const uses = ({ Mounts }: (typeof running)[number]): boolean =>
    Mounts?.some(({ Type, Name }) => Type === "volume" && Name === source.part.volume.name) === true;
  const [found] = running.sort((a, b) => Number(uses(b)) - Number(uses(a)));
  return found === undefined ? null : { id: found.Id, name: (found.Names[0] ?? found.Id).replace(/^\//, "") };
}
