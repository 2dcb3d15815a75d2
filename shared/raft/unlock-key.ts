// The unlock key of an autolocked swarm, as `docker swarm unlock-key` prints it: SWMKEY-1- and the 32 key bytes in
// base64 without padding. Source: moby/swarmkit manager/encryption/encryption.go (HumanReadableKey, ParseHumanReadableKey).
import { SkepError } from "../errors.ts";

const prefix = "SWMKEY-1-";
export const unlockKeyBytes = 32;

/** The key bytes. Throws SKEP_RAFT_UNLOCK_KEY, never with the text in the message. */
export function decodeUnlockKey(text: string): Uint8Array {
  const encoded = text.trim();
  if (encoded.startsWith(prefix) && /^[A-Za-z0-9+/]{43}$/.test(encoded.slice(prefix.length))) {
    const key = Buffer.from(encoded.slice(prefix.length), "base64");
    if (key.length === unlockKeyBytes) return key;
  }
  throw new SkepError({
    code: "SKEP_RAFT_UNLOCK_KEY",
    message: "this is no unlock key",
    permanent: true,
    hint: "an unlock key is SWMKEY-1- and 43 characters; `docker swarm unlock-key` on a manager prints it",
  });
}

export function encodeUnlockKey(key: Uint8Array): string {
  return prefix + Buffer.from(key).toString("base64").replace(/=+$/, "");
}
