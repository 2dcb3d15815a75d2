// swarm-node.key: the node's TLS private key in PEM, and in its PEM headers the keys of the Raft data. Parsed by hand:
// generic PEM parsers stumble over the headers. Headers are "name: value" lines up to the first empty line, then base64.
//   kek-version               decimal; version of the cluster object that the unlock key came from
//   raft-dek                  base64 of a MaybeEncryptedRecord around the 32-byte data key
//   raft-dek-pending          the next data key, only during a rotation
//   raft-dek-needs-rotation   "true" if another rotation is to follow
// Block types: PRIVATE KEY (PKCS#8, unlocked), ENCRYPTED PRIVATE KEY (PKCS#8, locked), EC PRIVATE KEY (SEC1, old).
// Source: moby/swarmkit ca/keyreadwriter.go, manager/deks.go.
import { formatError } from "./wire.ts";

export interface KeyFile {
  blockType: string;
  /** Header values by name, in the order of the file. */
  headers: Map<string, string>;
  /** The key, as the block type says. */
  der: Uint8Array;
}

/** Upper bound for a plausible key file; a real one is below 1 KB. */
export const longestKeyFileBytes = 64 * 1024;

/** Throws SKEP_RAFT_FORMAT; never with a part of the file in the message. */
export function decodeKeyFile(bytes: Uint8Array): KeyFile {
  const lines = Buffer.from(bytes).toString("latin1").split(/\r?\n/);
  const begin = lines.findIndex((line) => line.startsWith("-----BEGIN "));
  const blockType = /^-----BEGIN ([A-Z ]{1,40})-----\s*$/.exec(lines[begin] ?? "")?.[1];
  if (blockType === undefined) throw formatError("swarm-node.key: no PEM block");
  const end = lines.indexOf(`-----END ${blockType}-----`, begin);
  if (end < 0) throw formatError("swarm-node.key: the PEM block does not end");

  const headers = new Map<string, string>();
  let at = begin + 1;
  for (; at < end; at++) {
    const match = /^([A-Za-z-]{1,40}): ?(.*)$/.exec(lines[at] ?? "");
    if (match === null) break;
    headers.set(match[1] ?? "", (match[2] ?? "").trim());
  }
  if (headers.size > 0) {
    if (lines[at] !== "") throw formatError("swarm-node.key: a PEM header line is malformed");
    at++;
  }
  const der = decodeBase64(lines.slice(at, end).join(""));
  if (der === null || der.length === 0) throw formatError("swarm-node.key: the PEM body is not base64");
  return { blockType, headers, der };
}

/** The inverse of decodeKeyFile, in the layout that Go's encoding/pem writes. */
export function encodeKeyFile(file: KeyFile): Uint8Array {
  const headers = [...file.headers].map(([name, value]) => `${name}: ${value}\n`).join("");
  const body = Buffer.from(file.der)
    .toString("base64")
    .replace(/.{1,64}/g, "$&\n");
  return Buffer.from(
    `-----BEGIN ${file.blockType}-----\n${headers}${headers === "" ? "" : "\n"}${body}-----END ${file.blockType}-----\n`,
    "latin1",
  );
}

/** True if the TLS key is encrypted, which it is exactly where autolock is on. */
export function isLocked(file: KeyFile): boolean {
  return file.blockType === "ENCRYPTED PRIVATE KEY" || (file.headers.get("Proc-Type") ?? "").endsWith("ENCRYPTED");
}

/** Strict base64 with padding; null for anything else (Buffer would skip what it does not know). */
export function decodeBase64(text: string): Uint8Array | null {
  if (!/^[A-Za-z0-9+/]*={0,2}$/.test(text) || text.length % 4 !== 0) return null;
  return Buffer.from(text, "base64");
}
