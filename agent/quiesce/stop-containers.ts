// Stopping containers that belong to no service, and starting them again. What is to be stopped is in the agent's
// journal before the engine is told; whoever comes next starts it by that (stopped-container.ts says which).
import { setTimeout as sleep } from "node:timers/promises";
import { SkepError } from "../../shared/errors.ts";
import type { Docker } from "../docker.ts";
import { findOwnContainer } from "../own-container.ts";
import { findPlace } from "../volume-place.ts";
import { planStops, type RunningContainer } from "./stop-plan.ts";
import { stopGraceMs, stopsEndBy, verdictOnStopped, type StoppedContainer } from "./stopped-container.ts";

const pollMs = 250;

/** Those that are to be stopped for these volumes, none of them told yet. `isStopped`: by another quiet, and to be kept down by this one too. Throws SKEP_STOP_REFUSED where one can't be stopped. */
export async function findStops(
  volumes: readonly string[],
  docker: Docker,
  isStopped: (id: string) => boolean,
  signal: AbortSignal,
): Promise<StoppedContainer[]> {
  if (volumes.length === 0) return [];
  const running: RunningContainer[] = [];
  for (const each of await docker.containers({}, signal)) {
    if (!["running", "restarting"].includes(each.State) && !isStopped(each.Id)) continue;
    const inspected = await docker.container(each.Id, signal);
    if (inspected !== null) running.push({ listed: each, inspected });
  }
  const own = await findOwnContainer(docker, signal);
  const { stops, refusal } = planStops(running, await findPlace(volumes, docker, signal), own?.id ?? null);
  if (refusal === null) return stops;
  throw new SkepError({
    code: "SKEP_STOP_REFUSED",
    message: `container ${refusal.container} is not stopped: ${refusal.message}`,
    permanent: true,
    hint: refusal.hint,
  });
}

/** Stops one layer after the other; `write` is called with all of them before the engine is told of some. Throws SKEP_STOP_TIMEOUT, and the signal's reason. */
export async function stopAll(
  stops: readonly StoppedContainer[],
  docker: Docker,
  write: (stops: StoppedContainer[]) => void,
  signal: AbortSignal,
): Promise<void> {
  let known = [...stops];
  for (const layer of layersOf(stops)) {
    const sentAt = new Date().toISOString();
    known = known.map((each) => (each.layer === layer ? { ...each, sentAt } : each));
    write(known);
    const told = known.filter((each) => each.layer === layer);
    await Promise.all(told.map((each) => stopOne(each, docker, signal)));
  }
}

function layersOf(stops: readonly StoppedContainer[]): number[] {
  return [...new Set(stops.map(({ layer }) => layer))].sort((a, b) => a - b);
}

async function stopOne(
  { id, name, stopSeconds }: StoppedContainer,
  docker: Docker,
  signal: AbortSignal,
): Promise<void> {
  const waitMs = stopSeconds * 1000 + stopGraceMs;
  const until = Date.now() + waitMs;
  await docker.stopContainer(id, waitMs, signal);
  for (;;) {
    const found = await docker.container(id, signal);
    if (found?.State.Running !== true) return;
    if (Date.now() >= until) {
      throw new SkepError({
        code: "SKEP_STOP_TIMEOUT",
        message: `container ${name} did not stop within ${Math.round(waitMs / 1000)} s`,
        permanent: true,
        hint: `what is in it? \`docker stop ${name}\`; or pause it instead: skep.quiesce=pause`,
      });
    }
    await sleep(pollMs, undefined, { signal }).catch(() => {
      signal.throwIfAborted();
    });
  }
}

export interface StartedAgain {
  /** The same, with `quietMs` on those that are over and done with. */
  stops: StoppedContainer[];
  /** Names of those that this call started. */
  started: string[];
  /** Some are still being stopped: to be looked at again in a moment. */
  isWaiting: boolean;
  /** SKEP_START_FAILED, and what the engine throws where it doesn't answer. */
  faults: SkepError[];
}

/** Starts what is to be started, those that were stopped last first. `leave`: true where another quiet needs it down, which from then on is the one to start it. */
export async function startAgain(
  stops: readonly StoppedContainer[],
  docker: Docker,
  leave: (id: string) => boolean,
): Promise<StartedAgain> {
  const done: StartedAgain = { stops: [...stops], started: [], isWaiting: false, faults: [] };
  for (const layer of layersOf(stops).reverse()) {
    const settle = async (stopped: StoppedContainer): Promise<StoppedContainer> => {
      try {
        return await startOne(stopped, docker, leave, done);
      } catch (error) {
        if (!(error instanceof SkepError)) throw error;
        done.faults.push(error);
        return stopped;
      }
    };
    done.stops = await Promise.all(done.stops.map(async (each) => (each.layer === layer ? await settle(each) : each)));
    // They would begin on what is about to go down under them. Not for ever: the stop may never have reached the engine.
    if (done.isWaiting && Date.now() < stopsEndBy({ stops: done.stops.filter((each) => each.layer === layer) })) break;
  }
  return done;
}

async function startOne(
  stopped: StoppedContainer,
  docker: Docker,
  leave: (id: string) => boolean,
  done: StartedAgain,
): Promise<StoppedContainer> {
  const { id, name, sentAt, quietMs } = stopped;
  if (quietMs !== undefined) return stopped;
  const found = await docker.container(id);
  const now = Date.now();
  const verdict = verdictOnStopped(stopped, found, now);
  if (verdict === "wait") {
    done.isWaiting = true;
    return stopped;
  }
  if (verdict === "start" && !leave(id)) {
    await docker.startContainer(id).catch((error: unknown) => {
      throw notStarted(name, error as SkepError);
    });
    done.started.push(name);
  }
  const wentOnAt = verdict === "runs" ? Date.parse(found?.State.StartedAt ?? "") : now;
  const from = sentAt === undefined ? now : Date.parse(sentAt);
  return { ...stopped, quietMs: Math.max(0, (Number.isNaN(wentOnAt) ? now : wentOnAt) - from) };
}

function notStarted(name: string, error: SkepError): SkepError {
  if (error.code === "SKEP_DOCKER_UNREACHABLE") return error;
  return new SkepError({
    code: "SKEP_START_FAILED",
    message: `container ${name}, stopped for a backup, could not be started again: ${error.message}`,
    permanent: false,
    hint: `it is tried again each minute; what is in its way: \`docker start ${name}\``,
    cause: error,
  });
}
