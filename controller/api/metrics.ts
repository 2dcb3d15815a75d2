// What Prometheus is told, made anew for each scrape from what the controller knows then: after a restart nothing is
// missing. The only file that names prom-client. docs/OPERATIONS.md lists the metrics.
//
// Names of volumes, services and nodes are labels, so each metric with such has at most `maxSeries` of them, and how
// many were left out is a metric too.
import { Gauge, Registry } from "prom-client";
import type { Part, Run } from "../../shared/repository/run.ts";
import type { Agent, RunSummary } from "./schemas.ts";

export const maxSeries = 1000;

export interface MetricFacts {
  skepVersion: string;
  /** Written runs, newest first. */
  runs: readonly Pick<
    RunSummary,
    "status" | "startedAt" | "endedAt" | "parts" | "notCovered" | "sourceBytes" | "storedBytes"
  >[];
  newest: Pick<Run, "parts"> | null;
  successes: readonly { kind: Part["kind"]; name: string; at: number }[];
  agents: readonly (Pick<Agent, "hostname" | "state" | "lastSeenAt"> & { silent: boolean })[];
  /** Null while Redis is away. */
  queue: {
    runsOpen: number;
    jobs: Readonly<Record<"waiting" | "running", number>>;
    /** Of the jobs that run: plain bytes that they have read or restored so far. */
    doneBytes: number;
  } | null;
}

type Series = readonly [labels: Readonly<Record<string, string>>, value: number];

export const metricsContentType = Registry.PROMETHEUS_CONTENT_TYPE;

/** In the text format of Prometheus. */
export async function renderMetrics(facts: MetricFacts): Promise<string> {
  const registry = new Registry();
  const leftOut: Series[] = [];
  const gauge = (name: string, help: string, labelNames: readonly string[], series: readonly Series[]): void => {
    // A gauge without labels and without a value would tell a zero.
    if (series.length === 0 && labelNames.length === 0) return;
    const made = new Gauge({ name, help, labelNames, registers: [registry] });
    for (const [labels, value] of series.slice(0, maxSeries)) made.set(labels, value);
    if (series.length > maxSeries) leftOut.push([{ metric: name }, series.length - maxSeries]);
  };
  const one = (name: string, help: string, value: number | undefined): void => {
    gauge(name, help, [], value === undefined ? [] : [[{}, value]]);
  };
  gauge("skep_build_info", "Version of the controller.", ["version"], [[{ version: facts.skepVersion }, 1]]);
  addRuns(facts, gauge, one);
  const successes = facts.successes.filter(({ kind }) => kind !== "raft");
  one(
    "skep_raft_last_success_timestamp_seconds",
    "When the Raft state was last taken and proven.",
    facts.successes.filter(({ kind }) => kind === "raft").map(({ at }) => at / 1000)[0],
  );
  gauge(
    "skep_volume_last_success_timestamp_seconds",
    "When the volume was last taken whole, by itself or as a dump.",
    ["volume", "kind"],
    successes.map(({ kind, name, at }) => [{ volume: name, kind }, at / 1000]),
  );
  gauge(
    "skep_quiet_seconds",
    "How long a service or container stood still for the newest run.",
    ["name", "how"],
    quietOf(facts.newest?.parts ?? []),
  );
  addAgents(facts, gauge);
  one("skep_redis_up", "Whether Redis answers the controller.", facts.queue === null ? 0 : 1);
  gauge(
    "skep_jobs",
    "Jobs of open runs and restores, by state.",
    ["state"],
    Object.entries(facts.queue?.jobs ?? {}).map(([state, count]) => [{ state }, count]),
  );
  one(
    "skep_jobs_done_bytes",
    "Plain bytes that the jobs that run now have read or restored so far.",
    facts.queue?.doneBytes,
  );
  one("skep_runs_open", "Runs that have begun and are not written yet.", facts.queue?.runsOpen);
  gauge("skep_series_left_out", "Series of a metric beyond the thousandth, which are not told.", ["metric"], leftOut);
  return await registry.metrics();
}

type AddGauge = (name: string, help: string, labelNames: readonly string[], series: readonly Series[]) => void;

function addRuns(
  { runs }: MetricFacts,
  gauge: AddGauge,
  one: (name: string, help: string, value?: number) => void,
): void {
  const statuses = ["done", "partial", "failed"] as const;
  gauge(
    "skep_runs",
    "Written runs that the controller lists (the newest thousand), by status.",
    ["status"],
    statuses.map((status) => [{ status }, runs.filter((run) => run.status === status).length]),
  );
  gauge(
    "skep_last_run_timestamp_seconds",
    "End of the newest run of each status.",
    ["status"],
    statuses.flatMap((status) => {
      const endedAt = runs.find((run) => run.status === status)?.endedAt;
      return endedAt == null ? [] : [[{ status }, Date.parse(endedAt) / 1000] satisfies Series];
    }),
  );
  const newest = runs[0];
  const seconds =
    newest?.endedAt == null ? undefined : (Date.parse(newest.endedAt) - Date.parse(newest.startedAt)) / 1000;
  one("skep_run_duration_seconds", "Of the newest run.", seconds);
  one(
    "skep_run_source_bytes",
    "Plain bytes of all parts of the newest run, as they would be restored.",
    newest?.sourceBytes,
  );
  one("skep_run_stored_bytes", "Bytes that the newest run put into the store.", newest?.storedBytes);
  one("skep_run_not_covered", "What the newest run left out.", newest?.notCovered);
  gauge(
    "skep_run_parts",
    "Parts of the newest run, by status.",
    ["status"],
    newest === undefined ? [] : statuses.map((status) => [{ status }, newest.parts[status]]),
  );
}

function addAgents({ agents }: MetricFacts, gauge: AddGauge): void {
  const states = ["heard", "silent", "waiting"] as const;
  const stateOf = ({ state, silent }: MetricFacts["agents"][number]): (typeof states)[number] =>
    state === "waiting" ? "waiting" : silent ? "silent" : "heard";
  gauge(
    "skep_agents",
    "Agents that are enrolled and heard, enrolled and silent, or wait for approval.",
    ["state"],
    states.map((state) => [{ state }, agents.filter((agent) => stateOf(agent) === state).length]),
  );
  gauge(
    "skep_agent_last_seen_timestamp_seconds",
    "When the agent was last heard by this controller.",
    ["hostname"],
    agents.flatMap(({ hostname, lastSeenAt }) =>
      lastSeenAt === null ? [] : [[{ hostname }, Date.parse(lastSeenAt) / 1000] satisfies Series],
    ),
  );
}

/** The longest of each name: a unit's parts all tell of it. */
function quietOf(parts: readonly Pick<Part, "quiet">[]): Series[] {
  const longest = new Map<string, Series>();
  for (const { name, how, quietMs } of parts.flatMap(({ quiet = [] }) => quiet)) {
    const key = `${how} ${name}`;
    if (quietMs / 1000 >= (longest.get(key)?.[1] ?? 0)) longest.set(key, [{ name, how }, quietMs / 1000]);
  }
  return [...longest.values()];
}
