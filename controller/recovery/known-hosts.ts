// Which keys a machine may show: OpenSSH's known_hosts (sshd(8), "SSH_KNOWN_HOSTS FILE FORMAT"), read only. Names may be
// hashed; `@revoked` keys are refused wherever they turn up; certificates (`@cert-authority`) are not taken.
import { createHash, createHmac } from "node:crypto";
import { globFits } from "../name-glob.ts";

export interface KnownHosts {
  /** Base64 of the keys that count for the host. */
  keys: ReadonlySet<string>;
  revoked: ReadonlySet<string>;
  /** Key types in the file's order, e.g. `ssh-ed25519`: what the server is asked to show. */
  types: readonly string[];
}

export function knownHostsFor(text: string, host: string, port: number): KnownHosts {
  const name = port === 22 ? host.toLowerCase() : `[${host.toLowerCase()}]:${port}`;
  const keys = new Set<string>();
  const revoked = new Set<string>();
  const types = new Set<string>();
  for (const line of text.split("\n")) {
    const fields = line.trim().split(/\s+/);
    const mark = fields[0]?.startsWith("@") === true ? fields.shift() : undefined;
    const [patterns, type, key] = fields;
    if (patterns === undefined || patterns.startsWith("#") || type === undefined || key === undefined) continue;
    if (!namesHost(patterns, name)) continue;
    if (mark === "@revoked") revoked.add(key);
    else if (mark === undefined) {
      keys.add(key);
      types.add(type);
    }
  }
  return { keys, revoked, types: [...types] };
}

function namesHost(patterns: string, name: string): boolean {
  if (patterns.startsWith("|1|")) {
    const [, , salt, hash] = patterns.split("|");
    if (salt === undefined || hash === undefined) return false;
    return createHmac("sha1", Buffer.from(salt, "base64")).update(name).digest("base64") === hash;
  }
  let named = false;
  for (const pattern of patterns.toLowerCase().split(",")) {
    const negated = pattern.startsWith("!");
    if (!globFits(negated ? pattern.slice(1) : pattern, name)) continue;
    if (negated) return false;
    named = true;
  }
  return named;
}

/** As `ssh-keygen -l` shows it: `SHA256:…`. */
export function fingerprint(key: Uint8Array): string {
  return `SHA256:${createHash("sha256").update(key).digest("base64").replace(/=+$/, "")}`;
}
