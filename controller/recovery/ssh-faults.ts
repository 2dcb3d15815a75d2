// Why a machine lets nobody in, in words that say what to do.
import { SkepError, type ErrorCode } from "../../shared/errors.ts";
import { fingerprint } from "./known-hosts.ts";
import type { SshAccess } from "./ssh-access.ts";

/** Null where the key that the machine shows is the known one. */
export function hostFault(access: SshAccess, key: Buffer): SkepError | null {
  const text = key.toString("base64");
  const where = `${access.name} (${access.address} port ${access.port})`;
  if (access.known.revoked.has(text)) {
    return sshFault(
      "SKEP_SSH_HOST_CHANGED",
      `${where} shows ${fingerprint(key)}, a key that is marked as revoked`,
      true,
    );
  }
  if (access.known.keys.has(text)) return null;
  if (access.known.keys.size > 0) {
    return sshFault(
      "SKEP_SSH_HOST_CHANGED",
      `${where} shows the key ${fingerprint(key)}, which is not the one that is known`,
      true,
      "is the address right? If the machine was installed anew, take the old key out of known_hosts, or give the new one as hostKey in the inventory",
    );
  }
  return sshFault(
    "SKEP_SSH_HOST_UNKNOWN",
    `${where} shows the key ${fingerprint(key)}, which nobody vouched for`,
    true,
    "compare it on the machine's console (ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub), then connect once by ssh, or give it as hostKey in the inventory",
  );
}

/** Why nobody could log in: a key, a user, a network. */
export function loginFault(access: SshAccess, error: unknown): SkepError {
  const { message, level } = error as Error & { level?: string };
  const where = `${access.user}@${access.address} port ${access.port} (${access.name})`;
  if (level === "client-authentication") {
    return sshFault(
      "SKEP_SSH_DENIED",
      `${where} lets nobody in: ${message}`,
      true,
      "is the public key in the user's authorized_keys? The inventory names user and key",
      error,
    );
  }
  if (/parse|passphrase|Encrypted/i.test(message) && access.privateKey !== null) {
    return sshFault(
      "SKEP_SSH_KEY_INVALID",
      `the private key for ${where} can't be used: ${message}`,
      true,
      "a key with a passphrase is used through ssh-agent: agent: true",
      error,
    );
  }
  return sshFault(
    "SKEP_SSH_UNREACHABLE",
    `${where} can't be reached by SSH: ${message}`,
    false,
    "is the machine up, and is its sshd on that port?",
    error,
  );
}

export function sshFault(
  code: ErrorCode,
  message: string,
  permanent: boolean,
  hint?: string,
  cause?: unknown,
): SkepError {
  return new SkepError({ code, message, permanent, ...(hint !== undefined && { hint }), cause });
}
