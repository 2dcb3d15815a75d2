// Opens what agents answered for a run, and believes no more than that: each result is authenticated, of the job that
// it was asked for, and names objects of its own run that are in the store. What isn't so becomes a failed outcome.
import type { TaskKind } from "../shared/contract/job.ts";
import type { TaskResultOf } from "../shared/contract/task-result.ts";
import { openResult } from "../shared/contract/signed-job.ts";
import { SkepError, toErrorRecord } from "../shared/errors.ts";
import { digest } from "../shared/repository/blake3.ts";
import type { Part, RunNode, StoredObject } from "../shared/repository/run.ts";
import type { Store } from "../shared/store/store.ts";
import type { ChildOutcome } from "./flow.ts";
import type { PackCheck } from "./pack-check.ts";
import type { Repository } from "./repository.ts";
import type { ImageJob } from "./images/image-plan.ts";
import {
  childId,
  imagesOf,
  planVolumes,
  type NodeFacts,
  type Outcome,
  type RunOutcomes,
  type VolumeJob,
} from "./run-plan.ts";
import type { Policy } from "./policy.ts";
import type { OpenChild } from "./quiet-results.ts";
import { noWords, type WordSources } from "./volume-speakers.ts";

type Children = ReadonlyMap<string, ChildOutcome>;

export interface OpenedSwarm {
  raft: Outcome<Part>;
  definitions: Outcome<TaskResultOf<"definitions">>;
}

function refused(jobId: string, why: string): SkepError {
  return new SkepError({
    code: "SKEP_RESULT_INVALID",
    message: `the result of job ${jobId} ${why}`,
    permanent: true,
    hint: "an agent answered for another, or agent and controller are of different versions",
  });
}

/** `writerId`: who has to have answered; null: any. Null where the child has not ended. */
function openOutcome<K extends TaskKind>(
  children: Children,
  jobId: string,
  kind: K,
  writerId: string | null,
  repository: Repository,
): Outcome<TaskResultOf<K>> | null {
  const child = children.get(jobId);
  if (child === undefined || child.state === "failed") return child ?? null;
  try {
    const opened = openResult(child.value, jobId, (writer) => repository.resultKeyOf(writer));
    if (writerId !== null && opened.writerId !== writerId) throw refused(jobId, `is from ${opened.writerId}`);
    if (opened.result.kind !== kind) throw refused(jobId, `is of a ${opened.result.kind} job`);
    const result = opened.result as TaskResultOf<K>;
    if ("part" in result && (result.part.nodeId !== opened.writerId || result.part.kind !== kind)) {
      throw refused(jobId, `describes another node's part, or another kind`);
    }
    return { state: "done", result };
  } catch (error) {
    return failedBy(error);
  }
}

/** For what is laid to the parts afterwards: opened like all the rest. */
export function opener(children: Children, repository: Repository): OpenChild {
  return (id, kind, nodeId) => openOutcome(children, id, kind, nodeId, repository);
}

function failedBy(error: unknown): Outcome<never> {
  const now = new Date().toISOString();
  const record = toErrorRecord(error);
  return { state: "failed", failure: { error: record, attempts: 1, startedAt: now, endedAt: now, nodeId: null } };
}

/** The part of a result as an outcome of its own. */
function partOf<R extends { part: Part }>(outcome: Outcome<R>): Outcome<Part> {
  return outcome.state === "failed" ? outcome : { state: "done", result: outcome.result.part };
}

/** Never null: what has not ended is lost. */
export function openSwarm(runId: string, children: Children, repository: Repository): OpenedSwarm {
  const missing = (jobId: string): Outcome<never> =>
    failedBy(
      new SkepError({
        code: "SKEP_JOB_LOST",
        message: `the queue lost job ${jobId} before it ended`,
        permanent: false,
        hint: "somebody removed it from Redis, or Redis lost data: the next run does it again",
      }),
    );
  const raftId = childId(runId, "raft");
  const definitionsId = childId(runId, "definitions");
  const definitions = openOutcome(children, definitionsId, "definitions", null, repository) ?? missing(definitionsId);
  const raft = openOutcome(children, raftId, "raft", null, repository) ?? missing(raftId);
  const nodes = definitions.state === "done" ? definitions.result.nodes : [];
  return {
    definitions: byManager(definitionsId, definitions, nodes),
    raft: partOf(byManager(raftId, raft, nodes)),
  };
}

/** Whoever has Redis' password can take a manager's job; only a manager may have answered it. */
function byManager<R extends { part: Part }>(
  jobId: string,
  outcome: Outcome<R>,
  nodes: readonly RunNode[],
): Outcome<R> {
  if (outcome.state === "failed" || nodes.length === 0) return outcome;
  const { nodeId } = outcome.result.part;
  const role = nodes.find(({ id }) => id === nodeId)?.role;
  if (role === "manager" || role === "standalone") return outcome;
  return failedBy(refused(jobId, `is from ${nodeId}, which is no manager`));
}

/** Facts of the nodes that were asked and have ended, by node id. */
export function openNodes(
  runId: string,
  children: Children,
  repository: Repository,
  hostnameOf: (nodeId: string) => string,
): RunOutcomes["nodes"] {
  const prefix = childId(runId, "node", "");
  const nodes = new Map<string, { hostname: string; outcome: Outcome<NodeFacts> }>();
  for (const id of children.keys()) {
    if (!id.startsWith(prefix)) continue;
    const nodeId = id.slice(prefix.length);
    const outcome = openOutcome(children, id, "node", nodeId, repository);
    if (outcome === null) continue;
    nodes.set(nodeId, {
      hostname: outcome.state === "done" ? outcome.result.part.hostname : hostnameOf(nodeId),
      outcome,
    });
  }
  return nodes;
}

export function factsOf(nodes: RunOutcomes["nodes"]): Map<string, NodeFacts> {
  const facts = new Map<string, NodeFacts>();
  for (const [nodeId, { outcome }] of nodes) if (outcome.state === "done") facts.set(nodeId, outcome.result);
  return facts;
}

/** The volume jobs of a run, by child id. */
export function volumeJobs(
  runId: string,
  nodes: RunOutcomes["nodes"],
  select: Policy["select"]["volumes"],
  sources: WordSources = noWords,
): Map<string, VolumeJob> {
  const { jobs } = planVolumes(factsOf(nodes), select, sources);
  return new Map(jobs.map((job) => [childId(runId, "volume", job.nodeId, job.volume.name), job]));
}

/** The image jobs of a run, by child id. */
export function imageJobs(
  runId: string,
  nodes: RunOutcomes["nodes"],
  definitions: TaskResultOf<"definitions"> | null,
  mode: Policy["images"],
): Map<string, ImageJob> {
  const { jobs } = imagesOf(factsOf(nodes), definitions, mode);
  return new Map(jobs.map((job) => [childId(runId, "image", job.nodeId, job.imageId), job]));
}

export function openVolumes(
  jobs: ReadonlyMap<string, VolumeJob>,
  children: Children,
  repository: Repository,
): Map<string, Outcome<Part>> {
  const volumes = new Map<string, Outcome<Part>>();
  for (const [id, { nodeId, hostname, volume, words }] of jobs) {
    const kind = words.dump === undefined ? "volume" : "dump";
    const outcome = openOutcome(children, id, kind, nodeId, repository);
    if (outcome === null) continue;
    const part = partOf(outcome);
    const other = part.state === "done" && part.result.volume?.name !== volume.name;
    if (other) volumes.set(id, failedBy(refused(id, `is not of volume ${volume.name}`)));
    else if (part.state === "failed") volumes.set(id, part);
    else volumes.set(id, { state: "done", result: { ...part.result, hostname, name: `${hostname}/${volume.name}` } });
  }
  return volumes;
}

export function openImages(
  jobs: ReadonlyMap<string, ImageJob>,
  children: Children,
  repository: Repository,
): Map<string, Outcome<Part>> {
  const images = new Map<string, Outcome<Part>>();
  for (const [id, { nodeId, hostname, imageId, name }] of jobs) {
    const outcome = openOutcome(children, id, "image", nodeId, repository);
    if (outcome === null) continue;
    const part = partOf(outcome);
    const other = part.state === "done" && part.result.image?.id !== imageId;
    if (other) images.set(id, failedBy(refused(id, `is not of image ${imageId}`)));
    else if (part.state === "failed") images.set(id, part);
    else images.set(id, { state: "done", result: { ...part.result, hostname, name } });
  }
  return images;
}

/** Objects up to this size are read and compared, larger ones only looked at. */
const cheapBytes = 256 * 1024;
const checksAtOnce = 16;

/**
 * Looks for every object that the run would name, and every pack that its refs need, as `packs` has it. A part one of whose objects is not there as it says becomes failed, and names none. Throws only where the store can't be asked.
 */
export async function checkObjects(
  runId: string,
  outcomes: RunOutcomes,
  store: Store,
  packs: PackCheck,
): Promise<RunOutcomes> {
  const check = async (part: Part): Promise<Part> => {
    const error = await faultOf(runId, part, store, packs);
    if (error === null) return part;
    const failed: Part = { ...part, status: "failed", error: toErrorRecord(error) };
    for (const field of ["archive", "manifest", "refs"] as const) Reflect.deleteProperty(failed, field);
    return failed;
  };
  const checkPart = async (outcome: Outcome<Part>): Promise<Outcome<Part>> =>
    outcome.state === "done" ? { state: "done", result: await check(outcome.result) } : outcome;
  const checkResult = async <R extends { part: Part }>(outcome: Outcome<R>): Promise<Outcome<R>> =>
    outcome.state === "done"
      ? { state: "done", result: { ...outcome.result, part: await check(outcome.result.part) } }
      : outcome;
  return {
    raft: outcomes.raft && (await checkPart(outcomes.raft)),
    definitions: outcomes.definitions && (await checkResult(outcomes.definitions)),
    nodes: await mapAtOnce(outcomes.nodes, async ({ hostname, outcome }) => ({
      hostname,
      outcome: await checkResult(outcome),
    })),
    volumes: await mapAtOnce(outcomes.volumes, checkPart),
    ...(outcomes.images && { images: await mapAtOnce(outcomes.images, checkPart) }),
  };
}

async function mapAtOnce<T, U>(map: ReadonlyMap<string, T>, act: (value: T) => Promise<U>): Promise<Map<string, U>> {
  const results = new Map<string, U>();
  const entries = map.entries();
  const work = async (): Promise<void> => {
    for (const [key, value] of entries) results.set(key, await act(value));
  };
  await Promise.all(Array.from({ length: checksAtOnce }, work));
  return results;
}

/** Null where all is as the part says. */
async function faultOf(runId: string, part: Part, store: Store, packs: PackCheck): Promise<SkepError | null> {
  if (part.status === "failed") return null;
  // Left to its registry: it names nothing.
  if (part.kind === "image" && part.manifest === undefined && part.refs === undefined) return null;
  const wanted: ["archive" | "manifest" | "refs", string][] =
    part.kind === "volume" || part.kind === "dump" || part.kind === "image"
      ? [
          ["manifest", `manifests/${runId}/`],
          ["refs", `refs/${runId}/`],
        ]
      : [["archive", `archives/${runId}/`]];
  for (const [field, prefix] of wanted) {
    const named = part[field];
    // Node facts may be small enough to be in the part alone.
    if (named === undefined && part.kind === "node") continue;
    const objects = [named ?? []].flat();
    if (objects.length === 0 || !objects.every(({ key }) => key.startsWith(prefix))) {
      return wrongObject(part, `has no ${field} under ${prefix}`);
    }
    for (const object of objects) {
      const why = await differs(object, store);
      if (why !== null) return wrongObject(part, `names ${object.key}, which ${why} at ${store.address}`);
    }
  }
  if (part.refs === undefined) return null;
  const why = await packs.faultOf({ runId, writerId: part.nodeId, refs: part.refs });
  return why === null ? null : wrongObject(part, why);
}

async function differs(object: StoredObject, store: Store): Promise<string | null> {
  if (object.sizeBytes > cheapBytes) {
    const info = await store.head(object.key);
    if (info === null) return "is not there";
    return info.sizeBytes === object.sizeBytes ? null : `has ${info.sizeBytes} bytes, not ${object.sizeBytes},`;
  }
  let bytes: Uint8Array | null;
  try {
    bytes = await store.get(object.key, cheapBytes);
  } catch (error) {
    if (error instanceof SkepError && error.code === "SKEP_STORE_TOO_LARGE") return "is larger";
    throw error;
  }
  if (bytes === null) return "is not there";
  return bytes.length === object.sizeBytes && digest(bytes) === object.digest ? null : "has another content";
}

function wrongObject(part: Part, why: string): SkepError {
  return new SkepError({
    code: "SKEP_RUN_OBJECT_MISSING",
    message: `${part.kind} ${part.name} ${why}`,
    permanent: true,
    hint: "somebody removed or replaced it while the run went on: check who can write to the store",
  });
}
