// A run without controller and Redis: this machine's jobs one after the other, then the run object, signed with the
// kit's controller key. On a swarm manager Raft state and definitions are part of it; elsewhere they can't be.
import { maxAbsentPacks } from "../../../shared/contract/job.ts";
import type { ControllerKey } from "../../../shared/repository/controller-key.ts";
import { newestUpkeep } from "../../../shared/repository/chain.ts";
import { newRunId } from "../../../shared/repository/layout.ts";
import { absentPacksOf } from "../../../shared/repository/upkeep/absent-packs.ts";
import { appendRun } from "../../../shared/repository/run-chain.ts";
import type { Part, Run, RunNode } from "../../../shared/repository/run.ts";
import { skepVersion } from "../../../shared/version.ts";
import { volumeTask } from "../../quiet-units.ts";
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
import { catalogueKeysOf, type OpenedCatalogue } from "../catalogue-access.ts";
import type { Session } from "../session.ts";
import { JobDesk, type Label } from "./desk.ts";
import type { Host } from "./host.ts";

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
  const { policy, version } = await choosePolicy(wanted, session.signal);
  const desk = new JobDesk(session, host.node.nodeId, `Run ${runId} on ${host.node.hostname}`);
  let outcomes: RunOutcomes;
  try {
    const upkeep = await newestUpkeep(opened.catalogue, session.signal);
    const absentPacks = absentPacksOf(upkeep, host.node.nodeId, maxAbsentPacks);
    outcomes = await takeParts(desk, host, { runId, policy, absentPacks });
  } finally {
    desk.close();
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
    append: (run, options) => appendRun(store, controllerKey, repository.incarnation, run, { ...options, signal }),
  });
}

function thisNode({ node }: Host): RunNode {
  const { nodeId: id, hostname, role } = node;
  return { id, hostname, role, availability: "active", state: "ready", address: "" };
}

async function choosePolicy(
  { opened, seedPolicy, volumes }: StandaloneRun,
  signal: AbortSignal,
): Promise<{ policy: Policy; version: number | null }> {
  const stored = await readStoredPolicy(opened.catalogue, signal);
  const policy = stored?.policy ?? (await seedPolicy());
  if (volumes === null) return { policy, version: stored?.version ?? null };
  const select = { ...policy.select, volumes: { include: [...volumes], exclude: [] } };
  return { policy: { ...policy, select }, version: null };
}

/** In a run's order: Raft and definitions first, then what the node has, then its volumes. */
async function takeParts(
  desk: JobDesk,
  host: Host,
  { runId, policy, absentPacks }: { runId: string; policy: Policy; absentPacks: string[] },
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
  const volumes = new Map<string, Outcome<Part>>();
  if (facts.state === "done") {
    const services = definitions?.state === "done" ? definitions.result.services : [];
    const sources = { rules: policy.volumes, services };
    const { jobs } = planVolumes(new Map([[nodeId, facts.result]]), policy.select.volumes, sources);
    const labelOf = ({ volume, words }: VolumeJob): Label => {
      return { kind: words.dump === undefined ? "volume" : "dump", name: `${hostname}/${volume.name}`, hostname };
    };
    for (const job of jobs) desk.announce(labelOf(job));
    for (const job of jobs) {
      const all = { runId, maxBytesPerSecond: jobBytesPerSecond(policy.limits, 1, 1), absentPacks };
      const task = volumeTask(job, null, policy.select.excludePaths, all);
      const outcome = await desk.work<{ part: Part }>(labelOf(job), (given) => {
        return task.kind === "dump" ? host.work("dump", task, given) : host.work("volume", task, given);
      });
      volumes.set(childId(runId, "volume", nodeId, job.volume.name), asItWas(partOf(outcome), job));
    }
  }
  return {
    raft: raft === null ? null : partOf(raft),
    definitions,
    nodes: new Map([[nodeId, { hostname, outcome: facts }]]),
    volumes,
  };
}

/** Making a volume quiet wants an agent that goes on when this process is killed. So it is said that it was not. */
function asItWas(outcome: Outcome<Part>, { words, faults }: VolumeJob): Outcome<Part> {
  const { quiesce = "none", hook, dump, group } = words;
  // A dump is of a running container, and consistent by itself.
  const isWanted = hook !== undefined || (dump === undefined && (quiesce !== "none" || group !== undefined));
  if (outcome.state === "failed" || outcome.result.status !== "done" || (!isWanted && faults.length === 0))
    return outcome;
  const message = isWanted
    ? "it was taken as it was: a standalone run stops and pauses nothing, and runs no hook"
    : `it was taken without the words that were not understood: ${faults.join("; ")}`.slice(0, 16_384);
  const error = {
    ...{
      code: isWanted ? ("SKEP_QUIET_STANDALONE" as const) : ("SKEP_LABEL_INVALID" as const),
      message,
      permanent: true,
    },
    hint: isWanted ? "stop what uses it before, or say skep.quiesce=none" : "docs/CONSISTENCY.md tells the words",
  };
  return { state: "done", result: { ...outcome.result, status: "partial", error } };
}

function partOf(outcome: Outcome<{ part: Part }>): Outcome<Part> {
  return outcome.state === "done" ? { state: "done", result: outcome.result.part } : outcome;
}
