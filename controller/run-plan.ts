// What a run has to do and what came of it, as pure functions: from node facts to volume jobs, and from all
// outcomes to the run object. The plan follows from authenticated results and the policy alone, so that it is made
// anew at commit instead of being believed to Redis.
import { createHash } from "node:crypto";
import type { TaskResultOf } from "../shared/contract/task-result.ts";
import type { ErrorRecord } from "../shared/errors.ts";
import type { NewRun } from "../shared/repository/run-chain.ts";
import type { NotCovered, Part, RunNode, VolumeFacts } from "../shared/repository/run.ts";
import { planImages, type ImageHolder, type ImageMode, type ImagePlan } from "./images/image-plan.ts";
import { selectsVolume, type Policy } from "./policy.ts";
import {
  listen,
  noWords,
  seenOn,
  type Said,
  type VolumeView,
  wordSources,
  type WordSources,
} from "./volume-speakers.ts";
import type { VolumeRule, VolumeWords } from "./volume-words.ts";

/** A child that ended without a result. */
export interface Failure {
  error: ErrorRecord;
  attempts: number;
  /** ISO 8601, UTC; of the last attempt. */
  startedAt: string;
  endedAt: string;
  /** Node id of the agent that had it last; null where none took it. */
  nodeId: string | null;
}

export type Outcome<Result> = { state: "done"; result: Result } | { state: "failed"; failure: Failure };

export type NodeFacts = TaskResultOf<"node">;

export interface VolumeJob {
  nodeId: string;
  hostname: string;
  volume: VolumeFacts;
  /** How it is to be taken, and what of that was not understood. */
  words: VolumeWords;
  faults: string[];
  speakers: Said["speakers"];
  /** On all nodes that see it. */
  users: Said["users"];
  missing: Said["missing"];
  /** Several nodes may see it. */
  isShared: boolean;
  /** Those that do, and what it is called there: this one, or nodes that share it. */
  views: { nodeId: string; hostname: string; name: string }[];
  /** Host names of nodes that may see it and gave no facts; null where nobody knows which nodes there are. */
  unasked: string[] | null;
}

export interface VolumePlan {
  jobs: VolumeJob[];
  notCovered: NotCovered[];
}

/** Deterministic, so that a step that is done again adds nothing twice. `name` is hashed: volume names are wider than job ids. */
export function childId(runId: string, kind: string, nodeId?: string, name?: string): string {
  const hash = name === undefined ? [] : [createHash("sha256").update(name).digest("hex").slice(0, 20)];
  return [runId, kind, ...(nodeId === undefined ? [] : [nodeId]), ...hash].join("-");
}

export interface AgentPresence {
  nodeId: string;
  hostname: string;
  /** How long nothing was heard of it, ms; 0 while its heartbeat is there. */
  silentMs: number;
}

/**
 * Whom to ask for facts. `nodes` is what the definitions say, null where they are missing: then everybody who is
 * heard. A node that was never heard or is silent for longer than `graceMs` is not waited for.
 */
export function nodesToAsk(
  nodes: readonly RunNode[] | null,
  agents: readonly AgentPresence[],
  graceMs: number,
): { nodeId: string; hostname: string }[] {
  const present = new Map(agents.filter(({ silentMs }) => silentMs < graceMs).map((agent) => [agent.nodeId, agent]));
  if (nodes === null) return [...present.values()].map(({ nodeId, hostname }) => ({ nodeId, hostname }));
  return nodes
    .filter((node) => node.state !== "down" && present.has(node.id))
    .map(({ id, hostname }) => ({ nodeId: id, hostname }));
}

/** On the volumes of stack.yml. */
const ownLabel = "io.skep.own";

/**
 * Volumes to take and what is left out. A volume that several nodes share is taken once: as files by the first of them,
 * by host name, so that it stays with one writer; as a dump by the first on which a container uses it.
 */
export function planVolumes(
  facts: ReadonlyMap<string, NodeFacts>,
  select: Policy["select"]["volumes"],
  sources: WordSources = noWords,
): VolumePlan {
  const plan: VolumePlan = { jobs: [], notCovered: [] };
  const dumped = new Map<string, string>();
  const nodes = [...facts].sort(
    ([, a], [, b]) => compare(a.part.hostname, b.part.hostname) || compare(a.part.nodeId, b.part.nodeId),
  );
  const views = nodes.flatMap(([nodeId, { part, volumes }]) =>
    [...volumes]
      .sort((a, b) => compare(a.facts.name, b.facts.name))
      .map((found): VolumeView => ({ nodeId, hostname: part.hostname, found })),
  );
  const unasked = sources.nodes?.filter(({ id }) => !facts.has(id)).map(({ hostname }) => hostname) ?? null;
  const seen = seenOn(facts);
  const leaveOut = ({ hostname, found }: VolumeView, reason: NotCovered["reason"], message: string): void => {
    plan.notCovered.push({ kind: "volume", name: `${hostname}/${found.facts.name}`, hostname, reason, message });
  };
  const isWanted = (view: VolumeView): boolean => selectsVolume(select, view.hostname, view.found.facts.name);
  for (const one of groupShared(views, leaveOut)) {
    const said = listen(one, sources, seen);
    const { words, faults, speakers, users, missing } = said;
    const wanted = one.filter(isWanted);
    const programs = users.filter(({ uses }) => uses === "all");
    const isUsed = ({ nodeId }: VolumeView): boolean =>
      speakers.dump?.nodeIds.includes(nodeId) ?? programs.some((user) => user.nodeId === nodeId);
    const taker = words.dump === undefined ? wanted[0] : (wanted.find(isUsed) ?? wanted[0]);
    for (const view of one) {
      if (!wanted.includes(view)) leaveOut(view, "not-selected", "the policy does not select it");
      else if (words.enable === false) leaveOut(view, "not-selected", "skep.enable says so");
      else if (view !== taker) leaveOut(view, "taken-elsewhere", `taken on ${taker?.hostname ?? ""}, which shares it`);
    }
    if (taker === undefined || words.enable === false) continue;
    const { nodeId, hostname, found } = taker;
    const dump = words.dump === undefined ? null : dumpKey(nodeId, found.facts.name, programs, words.dump);
    const taken = dump === null ? undefined : dumped.get(dump);
    if (taken !== undefined) {
      leaveOut(taker, "taken-elsewhere", `its content is in the dump ${taken}`);
      continue;
    }
    if (dump !== null) dumped.set(dump, `${hostname}/${found.facts.name}`);
    const isShared = found.sharedId !== null;
    plan.jobs.push({
      ...{ nodeId, hostname, volume: found.facts, words, faults, speakers, users, missing, isShared },
      views: one.map((view) => ({ nodeId: view.nodeId, hostname: view.hostname, name: view.found.facts.name })),
      unasked: isShared ? unasked : [],
    });
  }
  for (const [, { part, notCovered }] of nodes)
    for (const left of notCovered) plan.notCovered.push(asThePolicySays(left, part.hostname, select));
  return plan;
}

/** Each volume with all nodes' views of it; without Skep's own, which is left out. */
function groupShared(
  views: readonly VolumeView[],
  leaveOut: (view: VolumeView, reason: "not-selected", message: string) => void,
): VolumeView[][] {
  const groups: VolumeView[][] = [];
  const shared = new Map<string, VolumeView[]>();
  for (const view of views) {
    const { facts, sharedId } = view.found;
    if (ownLabel in facts.labels) {
      leaveOut(view, "not-selected", "Skep's own state: it is made anew where it is missing");
      continue;
    }
    const known = sharedId === null ? undefined : shared.get(sharedId);
    if (known !== undefined) {
      known.push(view);
      continue;
    }
    const group = [view];
    groups.push(group);
    if (sharedId !== null) shared.set(sharedId, group);
  }
  return groups;
}

/** Equal for two volumes of one container that is dumped by one command: the dump is taken once. */
function dumpKey(nodeId: string, name: string, users: Said["users"], dump: NonNullable<VolumeWords["dump"]>): string {
  const who = users.map((user) => `${user.nodeId}/${user.container}`).sort();
  return JSON.stringify([nodeId, who.length === 0 ? name : who, dump]);
}

/** What an agent can't read is no gap where the policy didn't want it. */
function asThePolicySays(left: NotCovered, hostname: string, select: Policy["select"]["volumes"]): NotCovered {
  if (left.kind !== "volume") return left;
  const name = left.name.startsWith(`${hostname}/`) ? left.name.slice(hostname.length + 1) : left.name;
  if (selectsVolume(select, hostname, name)) return left;
  return { ...left, reason: "not-selected", message: "the policy does not select it" };
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

/** Everything that came of a run's jobs. */
export interface RunOutcomes {
  /** Both null in a standalone run on a host that is no manager: nothing of a swarm can be had there. */
  raft: Outcome<Part> | null;
  definitions: Outcome<TaskResultOf<"definitions">> | null;
  /** By node id; only those that were asked. */
  nodes: ReadonlyMap<string, { hostname: string; outcome: Outcome<NodeFacts> }>;
  /** By child id; a planned volume that is not in it was never taken. */
  volumes: ReadonlyMap<string, Outcome<Part>>;
  /** The same of images; one that is done and has no content is left to its registry. */
  images?: ReadonlyMap<string, Outcome<Part>>;
}

export interface RunFrame extends Pick<
  NewRun,
  "id" | "trigger" | "schedule" | "policyVersion" | "startedAt" | "endedAt" | "skepVersion" | "warnings"
> {
  select: Policy["select"]["volumes"];
  /** The policy's rules for volumes; the labels come with the outcomes. */
  rules?: readonly VolumeRule[];
  /** Default: none. */
  images?: ImageMode;
}

export function imagesOf(
  facts: ReadonlyMap<string, NodeFacts>,
  definitions: TaskResultOf<"definitions"> | null,
  mode: ImageMode,
): ImagePlan {
  const holders = [...facts].map(([nodeId, { part, images }]): ImageHolder => ({
    nodeId,
    hostname: part.hostname,
    images,
  }));
  return planImages(holders, definitions?.services ?? [], mode);
}

/** The run object's content: every part that was wanted is in it, as what became of it, and all that was left out. */
export function concludeRun(frame: RunFrame, outcomes: RunOutcomes): NewRun {
  const { select, rules = [], images: mode = "none", ...rest } = frame;
  const definitions = outcomes.definitions?.state === "done" ? outcomes.definitions.result : null;
  const parts: Part[] = [];
  if (outcomes.raft !== null) parts.push(partOf(outcomes.raft, { kind: "raft", name: "raft" }, (part) => part));
  if (outcomes.definitions !== null) {
    parts.push(partOf(outcomes.definitions, { kind: "definitions", name: "definitions" }, (result) => result.part));
  }
  const notCovered: NotCovered[] = [];
  for (const node of definitions?.nodes ?? []) {
    if (outcomes.nodes.has(node.id)) continue;
    if (frame.trigger === "standalone") {
      const message = "a standalone run takes the host that it runs on";
      notCovered.push({ kind: "node", name: node.hostname, hostname: node.hostname, reason: "not-selected", message });
      continue;
    }
    const down = node.state === "down";
    notCovered.push({
      kind: "node",
      name: node.hostname,
      hostname: node.hostname,
      reason: down ? "node-down" : "no-agent",
      message: down
        ? "the node is down: none of its volumes was taken"
        : "no agent runs there: none of its volumes was taken",
    });
  }
  const facts = new Map<string, NodeFacts>();
  const asked = [...outcomes.nodes].sort(([, a], [, b]) => compare(a.hostname, b.hostname));
  for (const [nodeId, { hostname, outcome }] of asked) {
    parts.push(partOf(outcome, { kind: "node", name: hostname, nodeId, hostname }, (result) => result.part));
    if (outcome.state === "done") facts.set(nodeId, outcome.result);
  }
  const plan = planVolumes(facts, select, wordSources(rules, definitions));
  for (const { nodeId, hostname, volume, words } of plan.jobs) {
    const kind = words.dump === undefined ? ("volume" as const) : ("dump" as const);
    const wanted = { kind, name: `${hostname}/${volume.name}`, nodeId, hostname, volume };
    const outcome = outcomes.volumes.get(childId(frame.id, "volume", nodeId, volume.name)) ?? neverTaken(frame);
    parts.push(partOf(outcome, wanted, (part) => part));
  }
  notCovered.push(...plan.notCovered);
  const images = imagesOf(facts, definitions, mode);
  notCovered.push(...images.notCovered);
  for (const { nodeId, hostname, imageId, name } of images.jobs) {
    const wanted = { kind: "image" as const, name, nodeId, hostname };
    const outcome = outcomes.images?.get(childId(frame.id, "image", nodeId, imageId)) ?? neverTaken(frame);
    const part = partOf(outcome, wanted, (result) => result);
    if (part.status !== "done" || part.manifest !== undefined) parts.push(part);
    else {
      const message = `${part.image?.digests[0] ?? part.name} can be pulled without credentials`;
      notCovered.push({ kind: "image", name: part.name, hostname, reason: "pullable", message });
    }
  }
  const run = {
    ...rest,
    clusterId: definitions?.clusterId ?? null,
    nodes: definitions?.nodes ?? [],
    parts,
    notCovered,
  };
  return { ...run, status: outcomes.raft === null ? statusWithoutSwarm(run) : statusOf(run) };
}

/** On a host of its own: `failed` where nothing of what was wanted was taken. */
function statusWithoutSwarm({ parts, notCovered }: Pick<NewRun, "parts" | "notCovered">): NewRun["status"] {
  const wanted = parts.filter(({ kind }) => kind === "volume" || kind === "dump");
  if (parts.every(({ status }) => status === "failed")) return "failed";
  if (wanted.length > 0 && wanted.every(({ status }) => status === "failed")) return "failed";
  return hasGap(notCovered) || parts.some(({ status }) => status !== "done") ? "partial" : "done";
}

function neverTaken(frame: RunFrame): Outcome<Part> {
  const error = {
    code: "SKEP_JOB_LOST" as const,
    message: "the queue lost the job before it ended",
    permanent: false,
    hint: "somebody removed it from Redis, or Redis lost data: the next run takes it again",
  };
  const { startedAt, endedAt } = frame;
  return { state: "failed", failure: { error, attempts: 1, startedAt, endedAt, nodeId: null } };
}

function partOf<Result>(
  outcome: Outcome<Result>,
  wanted: Pick<Part, "kind" | "name"> & Partial<Pick<Part, "nodeId" | "hostname" | "volume">>,
  part: (result: Result) => Part,
): Part {
  if (outcome.state === "done") return part(outcome.result);
  const { error, attempts, startedAt, endedAt, nodeId } = outcome.failure;
  return {
    nodeId: nodeId ?? "none",
    hostname: "",
    ...wanted,
    status: "failed",
    startedAt,
    endedAt,
    attempt: Math.max(1, attempts),
    error,
    warnings: [],
    warningsLeftOut: 0,
  };
}

/** `failed`: no proven Raft copy. `partial`: something that was wanted is not whole, or a node could not be asked. */
export function statusOf(run: Pick<NewRun, "parts" | "notCovered">): NewRun["status"] {
  const raft = run.parts.find(({ kind }) => kind === "raft");
  if (raft === undefined || raft.status === "failed") return "failed";
  return hasGap(run.notCovered) || run.parts.some(({ status }) => status !== "done") ? "partial" : "done";
}

/** Something that was wanted could not even be tried. */
function hasGap(notCovered: NewRun["notCovered"]): boolean {
  return notCovered.some(
    ({ kind, reason }) =>
      reason === "node-down" || reason === "no-agent" || (kind === "volume" && reason === "unsupported"),
  );
}

/** What one volume job may read a second, from the policy's limits; 0: no limit. */
export function jobBytesPerSecond(limits: Policy["limits"], nodes: number, jobsAtOnce: number): number {
  const shares: number[] = [];
  if (limits.bytesPerSecondPerNode > 0) shares.push(limits.bytesPerSecondPerNode / jobsAtOnce);
  if (limits.bytesPerSecondInAll > 0) {
    shares.push(limits.bytesPerSecondInAll / (Math.max(1, Math.min(nodes, limits.nodesAtOnce)) * jobsAtOnce));
  }
  return shares.length === 0 ? 0 : Math.max(1, Math.floor(Math.min(...shares)));
}
