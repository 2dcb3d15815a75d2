// How far a restore of a swarm directory came, in a file beside that directory: a second call goes on from there, and a
// person reads what to do.
import { isDeepStrictEqual } from "node:util";
import { z } from "zod";
import { SkepError } from "../../shared/errors.ts";
import type { RebasedSwarm } from "../../shared/raft/rebase.ts";
import { pathExists, writeFile, type SwarmHost } from "./host.ts";
import { readJsonFile } from "./json-file.ts";

const journalSchema = z.strictObject({
  format: z.literal(1),
  /** Names the folders beside the swarm directory. */
  id: z.string().regex(/^[a-z0-9]{12}$/),
  clusterId: z.string().max(64),
  nodeId: z.string().max(64),
  appliedIndex: z.int().min(0),
  /** host:port of the manager to be. */
  address: z.string().max(255),
  /** Ids of services that start nothing until they are released. */
  held: z.array(z.string().max(64)).max(100_000),
  startedAt: z.iso.datetime(),
  /** `staging`: what was there is untouched. `moving`: folders are exchanged. `laid`: all is in its place. */
  phase: z.enum(["staging", "moving", "laid"]),
  /** Folders with what was there before, the oldest first; one may not have been made. */
  kept: z.array(z.string().max(4096)).max(1000),
});
export type RestoreJournal = z.infer<typeof journalSchema>;

export const journalName = "skep-swarm-restore.json";

/** Null where no restore is under way. Throws SKEP_SWARM_RESTORE_JOURNAL. */
export async function readJournal(
  host: SwarmHost,
  dataRoot: string,
  signal: AbortSignal,
): Promise<RestoreJournal | null> {
  const found = await readJsonFile(host, `${dataRoot}/${journalName}`, journalSchema, signal);
  if (found === null) return null;
  if (found.content !== null) return found.content;
  throw new SkepError({
    code: "SKEP_SWARM_RESTORE_JOURNAL",
    message: `${dataRoot}/${journalName} on ${host.name} is no journal of a restore`,
    permanent: true,
    hint: `look at the folders ${dataRoot}/swarm*, put the right one to ${dataRoot}/swarm, then remove the journal`,
  });
}

export async function writeJournal(
  host: SwarmHost,
  dataRoot: string,
  journal: RestoreJournal,
  signal: AbortSignal,
): Promise<void> {
  const bytes = Buffer.from(`${JSON.stringify(journal, null, 2)}\n`);
  await writeFile(host, { path: `${dataRoot}/${journalName}`, mode: 0o600, bytes }, signal);
}

/** The same state at the same address with the same services held: then an unfinished restore is this one. */
export function isJournalOf(journal: RestoreJournal, { state, held }: RebasedSwarm): boolean {
  const { clusterId, nodeId, appliedIndex, address } = journal;
  return (
    clusterId === state.clusterId &&
    nodeId === state.member.nodeId &&
    appliedIndex === state.appliedIndex &&
    address === state.member.addr &&
    isDeepStrictEqual([...journal.held].sort(), held.map(({ id }) => id).sort())
  );
}

/** For people: the commands that make everything as it was; "" where nothing was begun. */
export async function howToGoBack(host: SwarmHost, dataRoot: string, signal: AbortSignal): Promise<string> {
  const journal = await readJournal(host, dataRoot, signal);
  if (journal === null) return "";
  const isThere = (path: string): Promise<boolean> => pathExists(host, path, signal);
  const kept = (await Promise.all(journal.kept.map(async (path) => ((await isThere(path)) ? [path] : [])))).flat();
  // Of a host that had none, the swarm directory is the new one as soon as folders were exchanged.
  const isNew = kept.length > 0 || (journal.kept.length === 0 && journal.phase !== "staging");
  return wayBack(dataRoot, kept[0] ?? null, isNew && (await isThere(`${dataRoot}/swarm`)));
}

/** `kept`: the folder that becomes the swarm directory again; null where it never was moved, or never was. */
export function wayBack(dataRoot: string, kept: string | null, setAside: boolean): string {
  return [
    "systemctl stop docker.socket docker.service",
    ...(setAside ? [`mv -T ${dataRoot}/swarm ${dataRoot}/swarm.set-aside`] : []),
    ...(kept === null ? [] : [`mv -T ${kept} ${dataRoot}/swarm`]),
    `rm -f ${dataRoot}/${journalName}`,
    "systemctl start docker.service",
  ].join("; ");
}
