// A run without controller and Redis: this machine's jobs one after the other, then the run object, signed with the
// kit's controller key. On a swarm manager Raft state and definitions are part of it; elsewhere they can't be.
import { maxAbsentPacks } from "../../../shared/contract/job.ts";
import { isQuietKind } from "../../../shared/contract/keeper.ts";
import type { JobProgress } from "../../../shared/contract/job-progress.ts";
import type { SkepError } from "../../../shared/errors.ts";
import type { ControllerKey } from "../../../shared/repository/controller-key.ts";
import { newestUpkeep } from "../../../shared/repository/chain.ts";
import { newRunId } from "../../../shared/repository/layout.ts";
import { absentPacksOf } from "../../../shared/repository/upkeep/absent-packs.ts";
import { appendRun } from "../../../shared/repository/run-chain.ts";
import type { Part, Run, RunNode } from "../../../shared/repository/run.ts";
import { skepVersion } from "../../../shared/version.ts";
import { layQuiet, type OpenChild } from "../../quiet-results.ts";
import { isRead, planUnits, volumeTask } from "../../quiet-units.ts";
import { readStoredPolicy } from "../../policies.ts";
import type { Policy } from "../../policy.ts";
import {
  childId,
  concludeRun,
  jobBytesPerSecond,
  planVolumes,
  type Outcome,
  type RunFrame,
  type RunOutcomes,
  type VolumeJob,
} from "../../run-plan.ts";
import { commitRun } from "../../commit.ts";
import { noWords, wordSources } from "../../volume-speakers.ts";
import { catalogueKeysOf, warnOfForeign, type OpenedCatalogue } from "../catalogue-access.ts";
import type { Session } from "../session.ts";
import { JobDesk, type Label } from "./desk.ts";
import { isStateFault, type Host, type KeeperDoor, type Work } from "./host.ts";
import { servicesRan } from "./services-ran.ts";
import { UnitTaking } from "./take-unit.ts";
import { tellUndone } from "./undone.ts";

export interface StandaloneRun {
  opened: OpenedCatalogue;
  controllerKey: ControllerKey;
  host: Host;
  /** The policy where the store has none yet. */
  seedPolicy: () => Promise<Policy>;
  /** Globs on NAME or HOSTNAME/NAME instead of the policy's selection. */
  volumes: readonly string[] | null;
}

/** The run as it was written. Throws where not even a run object could be written. */
export async function backupHere(session: Session, wanted: StandaloneRun): Promise<Run> {
  const { opened, controllerKey, host } = wanted;
  const startedAt = Date.now();
  const runId = newRunId(startedAt);
  const { policy, version } = await choosePolicy(wanted, session);
  const keeper = await openKeeper(session, host);
  const desk = new JobDesk(session, host.node.nodeId, `Run ${runId} on ${host.node.hostname}`);
  let outcomes: RunOutcomes;
  try {
    const upkeep = await newestUpkeep(opened.catalogue, session.signal);
    const absentPacks = absentPacksOf(upkeep, host.node.nodeId, maxAbsentPacks);
    outcomes = await takeParts(desk, { ...host, keep: keeper.work }, { runId, policy, absentPacks }, session);
  } finally {
    desk.close();
    await keeper.close();
  }
  const frame: RunFrame = {
    id: runId,
    trigger: "standalone",
    schedule: null,
    policyVersion: version,
    startedAt: new Date(startedAt).toISOString(),
    endedAt: new Date().toISOString(),
    skepVersion,
    warnings: [],
    select: policy.select.volumes,
    rules: policy.volumes,
  };
  const { store, repository, catalogue, access } = opened;
  const { signal } = session;
  return await commitRun({
    catalogue,
    keys: catalogueKeysOf(opened),
    repository,
    location: access.location,
    runId,
    outcomes,
    conclude: (found) => {
      const run = concludeRun(frame, found);
      return run.nodes.length > 0 ? run : { ...run, nodes: [thisNode(host)] };
    },
    append: (run, options) =>
      appendRun(store, controllerKey, repository.incarnation, run, { ...options, known: repository, signal }),
  });
}

/** Where the state folder takes no journal, what is to be quiet can't be; all else is taken as it is. */
async function openKeeper({ output }: Session, host: Host): Promise<KeeperDoor> {
  try {
    return await host.openKeeper((undone) => {
      tellUndone(output, undone);
    });
  } catch (thrown) {
    const error = thrown as SkepError;
    if (!isStateFault(error)) throw error;
    output.warn(`nothing can be made quiet: ${error.message}`);
    return {
      work: (kind, task, given) => (isQuietKind(kind) ? Promise.reject(error) : host.work(kind, task, given)),
      close: () => Promise.resolve(),
    };
  }
}

function thisNode({ node }: Host): RunNode {
  const { nodeId: id, hostname, role } = node;
  return { id, hostname, role, availability: "active", state: "ready", address: "" };
}

async function choosePolicy(
  { opened, seedPolicy, volumes }: StandaloneRun,
  session: Session,
): Promise<{ policy: Policy; version: number | null }> {
  const reading = { signal: session.signal, onFault: warnOfForeign(session) };
  const stored = await readStoredPolicy(opened.catalogue, reading);
  const policy = stored?.policy ?? (await seedPolicy());
  if (volumes === null) return { policy, version: stored?.version ?? null };
  const select = { ...policy.select, volumes: { include: [...volumes], exclude: [] } };
  return { policy: { ...policy, select }, version: null };
}

/** In a run's order: Raft and definitions first, then what the node has, then its volumes: those that are quiet together, and the others one by one. */
async function takeParts(
  desk: JobDesk,
  host: Host & { keep: Work },
  { runId, policy, absentPacks }: { runId: string; policy: Policy; absentPacks: string[] },
  { signal, output }: Session,
): Promise<RunOutcomes> {
  const { nodeId, hostname, role } = host.node;
  const isManager = role === "manager";
  const raft = isManager
    ? await desk.work({ kind: "raft", name: "raft", hostname }, (given) =>
        host.work("raft", { kind: "raft", runId }, given),
      )
    : null;
  const definitions = isManager
    ? await desk.work({ kind: "definitions", name: "definitions", hostname }, (given) =>
        host.work("definitions", { kind: "definitions", runId }, given),
      )
    : null;
  const facts = await desk.work({ kind: "node", name: hostname, hostname }, (given) =>
    host.work("node", { kind: "node", runId }, given),
  );
  let volumes = new Map<string, Outcome<Part>>();
  if (facts.state === "done") {
    const swarm = definitions?.state === "done" ? definitions.result : null;
    const sources = definitions === null ? { ...noWords, rules: policy.volumes } : wordSources(policy.volumes, swarm);
    const { jobs: planned } = planVolumes(new Map([[nodeId, facts.result]]), policy.select.volumes, sources);
    const jobs = new Map(planned.map((job) => [childId(runId, "volume", nodeId, job.volume.name), job]));
    const units = planUnits(runId, jobs);
    for (const job of jobs.values()) desk.announce(labelOf(job));
    const takeVolume = async (id: string, unitId: string | null, onRead: () => void): Promise<Outcome<Part>> => {
      const job = jobs.get(id) as VolumeJob;
      const all = { runId, maxBytesPerSecond: jobBytesPerSecond(policy.limits, 1, 1), absentPacks };
      const task = volumeTask(job, unitId, policy.select.excludePaths, all);
      const outcome = await desk.work<{ part: Part }>(labelOf(job), (given) => {
        const onProgress = (progress: JobProgress): void => {
          if (isRead(progress)) onRead();
          given.onProgress?.(progress);
        };
        const telling = { ...given, onProgress };
        return task.kind === "dump" ? host.keep("dump", task, telling) : host.keep("volume", task, telling);
      });
      return partOf(outcome);
    };
    const taken = new Map<string, Outcome<Part>>();
    const sharedVolumes = [...jobs.values()].filter(({ isShared }) => isShared).map(({ volume }) => volume.name);
    const { excludePaths } = policy.select;
    const tools = { nodeId, isManager, sharedVolumes, work: host.keep, signal, excludePaths, warn: output.warn };
    const opens: OpenChild[] = [];
    for (const unit of units) {
      const taking = new UnitTaking({
        ...tools,
        quietMs: policy.limits.quietMinutes * 60_000,
        takeVolume: (id, onRead) => takeVolume(id, unit.id, onRead),
      });
      await taking.take(unit);
      opens.push(taking.open);
      for (const [id, outcome] of taking.volumes) taken.set(id, outcome);
    }
    for (const id of jobs.keys()) if (!taken.has(id)) taken.set(id, await takeVolume(id, null, () => undefined));
    const open: OpenChild = (id, kind, of) =>
      opens.map((each) => each(id, kind, of)).find((each) => each !== null) ?? null;
    volumes = layQuiet(units, jobs, taken, open);
    if (!isManager)
      for (const [id, outcome] of volumes) volumes.set(id, servicesRan(outcome, jobs.get(id) as VolumeJob));
  }
  return {
    raft: raft === null ? null : partOf(raft),
    definitions,
    nodes: new Map([[nodeId, { hostname, outcome: facts }]]),
    volumes,
  };
}

function labelOf({ volume, words, hostname }: VolumeJob): Label {
  return { kind: words.dump === undefined ? "volume" : "dump", name: `${hostname}/${volume.name}`, hostname };
}

function partOf(outcome: Outcome<{ part: Part }>): Outcome<Part> {
  return outcome.state === "done" ? { state: "done", result: outcome.result.part } : outcome;
}
