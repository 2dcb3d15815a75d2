// What every store's probe shares: the race that shows whether a creation excludes all others.
import { randomBytes } from "node:crypto";

/** Writers in the race; enough that a server which checks before it writes, unlocked, lets two through. */
export const racingWriters = 10;

/** A fresh key for one probe, so that probes of several machines never meet. */
export function probeKey(): string {
  return `probe/${randomBytes(12).toString("hex")}`;
}

/**
 * Lets ten writers with different bytes create one object at once, and then one more come late.
 * True where exactly one won, its bytes are what is read back, and the late one lost.
 */
export async function raceCreation(
  create: (bytes: Uint8Array) => Promise<boolean>,
  read: () => Promise<Uint8Array | null>,
): Promise<boolean> {
  const bodies = Array.from({ length: racingWriters }, (_, index) => Buffer.from(`writer ${index}`));
  const won = await Promise.all(bodies.map((body) => create(body)));
  const winner = bodies.find((_, index) => won[index]);
  if (winner === undefined || won.filter(Boolean).length !== 1) return false;
  const late = await create(Buffer.from("late writer"));
  const kept = await read();
  return !late && kept !== null && winner.equals(kept);
}
