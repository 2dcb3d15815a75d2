// What stands in the way of a backup, as the controller sees it: findings for `skep doctor`. An error means that
// runs fail or are not safe; each says what to do.
import { randomBytes } from "node:crypto";
import { toErrorRecord } from "../shared/errors.ts";
import type { Agents } from "./agents.ts";
import type { Finding } from "./api/schemas.ts";
import type { Enrolments } from "./enrolments.ts";
import type { Policies } from "./policies.ts";
import type { JobQueue } from "./queue.ts";
import type { Repository } from "./repository.ts";
import type { ForeignObjects } from "../shared/repository/foreign.ts";
import type { Run } from "../shared/repository/run.ts";
import type { RunBook } from "./run-book.ts";

export interface Examined {
  repository: Repository;
  agents: Agents;
  enrolments: Enrolments;
  policies: Policies;
  book: RunBook;
  queue: JobQueue;
}

/** Beyond this, retention and expiry would go by wrong times, ms. */
const clockSkewMs = 60_000;

/** `now` in ms since 1970. */
export async function examine(examined: Examined, now: number): Promise<Finding[]> {
  const groups = await Promise.all([store(examined.repository, now), queueAndAgents(examined), runs(examined)]);
  return [...groups.flat(), ...policy(examined.policies), ...foreign(examined.repository.foreign)];
}

async function store(repository: Repository, now: number): Promise<Finding[]> {
  const { address } = repository.store;
  try {
    const abilities = await repository.store.probe();
    const findings: Finding[] = [ok("SKEP_STORE_REACHED", `${address} can be read and written`)];
    if (!abilities.conditionalWrites) {
      const message = `${address} has no proven conditional writes: two controllers could write the same run`;
      findings.push(warning("SKEP_STORE_NO_CONDITIONAL_WRITES", message, "let one controller alone write there"));
    }
    if (abilities.destroys) {
      const message = `whoever has the controller's credentials for ${address} could destroy backups`;
      const hint = "turn versions or object lock on for the bucket; give agents credentials that may only create";
      findings.push(warning("SKEP_STORE_NOT_PROTECTED", message, hint));
    }
    findings.push(await clock(repository, now));
    return findings;
  } catch (thrown) {
    const { code, message, hint } = toErrorRecord(thrown);
    return [error(code, message, hint ?? "see docs/STORES.md")];
  }
}

/** The store's clock counts for retention: compared by an object written just now. */
async function clock({ store }: Repository, now: number): Promise<Finding> {
  const key = `probe/clock-${randomBytes(16).toString("hex")}`;
  const beganAt = performance.now();
  await store.put(key, Buffer.from("clock"));
  const info = await store.head(key);
  await store.delete([key]);
  const elapsedMs = performance.now() - beganAt;
  const skewMs = info === null ? 0 : Date.parse(info.storedAt) - now;
  if (skewMs > -clockSkewMs && skewMs < clockSkewMs + elapsedMs) return ok("SKEP_CLOCK", "clock and store agree");
  const message = `the store's clock differs by ${Math.round(skewMs / 1000)} s from the controller's`;
  return error("SKEP_CLOCK_SKEW", message, "let the nodes keep their time by NTP");
}

/** Agents are heard through Redis: without it nothing is known of them. */
async function queueAndAgents(examined: Examined): Promise<Finding[]> {
  try {
    await examined.queue.reach();
  } catch (thrown) {
    const { code, message, hint } = toErrorRecord(thrown);
    return [error(code, message, hint ?? "start Redis")];
  }
  return [...(await redis(examined.queue)), ...(await agents(examined))];
}

async function redis(queue: JobQueue): Promise<Finding[]> {
  const { maxmemoryPolicy, appendOnly } = await queue.side.serverSettings();
  const findings: Finding[] = [];
  if (maxmemoryPolicy !== "noeviction") {
    const message = `Redis has maxmemory-policy ${maxmemoryPolicy ?? "unknown"}: jobs could be evicted`;
    findings.push(error("SKEP_REDIS_EVICTS", message, "set maxmemory-policy noeviction, as deploy/redis.conf does"));
  }
  if (appendOnly !== "yes") {
    const message = "Redis keeps no append-only file: a restart of it ends the runs under way";
    findings.push(warning("SKEP_REDIS_FORGETS", message, "set appendonly yes, as deploy/redis.conf does"));
  }
  return findings.length > 0 ? findings : [ok("SKEP_REDIS", "Redis keeps its jobs")];
}

/** An agent that was heard within this time is there. */
const presentMs = 30_000;

async function agents({ agents: known, enrolments, book }: Examined): Promise<Finding[]> {
  const findings: Finding[] = [];
  const present = known.presences().filter(({ silentMs }) => silentMs < presentMs);
  const last = await book.run("latest");
  const managers = present.filter(({ nodeId }) => known.last(nodeId)?.heartbeat.role === "manager");
  if (managers.length === 0) {
    const message = "no manager has an agent: no run will have its Raft part";
    const hint = "drained managers run no global task: start `skep agent run` there, see docs/OPERATIONS.md";
    findings.push(error("SKEP_AGENT_NO_MANAGER", message, hint));
  }
  for (const { id, hostname, state } of last?.nodes ?? []) {
    if (state === "down" || present.some(({ nodeId }) => nodeId === id)) continue;
    const message = `node ${hostname} (${id}) has no agent: its volumes are not covered`;
    findings.push(warning("SKEP_AGENT_MISSING", message, "`docker service ps skep_agent` tells why it does not run"));
  }
  // What lies in the swarm each of its managers sees.
  const troubled = new Map<string, string[]>();
  for (const { nodeId, hostname } of present) {
    for (const problem of known.last(nodeId)?.heartbeat.problems ?? [])
      troubled.set(problem, [...(troubled.get(problem) ?? []), hostname]);
  }
  for (const [problem, hostnames] of troubled)
    findings.push(error("SKEP_AGENT_PROBLEM", `${hostnames.join(", ")}: ${problem}`, "put it right on that node"));
  for (const [nodeId, { request }] of enrolments.waiting) {
    const message = `the agent of ${request.hostname} (${nodeId}) has another key than the one enrolled, and gets no job`;
    findings.push(
      error("SKEP_ENROLMENT_CHANGED", message, `\`skep agents approve ${request.hostname}\`, if that is right`),
    );
  }
  if (findings.length > 0) return findings;
  return [ok("SKEP_AGENTS", `${present.length} agents are there, ${managers.length} of them on managers`)];
}

function policy(policies: Policies): Finding[] {
  const findings: Finding[] = [];
  if (policies.seedFault !== null) {
    const { code, message, hint } = policies.seedFault;
    findings.push(error(code, message, hint ?? "correct skep.yaml, and deploy again"));
  }
  if (policies.doubt !== null) {
    const { code, message, hint } = policies.doubt;
    findings.push(error(code, message, hint ?? "`skep policy set FILE`"));
  }
  if (policies.inForce === null) {
    findings.push(error("SKEP_POLICY_MISSING", "there is no policy", "`skep policy set FILE`"));
  } else if (policies.inForce.policy.schedules.length === 0) {
    const message = "the policy has no schedule: runs are made by command only";
    findings.push(warning("SKEP_POLICY_NO_SCHEDULE", message, "add one; see docs/POLICY.md"));
  }
  return findings.length > 0 ? findings : [ok("SKEP_POLICY", "the policy is valid")];
}

/** Nothing of it counts; but whoever put it may write to the store, and no agent of ours did. */
function foreign(objects: ForeignObjects): Finding[] {
  const hint = "check who can write to the store; what to do about it: docs/OPERATIONS.md";
  const findings = [...objects].map(({ key, fault: { code, message } }) =>
    error(code, `what lies at ${key} now does not count: ${message}`, hint),
  );
  const last = findings.at(-1);
  if (last === undefined || objects.leftOut === 0) return findings;
  const more = "more objects do not count, which are not named here: `skep check` counts them";
  return [...findings, error(last.code, more, hint)];
}

/** Only where the policy asks for locks. A run has until the next look of the controller to get its own. */
function locks(last: Run | null, { protection }: RunBook, lockDays: number | undefined): Finding[] {
  if (lockDays === undefined || last === null) return [];
  const hint = "docs/STORES.md, Object lock: what bucket and credentials need; it is tried again every ten minutes";
  const fault = protection?.fault ?? protection?.runs.find((run) => run.fault !== null)?.fault ?? null;
  if (fault !== null) {
    return [error("SKEP_RUN_NOT_PROTECTED", `locks do not cover every run: ${fault.code}: ${fault.message}`, hint)];
  }
  const covered = protection?.runs.find(({ id }) => id === last.id)?.until;
  if (covered == null) {
    return [warning("SKEP_RUN_NOT_PROTECTED", `the last run, ${last.id}, is not locked yet`, hint)];
  }
  return [ok("SKEP_RUNS_PROTECTED", `every kept run is locked, the last until ${covered}`)];
}

async function runs({ book, policies }: Examined): Promise<Finding[]> {
  const findings = [...book.faults].map(([key, { code, message, hint }]) =>
    error(code, `${key}: ${message}`, hint ?? "check who can write to the store"),
  );
  findings.push(...foreign(book.foreign));
  const last = await book.run("latest");
  if (last === null) {
    findings.push(warning("SKEP_RUN_NONE", "no run was made yet", "`skep backup --wait`"));
  } else if (last.status !== "done") {
    const message = `the last run, ${last.id}, is ${last.status}`;
    findings.push(warning("SKEP_RUN_NOT_DONE", message, `\`skep show ${last.id}\` says why`));
  }
  findings.push(...locks(last, book, policies.inForce?.policy.retention.lockDays));
  if (findings.some(({ level }) => level !== "ok")) return findings;
  return [...findings, ok("SKEP_RUNS", `the last run, ${last?.id ?? ""}, is done`)];
}

function ok(code: string, message: string): Finding {
  return { level: "ok", code, message };
}
function warning(code: string, message: string, hint: string): Finding {
  return { level: "warning", code, message, hint };
}
function error(code: string, message: string, hint: string): Finding {
  return { level: "error", code, message, hint };
}
