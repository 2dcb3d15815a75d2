// A restore on a living swarm. The controller passes the jobs on, and could read no key: the agent makes a one-time
// recipient, proves with its MAC that it is its own, and what the identity opens is encrypted to that recipient.
import { openResult } from "../../shared/contract/signed-job.ts";
import type { ContainerCommand, RestoreKeys } from "../../shared/contract/job.ts";
import type { TaskResultOf } from "../../shared/contract/task-result.ts";
import { fromErrorRecord, SkepError } from "../../shared/errors.ts";
import { encryptAge } from "../../shared/repository/age.ts";
import { collectRestoreKeys } from "../../shared/repository/open/file-keys.ts";
import type { Operator } from "../../shared/repository/open/operator.ts";
import type { StoreCredentials } from "../../shared/store/location.ts";
import {
  agentsSchema,
  restoreSchema,
  restoreStartedSchema,
  type Agent,
  type Restore,
  type StartRestore,
} from "../api/schemas.ts";
import { loadOf } from "../restore-order.ts";
import { accessApi, readCredentials as readCredentialsFile } from "./access.ts";
import type { ApiClient } from "./api-client.ts";
import { withOperator, type OpenedCatalogue } from "./catalogue-access.ts";
import { passingOver } from "./run-address.ts";
import type { RestorePlanDocument } from "./restore-documents.ts";
import type { EndOptions, RestoreOptions } from "./restore-options.ts";
import { agree } from "./confirm.ts";
import { exitCodes, type ExitCode } from "./exit-code.ts";
import * as format from "./format.ts";
import { followRestore } from "./follow.ts";
import { findNode } from "./nodes.ts";
import { reportEnd, reportInPlace, reportRestore } from "./restore-report.ts";
import {
  findSnapshot,
  planDocument,
  refuseWhileUsed,
  renderPlan,
  restoreQuestion,
  type ChosenOfSnapshot,
  type Snapshot,
  type VolumeAddress,
} from "./restore-plan.ts";
import type { Session } from "./session.ts";
import type { HostOptions } from "./standalone/host.ts";

export async function restoreInSwarm(
  session: Session,
  options: RestoreOptions,
  address: VolumeAddress,
): Promise<ExitCode> {
  return await withOperator(session, options, async (opened) => {
    const snapshot = await snapshotOf(session, opened, options, address);
    return await restoreSnapshot(session, options, { opened, snapshot, chosen: null });
  });
}

/** Of the volume, or what is chosen of it, as --to-node and --as say. */
export async function restoreSnapshot(
  session: Session,
  options: Omit<RestoreOptions, "run" | keyof HostOptions>,
  given: Pick<Wanted, "opened" | "snapshot" | "chosen">,
): Promise<ExitCode> {
  const { output, signal } = session;
  const api = await accessApi(options);
  const readCredentials =
    options.readCredentials === undefined ? undefined : await readCredentialsFile(options.readCredentials);
  const { agents } = await api.call({ path: "/v1/agents", schema: agentsSchema }, signal);
  const { snapshot, chosen } = given;
  const { volume } = snapshot.part;
  const target = targetNode(agents, options.toNode, snapshot);
  const wish = {
    ...{ targetName: options.as ?? volume.name, stop: options.stop ?? false, loadInto: options.loadInto },
    isOfFiles: chosen !== null,
  };
  const wanted = { ...given, target, ...wish, load: loadOf(snapshot.part, volume.name, wish), readCredentials };
  for (let time = 1; ; time++) {
    try {
      return await restoreOnce(session, api, wanted, time > 1 || options.yes === true);
    } catch (error) {
      const begunAnew = error instanceof SkepError && error.code === "SKEP_RESTORE_KEYS_GONE" && time < mostTimes;
      if (!begunAnew) throw error;
      output.warn(`the agent of ${target.hostname} was restarted, and its one-time key went with it: beginning anew`);
    }
  }
}

/** An agent that was killed takes back what it had begun. One that is killed each time has another fault. */
const mostTimes = 3;

interface Wanted {
  opened: OpenedCatalogue & { operator: Operator };
  snapshot: Snapshot;
  target: Agent;
  targetName: string;
  stop: boolean;
  loadInto: string | undefined;
  /** Of a dump that goes back into its server. */
  load: ContainerCommand | null;
  readCredentials: StoreCredentials | undefined;
  /** Null: all of it, in the volume's place. */
  chosen: ChosenOfSnapshot | null;
}

/** `agreed`: the operator was asked before. Throws the restore's own error, and SKEP_RESTORE_KEYS_GONE where its agent was restarted. */
async function restoreOnce(session: Session, api: ApiClient, wanted: Wanted, agreed: boolean): Promise<ExitCode> {
  const { output, signal } = session;
  const { opened, snapshot, target, targetName, stop, load, readCredentials, chosen } = wanted;
  const restoreId = await begin(session, api, wanted);
  let plan: RestorePlanDocument;
  try {
    const prepared = await waitUntilPrepared(session, api, opened.operator, restoreId, target);
    plan = planDocument(snapshot, { ...target, targetName }, prepared, { stop, load, chosen });
    output.say(renderPlan(output.styleWords, plan, Date.now()));
    if (chosen === null) refuseWhileUsed(prepared, targetName, stop);
    if (!(await agree(session, agreed, restoreQuestion(plan)))) {
      await drop(session, api, restoreId);
      return reportRestore(output, restoreId, plan, null, "");
    }
    const keys = await collectRestoreKeys(opened.store, opened.operator, snapshot.part, signal);
    const handed: RestoreKeys = { ...keys, ...(readCredentials !== undefined && { readCredentials }) };
    const sealed = await encryptAge(Buffer.from(JSON.stringify(handed), "utf8"), [prepared.recipient]);
    const body = { sealedKeys: Buffer.from(sealed).toString("base64") };
    await api.call({ method: "POST", path: `/v1/restores/${restoreId}/keys`, body, schema: restoreSchema }, signal);
  } catch (error) {
    await drop(session, api, restoreId);
    throw error;
  }
  const under = { title: `Restore ${restoreId}`, states: ["prepared", "restoring"] as const };
  const ended = await followRestore(session, api, restoreId, under);
  if (ended.state === "done" && ended.result === undefined) return reportInPlace(output, restoreId, plan, ended.error);
  const result = resultOf(ended, load === null ? "restore-volume" : "restore-load");
  const exitCode = reportRestore(output, restoreId, plan, result, "");
  if (ended.error === undefined) return exitCode;
  // The volume is in place; what was held could not be released.
  output.warn(format.visible(ended.error.message));
  return exitCodes.partial;
}

/** Ends a restore that has no keys yet, so that it stands in the way of no other; it would end by itself later. */
async function drop({ output }: Session, api: ApiClient, restoreId: string): Promise<void> {
  const call = { method: "POST", path: `/v1/restores/${restoreId}/discard`, body: {}, schema: restoreSchema } as const;
  try {
    await api.call(call);
  } catch (error) {
    // It failed before it was prepared, or the controller is gone: what led here is said by the caller.
    if (!(error instanceof SkepError)) throw error;
    output.say(`restore ${restoreId} was left to end by itself: ${format.visible(error.message)}`);
  }
}

/** The snapshot that was asked for; says so where newer runs had to be passed over. */
export async function snapshotOf(
  session: Session,
  { catalogue }: OpenedCatalogue,
  { run }: Pick<RestoreOptions, "run">,
  address: VolumeAddress,
): Promise<Snapshot> {
  const snapshot = await findSnapshot(catalogue, address, run === "latest" ? null : run, passingOver(session));
  for (const newer of snapshot.passedOver) {
    session.output.warn(`run ${newer.id} is newer, but has no snapshot of ${address.node}/${address.volume}`);
  }
  return snapshot;
}

function targetNode(agents: readonly Agent[], wanted: string | undefined, { part }: Snapshot): Agent {
  if (wanted !== undefined) return findNode(agents, wanted);
  const same = agents.find(({ nodeId }) => nodeId === part.nodeId);
  if (same !== undefined) return same;
  throw new SkepError({
    code: "SKEP_CLI_NODE_UNKNOWN",
    message: `node ${part.hostname} (${part.nodeId}), on which the volume was taken, has no agent now`,
    permanent: true,
    hint: "name the node to restore to with --to-node; `skep agents` lists them",
  });
}

async function begin(
  { signal }: Session,
  api: ApiClient,
  { snapshot: { run, part }, target, targetName, stop, loadInto, chosen }: Wanted,
): Promise<string> {
  const body = {
    runId: run.id,
    nodeId: part.nodeId,
    volume: part.volume.name,
    toNodeId: target.nodeId,
    targetName,
    stop,
    ...(loadInto === undefined ? {} : { loadInto }),
    ...(chosen !== null && { files: filesOf(chosen) }),
  };
  const call = { method: "POST", path: "/v1/restores", body, schema: restoreStartedSchema } as const;
  return (await api.call(call, signal)).restoreId;
}

export function filesOf({ paths, existing }: ChosenOfSnapshot): NonNullable<StartRestore["files"]> {
  return {
    paths: paths.map(({ path }) => path.toString("base64")),
    existing,
    sourceBytes: paths.reduce((sum, { sourceBytes }) => sum + sourceBytes, 0),
  };
}

/** What the agent found, once it is certain that this agent said so. Throws SKEP_RESULT_INVALID. */
async function waitUntilPrepared(
  session: Session,
  api: ApiClient,
  operator: Operator,
  restoreId: string,
  target: Agent,
): Promise<TaskResultOf<"restore-prepare">> {
  const under = { title: `Restore ${restoreId}: asking ${target.hostname}`, states: ["preparing"] as const };
  const { prepared, error } = await followRestore(session, api, restoreId, under);
  if (prepared === undefined) throw error === undefined ? unexpected(restoreId) : failureOf(error);
  const { jobId, sealedResult } = prepared;
  const opened = openResult(sealedResult, jobId, (writerId) => operator.writerKeys(writerId).result);
  if (opened.writerId !== target.nodeId || opened.result.kind !== "restore-prepare") throw unexpected(restoreId);
  return opened.result;
}

/** Throws the restore's own error where it has no result. */
function resultOf<K extends "restore-volume" | "restore-load" | "restore-undo" | "restore-discard">(
  restore: Restore,
  kind: K,
): TaskResultOf<K> {
  if (restore.result?.kind === kind) return restore.result as TaskResultOf<K>;
  throw restore.error === undefined ? unexpected(restore.restoreId) : failureOf(restore.error);
}

function failureOf({ hint, ...record }: NonNullable<Restore["error"]>): SkepError {
  return fromErrorRecord(hint === undefined ? record : { ...record, hint });
}

function unexpected(restoreId: string): SkepError {
  return new SkepError({
    code: "SKEP_API_ANSWER_INVALID",
    message: `restore ${restoreId} ended without a result of the node that it was for`,
    permanent: true,
    hint: "are the CLI and the controller of one version? `skep version` shows both",
  });
}

const endStates = {
  undo: { under: "undoing", ended: "undone" },
  discard: { under: "discarding", ended: "discarded" },
} as const;

export async function endRestore(
  session: Session,
  options: EndOptions,
  restoreId: string,
  what: "undo" | "discard",
): Promise<ExitCode> {
  const { output, signal } = session;
  const api = await accessApi(options);
  const before = await api.call({ path: `/v1/restores/${restoreId}`, schema: restoreSchema }, signal);
  const volume = before.targetName;
  if (!(await agree(session, options.yes ?? false, endQuestion(what, `volume ${volume}`)))) {
    output.say("nothing was changed");
    return exitCodes.done;
  }
  await api.call(
    { method: "POST", path: `/v1/restores/${restoreId}/${what}`, body: {}, schema: restoreSchema },
    signal,
  );
  const under = {
    title: `Restore ${restoreId}: ${endStates[what].under}`,
    states: [endStates[what].under],
  };
  const ended = await followRestore(session, api, restoreId, under);
  const state = endStates[what].ended;
  if (what === "undo") {
    resultOf(ended, "restore-undo");
    return reportEnd(output, { restoreId, volume, state, freedBytes: null });
  }
  const { freedBytes } = resultOf(ended, "restore-discard");
  return reportEnd(output, { restoreId, volume, state, freedBytes });
}

export function endQuestion(what: "undo" | "discard", subject: string): string {
  return what === "undo"
    ? `Put ${subject} back as it was, and drop what was restored?`
    : `Remove for good what ${subject} was before?`;
}
