// A connection from a machine to an address that it may or may not reach, over SSH.
import type { Duplex } from "node:stream";
import { setTimeout as sleep } from "node:timers/promises";
import { SkepError } from "../../shared/errors.ts";

/** As long as a TCP connection to a living machine may take; sshd itself waits for minutes for a dead one. */
const connectTimeoutMs = 6_000;

/** What `opening` comes to; one that comes late is closed. Throws SKEP_SSH_FORWARD after 6 s, and what `opening` throws. */
export async function connectInTime(opening: Promise<Duplex>): Promise<Duplex> {
  const stop = new AbortController();
  const late = sleep(connectTimeoutMs, undefined, { signal: stop.signal }).then(() => null);
  try {
    const opened = await Promise.race([opening, late]);
    if (opened !== null) return opened;
    opening.then(
      (channel) => channel.destroy(),
      () => undefined,
    );
    const message = `nobody answers within ${connectTimeoutMs / 1000} s`;
    throw new SkepError({ code: "SKEP_SSH_FORWARD", message, permanent: false });
  } finally {
    late.catch(() => undefined);
    stop.abort();
  }
}

/** The machine's sshd lets nobody connect from there (AllowTcpForwarding, PermitOpen): that says nothing of the other side. */
export function isForbidden(error: unknown): boolean {
  return error instanceof SkepError && error.code === "SKEP_SSH_FORWARD" && error.message.includes(forbiddenText);
}

/** RFC 4254 §5.1, reason 1. sshd's own text may be any. */
export const forbiddenText = "administratively prohibited";
