// Mode quorum begins with what survived: managers that are listed as machines and are those very nodes. Their swarm
// directories are copied over SSH and proven; the one whose log reaches furthest (by term, then index, as Raft itself elects)
// becomes the swarm's only manager, since no other can have an entry that it lacks.
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { z } from "zod";
import { SkepError } from "../../../shared/errors.ts";
import type { OpenedArchive } from "../../../shared/raft/archive-layout.ts";
import { copySwarmDirectory, type SwarmCopy } from "../../../shared/raft/copy.ts";
import { heldFile } from "../../../shared/raft/copied-file.ts";
import { fittingKey } from "../../../shared/raft/fitting-key.ts";
import { decodeKeyFile, isLocked, longestKeyFileBytes } from "../../../shared/raft/key-file.ts";
import { openSwarm, type OpenedSwarm } from "../../../shared/raft/open-swarm.ts";
import { memoryFiles, readWhole, type SwarmFiles } from "../../../shared/raft/swarm-files.ts";
import type { MachineFacts } from "../machine-facts.ts";
import type { RemoteMachine } from "../remote-machine.ts";
import { remoteSwarmFiles } from "./remote-files.ts";

/** A manager that lives, with a proven copy of its directory. */
export interface Survivor {
  machine: string;
  hostname: string;
  engineVersion: string;
  /** Its swarm directory lies there. */
  dataRoot: string;
  /** Null where it was read from what a call before saved. */
  copy: SwarmCopy | null;
  archive: OpenedArchive;
  /** Up to `knownCommit`; what is above is in `swarm.state.newer`. */
  swarm: OpenedSwarm;
  /** The disk may be behind what the engine knows to be committed: at least up to here. */
  knownCommit: number;
}

export interface SurvivorChoice {
  chosen: Survivor;
  /** Managers that live besides: machine and node id. */
  others: { machine: string; nodeId: string }[];
}

export interface FindSurvivorsOptions {
  machines: ReadonlyMap<string, RemoteMachine>;
  facts: ReadonlyMap<string, MachineFacts>;
  /** Of the swarm that the run knows. */
  clusterId: string;
  /** May open a locked directory, tried in order. */
  unlockKeys: readonly Uint8Array[];
  signal: AbortSignal;
}

/** Throws SKEP_RECOVERY_NO_SURVIVOR, SKEP_RAFT_LOCKED, SKEP_RAFT_UNLOCK_KEY, and what copying throws. */
export async function findSurvivors(options: FindSurvivorsOptions): Promise<SurvivorChoice> {
  const managers = [...options.facts.values()].filter(({ isManager }) => isManager);
  const found: Survivor[] = [];
  // One after the other: each may hold a snapshot of hundreds of MB.
  for (const facts of managers) {
    const machine = options.machines.get(facts.name);
    if (machine === undefined) continue;
    const survivor = await copySurvivor(machine, facts, options.unlockKeys, options.signal);
    // A manager of another swarm is refused by the plan, as every machine in a swarm is.
    if (survivor.swarm.state.clusterId === options.clusterId) found.push(survivor);
  }
  const [chosen, ...others] = found.sort((a, b) => compareLogs(b.swarm.state, a.swarm.state));
  if (chosen === undefined) throw noSurvivor();
  return { chosen, others: others.map(({ machine, swarm }) => ({ machine, nodeId: swarm.state.member.nodeId })) };
}

interface LogEnd {
  lastTerm: number;
  proof: { lastIndex: number; commitIndex: number };
}

/** As a vote compares two logs (Raft, §5.4.1); equal ones by what they know to be committed. */
export function compareLogs(a: LogEnd, b: LogEnd): number {
  return a.lastTerm - b.lastTerm || a.proof.lastIndex - b.proof.lastIndex || a.proof.commitIndex - b.proof.commitIndex;
}

async function copySurvivor(
  machine: RemoteMachine,
  { name, hostname, engineVersion, dataRoot }: MachineFacts,
  unlockKeys: readonly Uint8Array[],
  signal: AbortSignal,
): Promise<Survivor> {
  const source = remoteSwarmFiles(machine, `${dataRoot}/swarm`, signal);
  const unlockKey = await unlockKeyOf(source, name, unlockKeys);
  const stagingDirectory = await mkdtemp(join(tmpdir(), "skep-survivor-"));
  try {
    const copy = await copySwarmDirectory({
      source,
      stagingDirectory,
      signal,
      ...(unlockKey !== null && { unlockKey: () => Promise.resolve(unlockKey) }),
    });
    // After the copy, so that it is not of more than the copy has.
    const knownCommit = Math.min((await newestVersion(machine, signal)) ?? 0, copy.proof.lastIndex);
    return await heldSurvivor({ machine: name, hostname, engineVersion, dataRoot, knownCommit }, copy, signal);
  } finally {
    await rm(stagingDirectory, { recursive: true, force: true });
  }
}

async function heldSurvivor(
  of: Pick<Survivor, "machine" | "hostname" | "engineVersion" | "dataRoot" | "knownCommit">,
  copy: SwarmCopy,
  signal: AbortSignal,
): Promise<Survivor> {
  const held = new Map<string, Uint8Array>();
  for (const file of copy.files) {
    const pieces: Uint8Array[] = [];
    for await (const piece of file.content()) pieces.push(piece);
    held.set(file.path, Buffer.concat(pieces));
  }
  const files = copy.files.map(({ path, mode }) => heldFile(path, mode, held.get(path) ?? new Uint8Array(0)));
  const close = (): Promise<void> => Promise.resolve();
  const archive: OpenedArchive = { files: memoryFiles(held), unlockKey: copy.unlockKey, facts: null, close };
  const { knownCommit } = of;
  const swarm = await openSwarm(archive.files, { unlockKey: copy.unlockKey, knownCommit, signal });
  return { ...of, copy: { ...copy, files }, archive, swarm };
}

const versionedSchema = z.looseObject({ Version: z.looseObject({ Index: z.int() }) });
const versionedPaths = ["/nodes", "/services", "/tasks", "/secrets", "/configs"];

/**
 * The highest index of an entry that the swarm's leader applied, which it only does to committed ones. A leader that lost
 * its majority goes on answering, and its log on the disk is behind what it knows. Null where nobody leads: then managers
 * vote, and write their commit index each time.
 */
async function newestVersion(machine: RemoteMachine, signal: AbortSignal): Promise<number | null> {
  const versions: number[] = [];
  try {
    versions.push((await machine.engine(versionedSchema, { path: "/swarm" }, signal)).Version.Index);
    for (const path of versionedPaths) {
      const objects = await machine.engine(z.array(versionedSchema), { path }, signal);
      for (const { Version } of objects) versions.push(Version.Index);
    }
  } catch (error) {
    signal.throwIfAborted();
    if (error instanceof SkepError && error.code.startsWith("SKEP_DOCKER_")) return null;
    throw error;
  }
  return versions.reduce((highest, index) => Math.max(highest, index), 0);
}

/** Null where the directory is not locked. */
async function unlockKeyOf(
  source: SwarmFiles,
  machine: string,
  unlockKeys: readonly Uint8Array[],
): Promise<Uint8Array | null> {
  const bytes = await readWhole(source, "certificates/swarm-node.key", longestKeyFileBytes);
  if (bytes === null) throw noSurvivor();
  const keyFile = decodeKeyFile(bytes);
  if (!isLocked(keyFile)) return null;
  const fitting = fittingKey(keyFile, unlockKeys);
  if (fitting !== null) return fitting;
  throw new SkepError({
    code: "SKEP_RAFT_UNLOCK_KEY",
    message: `the swarm directory of ${machine} is locked, and the unlock key of the run does not open it`,
    permanent: true,
    hint: "the key was rotated since: give the present one with --unlock-key-file FILE",
  });
}

function noSurvivor(): SkepError {
  return new SkepError({
    code: "SKEP_RECOVERY_NO_SURVIVOR",
    message: "none of the inventory's machines is a manager of the lost swarm",
    permanent: true,
    hint: "list the manager that survived under machines, and map its node to it; without one: --mode raft",
  });
}
