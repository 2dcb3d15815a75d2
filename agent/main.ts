// The agent's daemon: one on each node. It enrols, takes the jobs of its node's queue, and on a manager also those of
// the managers' queue; releases overdue holds; and is told to stop by SIGTERM.
import { chmod, mkdir } from "node:fs/promises";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { decodeClusterFile } from "../shared/contract/cluster-file.ts";
import { fingerprintOf, queueNames } from "../shared/contract/queues.ts";
import { runDaemon } from "../shared/daemon.ts";
import { SkepError, toErrorRecord } from "../shared/errors.ts";
import type { Logger } from "../shared/log.ts";
import { readSettings, type Settings } from "../shared/settings.ts";
import { decodeCredentials, parseLocation } from "../shared/store/location.ts";
import { openStore } from "../shared/store/open.ts";
import { skepVersion } from "../shared/version.ts";
import { connectDocker, type Docker } from "./docker.ts";
import { Enrolment } from "./enrolment.ts";
import { executeJob } from "./execute.ts";
import { startHeartbeat } from "./heartbeat.ts";
import { reapHelpers } from "./helper-container.ts";
import { JobDesk } from "./job-desk.ts";
import { Journal } from "./journal.ts";
import { Moments } from "./moment/moments.ts";
import { nodeIdentity, type NodeIdentity } from "./node-identity.ts";
import { letGoDue } from "./quiesce/let-go.ts";
import { readPauses } from "./quiesce/pause-record.ts";
import { reconcileHolds } from "./quiesce/reconcile.ts";
import { Watches } from "./quiesce/watches.ts";
import { RestoreKeyring } from "./restore-keys.ts";
import { recoverRestores } from "./restore.ts";
import { agentSettings } from "./settings.ts";
import { nodeProblems } from "./source/node.ts";
import { StandingFaults } from "./standing-faults.ts";
import { readSwaps } from "./volume-swap.ts";
import { askController, onceInAWhile, takeJobs, type JobTaker, type RedisAddress } from "./worker.ts";

const askTimeoutMs = 20_000;
const askAgainMs = 5000;
/** An epoch or a controller key may have changed. */
const renewMs = 10 * 60_000;
/** Refused jobs make an agent ask anew, but no more often than this. */
const leastRenewMs = 4000;
const reconcileMs = 60_000;
const jobsAtOnce = 16;

async function runAgent(settings: Settings<typeof agentSettings>, log: Logger, stop: AbortController): Promise<void> {
  const { SKEP_STATE_DIR: stateDir, SKEP_DOCKER_SOCKET: dockerSocket, SKEP_HOST_ROOT: hostRoot } = settings;
  const cluster = decodeClusterFile(settings.SKEP_CONFIG_FILE, "the cluster file");
  const storeLocation = parseLocation(cluster.store);
  const credentials = decodeCredentials(settings.SKEP_STORE_CREDENTIALS_FILE);
  const redis: RedisAddress = {
    host: settings.SKEP_REDIS_HOST,
    port: Number(settings.SKEP_REDIS_PORT),
    password: settings.SKEP_REDIS_PASSWORD_FILE,
  };
  await mkdir(stateDir, { recursive: true, mode: 0o700 });
  await chmod(stateDir, 0o700);
  using cleanup = new DisposableStack();
  const journal = cleanup.adopt(new Journal(path.join(stateDir, "journal.sqlite")), (opened) => {
    opened.close();
  });
  journal.prune(Date.now());

  const docker = connectDocker(dockerSocket);
  const me: { node: NodeIdentity } = { node: await firstLook(docker, log, stop.signal) };
  const moments = new Moments(journal);
  const watches = new Watches();
  const standing = new StandingFaults();
  await tidyUp(docker, journal, moments, { log, standing }, stop.signal);

  const store = openStore(storeLocation, credentials);
  const { repository: repositoryId, rootPublicKey } = cluster;
  const enrolment = await Enrolment.open({ stateDir, node: me.node, repositoryId, rootPublicKey });
  const { recipient } = enrolment.request();
  log.info({ node: me.node.nodeId, role: me.node.role, skepVersion, fingerprint: fingerprintOf(recipient) }, "starts");

  const connectionTrouble = onceInAWhile((error) => {
    log.warn({ reason: error.message }, "redis is not reached");
  });
  /** `leads`: this manager is the leader, and there are others. */
  const state: { problem: string | null; leads: boolean } = { problem: null, leads: false };
  const enrol = async (): Promise<void> => {
    const answer = await askController(redis, enrolment.request(), askTimeoutMs, connectionTrouble);
    const { repository } = await enrolment.accept(answer);
    state.problem = null;
    log.info({ version: repository.version, incarnation: repository.incarnation }, "enrolled");
  };
  const troubled = onceInAWhile((error) => {
    const { code, message } = toErrorRecord(error);
    log.warn({ code }, message);
  });
  let renewedAt = 0;
  const renewEnrolment = async (): Promise<void> => {
    if (Date.now() - renewedAt < leastRenewMs) return;
    renewedAt = Date.now();
    try {
      await enrol();
    } catch (error) {
      const { code, message, permanent } = toErrorRecord(error);
      if (permanent || enrolment.enrolled === null) state.problem = `not enrolled: ${code}: ${message}`;
      troubled(error instanceof Error ? error : new Error(String(error)));
    }
  };

  const beats = startHeartbeat({
    redis,
    stateDir,
    look: async () => {
      const info = await docker.info(stop.signal);
      const seen = nodeIdentity(info);
      if (seen.nodeId !== me.node.nodeId) stop.abort(nodeChanged(me.node.nodeId, seen.nodeId));
      me.node = seen;
      const node = seen.role === "manager" ? await docker.node(seen.nodeId, stop.signal) : null;
      const leader = node?.ManagerStatus?.Leader === true;
      state.leads = leader && (info.Swarm.Managers ?? 1) > 1;
      const problems = [
        ...(await nodeProblems(info, node, hostRoot)),
        ...(state.problem === null ? [] : [state.problem]),
        ...standing.lines(),
      ];
      return { ...seen, leader, skepVersion, problems };
    },
    onError: (error) => {
      log.warn({ reason: error.message }, "a heartbeat failed");
    },
  });

  const keyring = new RestoreKeyring();
  const desk = new JobDesk({
    stateDir,
    journal,
    node: () => me.node,
    enrolled: () => {
      if (enrolment.enrolled !== null) return enrolment.enrolled;
      throw new SkepError({ code: "SKEP_ENROLMENT_MISSING", message: "not enrolled yet", permanent: false });
    },
    renewEnrolment,
    execute: (job, { repository, writerKey, writerKeys }, attempt) =>
      executeJob(
        job,
        {
          docker,
          dockerSocket,
          hostRoot,
          stateDir,
          store,
          storeLocation,
          credentials,
          repositoryId,
          incarnation: repository.incarnation,
          writerId: me.node.nodeId,
          writerKey,
          writerKeys,
          epoch: repository.epoch,
          mountedAt: null,
        },
        { journal, moments, watches, keyring, identityKeys: null },
        attempt,
      ),
  });

  const takers = new Map<string, JobTaker>();
  /** Takes from the node's queue once enrolled, and from the managers' queue while this is a manager. */
  const adjust = async (): Promise<void> => {
    const wanted = new Set<string>();
    if (enrolment.enrolled !== null) {
      wanted.add(queueNames.node(me.node.nodeId));
      if (me.node.role === "manager") wanted.add(queueNames.managers);
    }
    for (const queue of wanted) {
      if (takers.has(queue)) continue;
      // A copy reads a manager's disk, and the leader is the one that all others wait for.
      const leaves = (kind: string): boolean => kind === "raft" && state.leads;
      takers.set(queue, takeJobs({ redis, queue, concurrency: jobsAtOnce, desk, leaves, log }));
      log.info({ queue }, "takes jobs");
    }
    for (const [queue, taker] of takers) {
      if (wanted.has(queue)) continue;
      takers.delete(queue);
      log.info({ queue }, "takes no more jobs");
      await taker.close();
    }
  };
  const reconcile = async (): Promise<void> => {
    const isManager = me.node.role === "manager";
    const { released, rolledBack, faults } = isManager
      ? await reconcileHolds(docker, Date.now(), stop.signal)
      : { released: [], rolledBack: [], faults: [] };
    standing.tell("holds", faults);
    if (released.length > 0) log.warn({ services: released }, "released services whose hold was overdue");
    if (rolledBack.length > 0) log.info({ services: rolledBack }, "took a rollback past what a hold had left");
    for (const { code, message, hint } of faults) log.warn({ code, hint }, message);
  };

  const unpauseLate = async (): Promise<void> => {
    const { wentOn, faults } = await letGoDue(docker, journal, Date.now());
    if (wentOn.length > 0) log.warn({ containers: wentOn }, "containers whose deadline had passed go on");
    // What could not go on is looked at again in a minute, or stands in the journal no more.
    if (faults.length > 0) standing.tell("quiet", faults);
    else if (wentOn.length > 0 || readPauses(journal).length === 0) standing.tell("quiet", []);
    if (faults[0] !== undefined) throw faults[0];
  };
  const tendMoments = async (): Promise<void> => {
    const quiet = new Set(readPauses(journal).map(({ pauseId }) => pauseId));
    for (const { code, message } of await moments.tend(Date.now(), quiet)) log.error({ code }, message);
  };

  const loops = [
    repeatedly(askAgainMs, stop.signal, async () => {
      const due = enrolment.enrolled === null || Date.now() - renewedAt > renewMs;
      if (due) await renewEnrolment();
    }),
    repeatedly(1000, stop.signal, adjust),
    repeatedly(reconcileMs, stop.signal, reconcile, troubled),
    repeatedly(1000, stop.signal, unpauseLate, troubled),
    // Apart: removing the clones of a million files takes its time.
    repeatedly(1000, stop.signal, tendMoments, troubled),
  ];
  await Promise.all(loops);
  desk.stop();
  watches.closeAll();
  await Promise.all([...takers.values()].map((taker) => taker.close()));
  await beats.stop();
  await store.close();
  if (stop.signal.reason instanceof SkepError) throw stop.signal.reason;
}

/** Does the work now and again after each pause, until the signal; errors go to `onError`, or end the agent. */
async function repeatedly(
  pauseMs: number,
  signal: AbortSignal,
  work: () => Promise<void>,
  onError?: (error: Error) => void,
): Promise<void> {
  const stopped = (): boolean => signal.aborted;
  const pause = (): Promise<unknown> =>
    sleep(pauseMs, undefined, { signal }).catch((error: unknown) => {
      if (!stopped()) throw error;
    });
  for (; !stopped(); await pause()) {
    try {
      await work();
    } catch (error) {
      if (stopped()) return;
      if (onError === undefined || !(error instanceof SkepError)) throw error;
      onError(error);
    }
  }
}

/** Waits for an engine that is still starting. */
async function firstLook(docker: Docker, log: Logger, signal: AbortSignal): Promise<NodeIdentity> {
  for (;;) {
    try {
      return nodeIdentity(await docker.info(signal));
    } catch (error) {
      const { code, message } = toErrorRecord(error);
      if (code !== "SKEP_DOCKER_UNREACHABLE") throw error;
      log.warn({ code }, message);
    }
    await sleep(2000, undefined, { signal });
  }
}

/** What a former life of this agent left behind. */
async function tidyUp(
  docker: Docker,
  journal: Journal,
  moments: Moments,
  { log, standing }: { log: Logger; standing: StandingFaults },
  signal: AbortSignal,
): Promise<void> {
  const reaped = await reapHelpers(docker, signal);
  if (reaped.length > 0) log.warn({ containers: reaped }, "removed containers that a crash left");
  try {
    const { wentOn, faults } = await letGoDue(docker, journal, Infinity);
    if (wentOn.length > 0) log.warn({ containers: wentOn }, "containers that a crash left paused or stopped go on");
    standing.tell("quiet", faults);
    if (faults[0] !== undefined) throw faults[0];
  } catch (error) {
    // One that its engine does not start must not keep the others from their backups: it is tried again each minute.
    const { code, message, hint } = toErrorRecord(error);
    log.error({ code, hint }, message);
  }
  const { removed, warnings } = await moments.removeLeft();
  if (removed.length > 0) log.warn({ moments: removed }, "removed the filesystem's copies that a crash left");
  for (const { code, message } of warnings) log.error({ code }, message);
  for (const record of readSwaps(journal)) {
    try {
      for (const { outcome } of await recoverRestores([record], docker, journal)) {
        log.warn({ restore: record.restoreId, volume: record.volume, outcome }, "a crash had interrupted a restore");
      }
    } catch (error) {
      // One volume that needs a person must not keep the others from their backups: the log says it at every start.
      const { code, message, hint } = toErrorRecord(error);
      log.error({ code, hint, restore: record.restoreId }, message);
    }
  }
}

function nodeChanged(before: string, now: string): SkepError {
  return new SkepError({
    code: "SKEP_NODE_CHANGED",
    message: `this node was ${before} and is ${now} now: it left its swarm, or joined another`,
    permanent: true,
    hint: "the agent starts anew as that node",
  });
}

process.exitCode = await runDaemon("skep-agent", () => readSettings(agentSettings, process.env), runAgent);
