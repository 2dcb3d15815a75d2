// Lays a rebased swarm directory onto a host, so that at no moment an engine that starts finds a state in which it would
// wipe it or begin an empty swarm.
//
// 1. The journal says that it begins. 2. All files but docker-state.json are written into a folder beside, read back,
// and synced, while the engine goes on: a full disk is found out before anything is touched. 3. The engine is stopped,
// its socket first, which would start it again. 4. What was there is moved aside, on the same filesystem. 5. The new
// folder takes its place. 6. docker-state.json is written, last: without it an engine leaves the folder alone.
// Killed anywhere, what was there is whole in one place, and the next call begins anew with 1.
import { createHash } from "node:crypto";
import { SkepError } from "../../shared/errors.ts";
import type { RebasedFile, RebasedSwarm } from "../../shared/raft/rebase.ts";
import { mustRun, pathExists, writeFile, type SwarmHost } from "./host.ts";
import { writeJournal, type RestoreJournal } from "./journal.ts";

export interface LayDownOptions {
  host: SwarmHost;
  /** The engine's data root on the host: absolute, without a link at its end. */
  dataRoot: string;
  rebased: RebasedSwarm;
  /** Of a call that was cut off before the phase `laid`; null for the first. */
  former: RestoreJournal | null;
  /** 12 of `[a-z0-9]`, fresh. */
  id: string;
  /** Milliseconds since 1970. */
  now: number;
  onStep: (step: string) => void;
  signal: AbortSignal;
}

/** The last file, whose presence makes an engine start the swarm. */
const startFile = "docker-state.json";

/** The journal, in the phase `laid`. The engine is stopped. Throws SKEP_SWARM_RESTORE_COMMAND, SKEP_SWARM_RESTORE_READBACK. */
export async function layDown(options: LayDownOptions): Promise<RestoreJournal> {
  const { host, dataRoot, rebased, former, id, onStep, signal } = options;
  const target = `${dataRoot}/swarm`;
  const staged = stagedFolder(dataRoot, id);
  let journal: RestoreJournal = {
    format: 1,
    id,
    clusterId: rebased.state.clusterId,
    nodeId: rebased.state.member.nodeId,
    appliedIndex: rebased.state.appliedIndex,
    address: rebased.state.member.addr,
    held: rebased.held.map(({ id }) => id),
    startedAt: new Date(options.now).toISOString(),
    phase: "staging",
    kept: former?.kept ?? [],
  };
  const note = async (change: Partial<RestoreJournal>): Promise<void> => {
    journal = { ...journal, ...change };
    await writeJournal(host, dataRoot, journal, signal);
  };
  await note({});
  // Of the call before: no engine ever saw it.
  if (former !== null) await mustRun(host, ["rm", "-rf", stagedFolder(dataRoot, former.id)], { signal });

  onStep(`writing the new directory to ${staged}`);
  await stage(host, staged, rebased.files, signal);

  onStep("stopping the engine");
  await stopEngine(host, signal);

  // An engine that never was in a swarm leaves an empty folder; rmdir takes nothing else.
  const isEmpty = (await host.run(["rmdir", target], { signal })).code === 0;
  const isThere = !isEmpty && (await pathExists(host, target, signal));
  const kept = `${dataRoot}/swarm.before-${id}`;
  await note({ phase: "moving", ...(isThere ? { kept: [...journal.kept, kept] } : {}) });
  if (isThere) {
    onStep(`moving what was there to ${kept}`);
    await mustRun(host, ["mv", "-T", target, kept], { signal });
  }
  onStep(`putting the new directory to ${target}`);
  await mustRun(host, ["mv", "-T", staged, target], { signal });
  for (const file of rebased.files.filter(({ path }) => path === startFile)) {
    await writeFile(host, { ...file, path: `${target}/${file.path}` }, signal);
  }
  await mustRun(host, ["sync", "-f", target], { signal, timeoutMs: 600_000 });
  await note({ phase: "laid" });
  return journal;
}

function stagedFolder(dataRoot: string, id: string): string {
  return `${dataRoot}/swarm.new-${id}`;
}

async function stage(
  host: SwarmHost,
  folder: string,
  files: readonly RebasedFile[],
  signal: AbortSignal,
): Promise<void> {
  const early = files.filter(({ path }) => path !== startFile);
  const parents = new Set(early.flatMap(({ path }) => parentsOf(path)));
  await mustRun(host, ["mkdir", "-m", "700", folder, ...[...parents].map((path) => `${folder}/${path}`)], { signal });
  for (const file of early) await writeFile(host, { ...file, path: `${folder}/${file.path}` }, signal);
  const sums = await mustRun(host, ["sha256sum", ...early.map(({ path }) => `${folder}/${path}`)], {
    signal,
    timeoutMs: 600_000,
  });
  const found = sums.split("\n").map((line) => line.slice(0, 64));
  for (const [position, { path, bytes }] of early.entries()) {
    if (found[position] === createHash("sha256").update(bytes).digest("hex")) continue;
    throw new SkepError({
      code: "SKEP_SWARM_RESTORE_READBACK",
      message: `${folder}/${path} on ${host.name} does not hold what was written to it`,
      permanent: false,
      hint: "look at that host's disk and its kernel log",
    });
  }
  await mustRun(host, ["sync", "-f", folder], { signal, timeoutMs: 600_000 });
}

/** `raft/snap/x` → `raft`, `raft/snap`. */
function parentsOf(path: string): string[] {
  const segments = path.split("/").slice(0, -1);
  return segments.map((_, index) => segments.slice(0, index + 1).join("/"));
}

/** systemctl's code for a unit that there is not (systemd.exec(5), LSB). */
const noSuchUnit = 5;
const unitTimeoutMs = 180_000;

/** Throws SKEP_SWARM_RESTORE_COMMAND, and SKEP_SWARM_RESTORE_ENGINE_RUNS where one answers all the same. */
export async function stopEngine(host: SwarmHost, signal: AbortSignal): Promise<void> {
  const socket = await host.run(["systemctl", "stop", "docker.socket"], { signal, timeoutMs: unitTimeoutMs });
  if (socket.code !== 0 && socket.code !== noSuchUnit) {
    await mustRun(host, ["systemctl", "stop", "docker.socket"], { signal, timeoutMs: unitTimeoutMs });
  }
  await mustRun(host, ["systemctl", "stop", "docker.service"], { signal, timeoutMs: unitTimeoutMs });
  const answers = await host.askEngine({ path: "/info" }, signal).then(
    () => true,
    () => false,
  );
  signal.throwIfAborted();
  if (!answers) return;
  throw new SkepError({
    code: "SKEP_SWARM_RESTORE_ENGINE_RUNS",
    message: `on ${host.name} an engine answers though docker.service is stopped`,
    permanent: true,
    hint: "stop it yourself, then run the restore again",
  });
}

export async function startEngine(host: SwarmHost, signal: AbortSignal): Promise<void> {
  await mustRun(host, ["systemctl", "start", "docker.service"], { signal, timeoutMs: unitTimeoutMs });
}
