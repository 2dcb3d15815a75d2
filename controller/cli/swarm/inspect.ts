// skep swarm inspect: what is in a file of `skep swarm backup`, proven anew, without restoring it.
import type { BackupFacts, OpenedArchive } from "../../../shared/raft/archive-layout.ts";
import { chooseUnlockKey } from "../../../shared/raft/fitting-key.ts";
import { readSwarm, type SwarmState } from "../../../shared/raft/read-swarm.ts";
import { decodeUnlockKey } from "../../../shared/raft/unlock-key.ts";
import { formatError } from "../../../shared/raft/wire.ts";
import { exitCodes, type ExitCode } from "../exit-code.ts";
import * as format from "../format.ts";
import { readInputFile } from "../input-file.ts";
import type { Session } from "../session.ts";
import { facts as factLines } from "../table.ts";
import type { OpenOptions } from "./file-keys.ts";
import { openSwarmFile } from "./open-file.ts";

export interface SwarmFileOptions extends OpenOptions {
  unlockKeyFile?: string;
}

export interface ProvenFile extends OpenedArchive {
  state: SwarmState;
}

/** Opens and proves it; of `files` snapshot and log are closed then. Throws SKEP_RAFT_FORMAT also where it does not hold what it says of itself. */
export async function openProven(
  session: Session,
  path: string,
  options: SwarmFileOptions,
  longestBytes?: number,
): Promise<ProvenFile> {
  const given =
    options.unlockKeyFile === undefined
      ? null
      : decodeUnlockKey(await readInputFile(options.unlockKeyFile, "the unlock key file"));
  const opened = await openSwarmFile(session, path, options, longestBytes);
  try {
    const unlockKey = await chooseUnlockKey(opened.files, [opened.unlockKey, given]);
    const state = await readSwarm(opened.files, { unlockKey, signal: session.signal });
    if (opened.facts !== null) checkFacts(opened.facts, state);
    return { ...opened, unlockKey, state };
  } finally {
    await opened.close();
  }
}

function checkFacts({ proof: said, clusterId }: BackupFacts, { proof: found, ...state }: SwarmState): void {
  const differs =
    clusterId !== state.clusterId ||
    (["nodeId", "raftId", "snapshotIndex", "commitIndex", "lastIndex", "term", "entries"] as const).some(
      (field) => said[field] !== found[field],
    );
  if (differs) throw formatError("backup.json does not describe the swarm directory that it lies beside");
}

export async function inspectSwarmFile(session: Session, options: SwarmFileOptions, path: string): Promise<ExitCode> {
  const { output } = session;
  const { facts, state } = await openProven(session, path, options);
  const proof = facts?.proof ?? state.proof;
  output.document({ ok: true, file: path, facts, clusterId: state.clusterId, proof, warnings: state.warnings });
  output.print(factLines(output.style, describeState(facts, state)));
  for (const warning of state.warnings) output.warn(format.visible(warning));
  output.say("proven: an engine would load it, and everything in it can be read");
  return exitCodes.done;
}

/** For people: whose state it is, of when, how far it reaches and what is in it. */
export function describeState(facts: BackupFacts | null, state: SwarmState): [string, string][] {
  const proof = facts?.proof ?? state.proof;
  const counts = Object.entries(state.proof.counts ?? {}).filter(([, count]) => count > 0);
  const taken: [string, string][] =
    facts === null
      ? []
      : [
          [
            "taken",
            `${facts.takenAt} on ${format.visible(facts.hostname)}, Docker ${format.visible(facts.engineVersion)}`,
          ],
          ["by", `skep ${format.visible(facts.skepVersion)}`],
        ];
  return [
    ["cluster", format.visible(state.clusterId)],
    ["manager", `${format.visible(state.member.nodeId)}, of ${state.membership.members.size}`],
    ...taken,
    ["committed", `index ${proof.commitIndex} of ${proof.lastIndex}, term ${proof.term}`],
    [
      "complete",
      proof.markerIndex === null
        ? "not known: no marker was written before this copy"
        : `all that was acknowledged before it (marker ${proof.markerIndex})`,
    ],
    ["autolock", proof.locked ? "on; the unlock key is in the file" : "off"],
    ["certificate", `until ${proof.certificateExpiresAt ?? ""}`],
    ["objects", counts.map(([kind, count]) => `${count} ${kind}`).join(", ")],
  ];
}
