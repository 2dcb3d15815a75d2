// What is told to Prometheus, gathered from what the controller knows. Redis may be away: then its part is not there.
import { SkepError } from "../shared/errors.ts";
import { skepVersion } from "../shared/version.ts";
import type { Agents } from "./agents.ts";
import type { MetricFacts } from "./api/metrics.ts";
import type { Agent } from "./api/schemas.ts";
import { dataOf } from "./runs.ts";
import type { JobQueue } from "./queue.ts";
import type { RunBook } from "./run-book.ts";

/** As long as a missing heartbeat makes an agent's jobs be given up by default, ms. */
const silentMs = 90_000;

export async function gatherMetrics(sources: {
  book: RunBook;
  queue: JobQueue;
  agents: Agents;
  listed: readonly Agent[];
}): Promise<MetricFacts> {
  const { book, queue, agents, listed } = sources;
  return {
    skepVersion,
    runs: book.summaries,
    newest: await book.run("latest"),
    successes: book.successes.list(),
    agents: listed.map(({ nodeId, hostname, state, lastSeenAt }) => {
      return { hostname, state, lastSeenAt, silent: lastSeenAt === null || agents.silentMs(nodeId) >= silentMs };
    }),
    queue: await queueFacts(queue),
  };
}

async function queueFacts(queue: JobQueue): Promise<MetricFacts["queue"]> {
  try {
    await queue.reach();
  } catch (error) {
    if (error instanceof SkepError && error.code === "SKEP_QUEUE_UNREACHABLE") return null;
    throw error;
  }
  const jobs = { waiting: 0, running: 0 };
  let doneBytes = 0;
  const flows = await queue.openFlows();
  for (const { id } of flows) {
    for (const { state, progress } of await queue.children(await queue.pending(id))) {
      jobs[state === "active" ? "running" : "waiting"]++;
      if (state === "active") doneBytes += progress?.doneBytes ?? 0;
    }
  }
  return { runsOpen: flows.filter((flow) => dataOf(flow) !== null).length, jobs, doneBytes };
}
