// A container that was stopped for a backup, as it stands in the agent's journal, and what is to become of it when the
// backup needs it quiet no more. Its owner wins: one that somebody started, removed or took out of service stays so.
import { z } from "zod";
import type { InspectedContainer } from "../docker-objects.ts";

export const stoppedContainerSchema = z.strictObject({
  id: z.string(),
  name: z.string(),
  /** Lower ones are stopped first, and started last. */
  layer: z.int().min(0),
  /** As the engine has it: of its life when it was looked at. */
  startedAt: z.string(),
  /** `no`, `always`, `unless-stopped`, `on-failure`. */
  restartPolicy: z.string(),
  /** How long the engine waits before it kills it. */
  stopSeconds: z.int().min(0),
  /** ISO 8601: before the engine was told. Absent: it was not. */
  sentAt: z.iso.datetime().optional(),
  /** It is none of our business any more; for so long it had stood still. */
  quietMs: z.int().min(0).optional(),
});
export type StoppedContainer = z.infer<typeof stoppedContainerSchema>;

export type Verdict =
  | "start"
  /** The engine may still be at it: it will be down in a moment. */
  | "wait"
  /** It was never told to stop, or runs again by somebody's or the engine's doing. */
  | "runs"
  /** Removed, or started and stopped by its owner, or told to stay down. */
  | "left";

/** Beyond its own patience, ms: the engine kills, unmounts, detaches. */
export const stopGraceMs = 60_000;
/** Beyond its own patience, ms: a process that waits for a disk that hangs dies only when the disk answers. */
const killGraceMs = 15 * 60_000;

/** Of a record: when the engine should have ended the last of its stops, ms since 1970; 0 where none is open. */
export function stopsEndBy({ stops }: { readonly stops: readonly StoppedContainer[] }): number {
  const ends = stops.map(({ sentAt, stopSeconds, quietMs }) =>
    sentAt === undefined || quietMs !== undefined ? 0 : Date.parse(sentAt) + stopSeconds * 1000 + stopGraceMs,
  );
  return Math.max(0, ...ends);
}

/** `found`: null where it is gone. `now`: ms since 1970. */
export function verdictOnStopped(stopped: StoppedContainer, found: InspectedContainer | null, now: number): Verdict {
  const { startedAt, sentAt, stopSeconds, restartPolicy } = stopped;
  if (sentAt === undefined) return "runs";
  if (found === null) return "left";
  // What the engine was told to end is any life begun before: it may have restarted since it was looked at.
  const isOurs = found.State.StartedAt === startedAt || Date.parse(found.State.StartedAt) <= Date.parse(sentAt);
  if (found.State.Running) {
    return isOurs && now < Date.parse(sentAt) + stopSeconds * 1000 + killGraceMs ? "wait" : "runs";
  }
  // The engine tells nobody that somebody stopped what is stopped; that it is never to restart is a word to keep.
  const isTakenOut = restartPolicy !== "no" && restartPolicyOf(found) === "no";
  return isOurs && !isTakenOut ? "start" : "left";
}

/** "no" where it has none. */
export function restartPolicyOf({ HostConfig }: InspectedContainer): string {
  const name = HostConfig.RestartPolicy?.Name ?? "";
  return name === "" ? "no" : name;
}
