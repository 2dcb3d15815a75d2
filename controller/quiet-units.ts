// What is quiet together: volumes of one group, and those that one service or container uses, wherever they lie. Each
// such unit is told to be quiet once, read, and let go once, in this order:
//
//   pause    on each of its nodes: hooks before, then containers outside of services are stopped, others frozen
//   hold     on a manager: the services are stopped
//   watch    on each other node that shares a volume of it
//   volumes  all at once
//   prove    on the same nodes, once all is read
//   release  on a manager, and unpause on each node with the hooks after: as soon as all is read
//   after    where services were stopped: the hooks, once those were told to start
import { createHash } from "node:crypto";
import { mostMoments, type Task, type TaskOf } from "../shared/contract/job.ts";
import type { JobProgress } from "../shared/contract/job-progress.ts";
import { childId, type VolumeJob } from "./run-plan.ts";
import { watchesOf, watchOrder, type ShareWatch } from "./share-watch.ts";
import type { Speaker } from "./volume-speakers.ts";
import type { Command, Hook, VolumeWords } from "./volume-words.ts";

export interface UnitNode {
  nodeId: string;
  /** Child ids. */
  pauseId: string;
  unpauseId: string;
  /** Of the hooks after, where services are to be back first; null: they run when it is unpaused. */
  afterId: string | null;
  /** Volumes whose containers are frozen. */
  volumes: string[];
  /** Volumes whose containers, outside of services, are stopped. */
  stops: string[];
  before: Hook[];
  after: Hook[];
  /** All of the unit, where it lies on this node, is no more than paused, and is not too many: the filesystem may give a moment of each. */
  moments: { volume: string; exclude: readonly string[] }[];
}

export interface QuietUnit {
  /** Of its hold and its pauses. */
  id: string;
  /** Child ids of its volumes' jobs. */
  members: string[];
  nodes: UnitNode[];
  hold: { holdId: string; releaseId: string; serviceIds: string[] } | null;
  /** By nodes that share a volume of it and do not read it. */
  watches: ShareWatch[];
}

/** How a member is to be quiet; null where it only keeps the others company. */
export function quietOf(job: Pick<VolumeJob, "words">): "pause" | "stop" | null {
  const { quiesce = "none", dump } = job.words;
  return dump !== undefined || quiesce === "none" ? null : quiesce;
}

const hookSeconds = 60;
const dumpSeconds = 4 * 3600;

function commandOf(
  command: Command,
  volume: string,
  speaker: Speaker | undefined,
  defaultSeconds = dumpSeconds,
): TaskOf<"dump">["command"] {
  const { command: argv, container = null, user = null, timeout = defaultSeconds } = command;
  const said = container === null && speaker !== undefined ? { saidBy: speaker.name } : {};
  return { volume, argv, container, ...said, user, timeoutSeconds: timeout };
}

/** What takes a volume: by itself, or as the dump that its words want. `unitId`: of the unit that makes it quiet. */
export function volumeTask(
  job: VolumeJob,
  unitId: string | null,
  excludePaths: readonly string[],
  all: Pick<TaskOf<"volume">, "runId" | "maxBytesPerSecond" | "absentPacks">,
): TaskOf<"volume" | "dump"> {
  const { volume, words, speakers } = job;
  const { dump, load, exclude = [] } = words;
  if (dump !== undefined) {
    const [only, ...others] = job.users.filter(({ uses }) => uses === "all");
    const isAlone = others.length === 0 && only?.serviceId === null && only.container === speakers.load?.name;
    // A container of no service may be called otherwise by the day of the restore, and alone it is found without a name.
    const back = load === undefined ? null : commandOf(load, volume.name, isAlone ? undefined : speakers.load);
    return { kind: "dump", ...all, command: commandOf(dump, volume.name, speakers.dump), load: back };
  }
  const how = quietOf(job);
  return {
    ...{ kind: "volume", ...all, volume: volume.name },
    quiet: how === null || unitId === null ? null : { how, id: unitId },
    excludePaths: [...excludePaths, ...exclude],
  };
}

/** `jobs` by child id. Those without any word on quiet are in no unit. */
export function planUnits(runId: string, jobs: ReadonlyMap<string, VolumeJob>): QuietUnit[] {
  const sets = new Map<string, string[]>();
  const setOf = new Map<string, string>();
  for (const [id, job] of jobs) {
    const keys = keysOf(job);
    if (keys.length === 0) continue;
    const merged = new Set([id]);
    for (const key of keys) {
      const other = setOf.get(key);
      for (const member of (other === undefined ? undefined : sets.get(other)) ?? []) merged.add(member);
    }
    for (const [key, name] of setOf)
      if ([...merged].some((member) => sets.get(name)?.includes(member))) setOf.set(key, id);
    for (const [name, members] of sets) if (members.some((member) => merged.has(member))) sets.delete(name);
    sets.set(id, [...merged].sort());
    for (const key of keys) setOf.set(key, id);
  }
  return [...sets.values()].map((members) => unitOf(runId, members, jobs));
}

/** What two volumes must share to be in one unit. */
function keysOf(job: VolumeJob): string[] {
  const { group, hook } = job.words;
  const how = quietOf(job);
  if (group === undefined && hook === undefined && how === null) return [];
  const users = how === null ? [] : userKeys(job);
  if (how === "stop") users.push(...job.missing.map(({ serviceId }) => serviceId));
  return [`volume ${job.nodeId}/${job.volume.name}`, ...(group === undefined ? [] : [`group ${group}`]), ...users];
}

function unitOf(runId: string, members: string[], jobs: ReadonlyMap<string, VolumeJob>): QuietUnit {
  const id = createHash("sha256")
    .update(`${runId} ${members.join(" ")}`)
    .digest("hex")
    .slice(0, 12);
  const nodes = new Map<string, UnitNode>();
  const serviceIds = new Set<string>();
  const usersOf = new Map<Hook, string[]>();
  const nodeOf = (nodeId: string): UnitNode => {
    const known = nodes.get(nodeId) ?? {
      nodeId,
      pauseId: childId(runId, "pause", nodeId, id),
      unpauseId: childId(runId, "unpause", nodeId, id),
      afterId: null,
      ...{ volumes: [], stops: [], before: [], after: [], moments: [] },
    };
    nodes.set(nodeId, known);
    return known;
  };
  for (const member of members) {
    const job = jobs.get(member);
    if (job === undefined) continue;
    const { nodeId, volume, words } = job;
    const how = quietOf(job);
    if (how === "stop") for (const { serviceId } of servicesOf(job)) serviceIds.add(serviceId);
    for (const view of job.views) {
      if (how === "pause") addName(nodeOf(view.nodeId).volumes, view.name);
      const stopsHere = job.users.some((user) => user.serviceId === null && user.nodeId === view.nodeId);
      if (how === "stop" && stopsHere) addName(nodeOf(view.nodeId).stops, view.name);
    }
    const { pre, post } = words.hook ?? {};
    const { hook: speaker } = job.speakers;
    const programs = job.users.filter(({ uses }) => uses === "all").map((user) => user.nodeId);
    // Where its program runs, which may be another node than reads it.
    const used = job.views.find((view) => (speaker?.nodeIds ?? programs).includes(view.nodeId));
    const hooked = used ?? { nodeId, name: volume.name };
    if (pre !== undefined) addHook(nodeOf(hooked.nodeId).before, hookOf(pre, hooked.name, speaker), job, usersOf);
    if (post !== undefined) addHook(nodeOf(hooked.nodeId).after, hookOf(post, hooked.name, speaker), job, usersOf);
  }
  const hold =
    serviceIds.size === 0
      ? null
      : {
          holdId: childId(runId, "hold", undefined, id),
          releaseId: childId(runId, "release", undefined, id),
          serviceIds: [...serviceIds].sort(),
        };
  for (const node of hold === null ? [] : nodes.values())
    if (node.after.length > 0) node.afterId = childId(runId, "after", node.nodeId, id);
  const own = members.flatMap((member) => jobs.get(member) ?? []);
  const [only, ...others] = nodes.values();
  if (only !== undefined && others.length === 0 && hold === null && own.length <= mostMoments) {
    const isAlone = own.every((job) => job.nodeId === only.nodeId && quietOf(job) === "pause");
    if (isAlone) only.moments = own.map(({ volume, words }) => ({ volume: volume.name, exclude: words.exclude ?? [] }));
  }
  const watches = watchesOf(
    runId,
    id,
    own.map((job) => ({ job, how: quietOf(job) })),
  );
  return { id, members, nodes: [...nodes.values()], hold, watches };
}

/** Services that are to be stopped for it. */
export function servicesOf({ users, missing }: VolumeJob): { serviceId: string; name: string }[] {
  const running = users.flatMap(({ serviceId, container }) =>
    serviceId === null ? [] : { serviceId, name: container },
  );
  return [...running, ...missing];
}

function addName(names: string[], name: string): void {
  if (!names.includes(name)) names.push(name);
}

function hookOf(
  hook: NonNullable<NonNullable<VolumeWords["hook"]>["pre"]>,
  volume: string,
  speaker: Speaker | undefined,
): Hook {
  return { ...commandOf(hook, volume, speaker, hookSeconds), onError: hook.onError ?? "fail" };
}

function userKeys({ users }: VolumeJob): string[] {
  return users.map(({ nodeId, container, serviceId }) => serviceId ?? `${nodeId}/${container}`);
}

/** A service's hook comes with each of its volumes, and runs once; the same words of two services are two hooks. */
function addHook(hooks: Hook[], hook: Hook, job: VolumeJob, usersOf: Map<Hook, string[]>): void {
  const users = userKeys(job);
  const same = hooks.find((other) => {
    if (JSON.stringify({ ...other, volume: "" }) !== JSON.stringify({ ...hook, volume: "" })) return false;
    return hook.container !== null || usersOf.get(other)?.some((user) => users.includes(user)) === true;
  });
  if (same === undefined) hooks.push(hook);
  usersOf.set(same ?? hook, [...(usersOf.get(same ?? hook) ?? []), ...users]);
}

/** The children that a unit has beside its volumes' jobs; `managers` where `nodeId` is null. */
export function childrenOf({
  nodes,
  hold,
  watches,
}: QuietUnit): { id: string; nodeId: string | null; attempts: number }[] {
  return [
    // Once: what was quiet for a first attempt is not for a second.
    ...nodes.map(({ pauseId, nodeId }) => ({ id: pauseId, nodeId, attempts: 1 })),
    ...nodes.map(({ unpauseId, nodeId }) => ({ id: unpauseId, nodeId, attempts: unpauseAttempts })),
    ...nodes.flatMap(({ afterId, nodeId }) =>
      afterId === null ? [] : [{ id: afterId, nodeId, attempts: unpauseAttempts }],
    ),
    ...watches.map(({ watchId, nodeId }) => ({ id: watchId, nodeId, attempts: 1 })),
    ...watches.map(({ proveId, nodeId }) => ({ id: proveId, nodeId, attempts: 2 })),
    ...(hold === null
      ? []
      : [
          { id: hold.holdId, nodeId: null, attempts: 2 },
          { id: hold.releaseId, nodeId: null, attempts: 5 },
        ]),
  ];
}

const unpauseAttempts = 3;
/** For a service that starts again where it ran before: scheduled, its image there, up and healthy. */
const backSeconds = 300;

export interface UnitOrder {
  nodeId: string | null;
  task: Task;
  timeoutMs: number;
  attempts: number;
}

const graceMs = 120_000;
/** What a filesystem still has to write to disk, and then to clone a million files. */
const momentsMs = 20 * 60_000;
const holdTimeoutMs = 10 * 60_000;

/** What one of a unit's own children is told; null for an id that is none of them. `now` (ms since 1970) to `deadlineAt`: how long it may be quiet. */
export function unitOrder(
  units: readonly QuietUnit[],
  id: string,
  { now, deadlineAt }: { now: number; deadlineAt: string },
  sharedVolumes: readonly string[],
  excludePaths: readonly string[],
): UnitOrder | null {
  for (const unit of units) {
    const attempts = childrenOf(unit).find((child) => child.id === id)?.attempts;
    if (attempts === undefined) continue;
    const watching = watchOrder(unit.watches, unit.id, id, deadlineAt);
    if (watching !== null) return { ...watching, attempts };
    if (unit.hold?.holdId === id) {
      const { serviceIds } = unit.hold;
      const task: Task = {
        ...{ kind: "hold", holdId: unit.id, serviceIds, deadlineAt, allOrNone: false },
        sharedVolumes: [...sharedVolumes],
      };
      return { nodeId: null, task, timeoutMs: holdTimeoutMs, attempts };
    }
    if (unit.hold?.releaseId === id) {
      return { nodeId: null, task: { kind: "release", holdId: unit.id }, timeoutMs: holdTimeoutMs, attempts };
    }
    for (const { nodeId, pauseId, unpauseId, afterId, volumes, stops, before, after, moments } of unit.nodes) {
      if (id === pauseId) {
        const wanted = moments.map(({ volume, exclude }) => ({ volume, excludePaths: [...excludePaths, ...exclude] }));
        const task: Task = {
          ...{ kind: "pause", pauseId: unit.id, volumes, before, deadlineAt },
          ...(stops.length === 0 ? {} : { stops }),
          ...(wanted.length === 0 ? {} : { moments: wanted }),
        };
        const longestMs = Math.min(momentsMs, Math.max(0, Date.parse(deadlineAt) - now - graceMs));
        const stoppingMs = stops.length === 0 ? 0 : holdTimeoutMs;
        const takingMs = wanted.length === 0 ? 0 : longestMs;
        return { nodeId, task, timeoutMs: secondsOf(before) * 1000 + graceMs + takingMs + stoppingMs, attempts };
      }
      if (id === unpauseId) {
        const hooks = afterId === null ? after : [];
        const task: Task = { kind: "unpause", pauseId: unit.id, after: hooks };
        const startingMs = stops.length === 0 ? 0 : holdTimeoutMs;
        // One that comes while hooks before run, as after a loss of Redis, waits for their end.
        return { nodeId, task, timeoutMs: secondsOf([...before, ...hooks]) * 1000 + graceMs + startingMs, attempts };
      }
      if (id === afterId) {
        const task: Task = { kind: "unpause", pauseId: unit.id, after, backSeconds };
        return { nodeId, task, timeoutMs: (secondsOf(after) + backSeconds) * 1000 + graceMs, attempts };
      }
    }
  }
  return null;
}

function secondsOf(hooks: readonly Hook[]): number {
  return hooks.reduce((sum, { timeoutSeconds }) => sum + timeoutSeconds, 0);
}

/** All of a volume is read, and some of it may be still to be stored. Whoever writes this into Redis ends a quiet too soon: the agent sees that. */
export function isRead(progress: JobProgress | null): boolean {
  return progress !== null && ["storing", "done"].includes(progress.phase);
}

export interface UnitsView {
  /** Child ids that were not sent out yet, and those that have not ended (held ones too). */
  held: ReadonlySet<string>;
  open: ReadonlySet<string>;
  /** Whose source has been read to its end, though the store has not got all of it. */
  read: ReadonlySet<string>;
  nodeOf: (memberId: string) => string;
  /** Jobs that are out, by node. */
  out: ReadonlyMap<string, number>;
  nodesAtOnce: number;
  jobsPerNode: number;
}

/** `now`: children of units that go out at once. `wait`: those that are not to be sent yet, whatever place is free. */
export function nextOfUnits(units: readonly QuietUnit[], view: UnitsView): { now: string[]; wait: Set<string> } {
  const { held, open, read, nodeOf, out, nodesAtOnce, jobsPerNode } = view;
  const now: string[] = [];
  const wait = new Set<string>();
  const busy = new Map(out);
  for (const unit of units) {
    const steps = stepsOf(unit);
    const all = steps.flat();
    for (const id of all) if (held.has(id)) wait.add(id);
    const nodes = new Set([...unit.members.map(nodeOf), ...unit.nodes.map(({ nodeId }) => nodeId)]);
    if (all.every((id) => held.has(id))) {
      const working = [...busy.values()].filter((jobs) => jobs > 0).length;
      const added = [...nodes].filter((nodeId) => (busy.get(nodeId) ?? 0) === 0).length;
      const hasPlace = [...nodes].every((nodeId) => (busy.get(nodeId) ?? 0) < jobsPerNode);
      // A unit that is wider than the limit goes alone.
      if (!(working === 0 || (hasPlace && working + added <= nodesAtOnce))) continue;
      for (const nodeId of nodes) busy.set(nodeId, (busy.get(nodeId) ?? 0) + 1);
    }
    for (const ids of steps) {
      const waiting = ids.filter((id) => held.has(id));
      now.push(...waiting);
      const isReading = ids === unit.members;
      if (ids.some((id) => open.has(id) && !(isReading && read.has(id)))) break;
    }
  }
  return { now, wait };
}

/** Steps that a unit does not have are left out. */
function stepsOf({ nodes, hold, watches, members }: QuietUnit): string[][] {
  const steps = [
    nodes.map(({ pauseId }) => pauseId),
    hold === null ? [] : [hold.holdId],
    watches.map(({ watchId }) => watchId),
    members,
    watches.map(({ proveId }) => proveId),
    [...(hold === null ? [] : [hold.releaseId]), ...nodes.map(({ unpauseId }) => unpauseId)],
    nodes.flatMap(({ afterId }) => afterId ?? []),
  ];
  return steps.filter((ids) => ids.length > 0);
}
