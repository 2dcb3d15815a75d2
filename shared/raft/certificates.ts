// The node's certificate beside its key: whose it is, how long it holds, and whether the two belong together.
import { createPrivateKey, X509Certificate, type KeyObject } from "node:crypto";

import type { KeyFile } from "./key-file.ts";
import { formatError } from "./wire.ts";

export interface NodeCertificate {
  /** Common name. */
  nodeId: string;
  /** Organisation: the cluster's id. */
  clusterId: string;
  /** Organisational unit: `swarm-manager` or `swarm-worker`. */
  role: string;
  /** ISO 8601, UTC. */
  notBefore: string;
  notAfter: string;
  x509: X509Certificate;
}

/** The first certificate of swarm-node.crt, which may hold a chain. Throws SKEP_RAFT_FORMAT. */
export function decodeNodeCertificate(pem: Uint8Array): NodeCertificate {
  let x509: X509Certificate;
  try {
    x509 = new X509Certificate(pem);
  } catch (error) {
    throw formatError("swarm-node.crt: not a certificate", error);
  }
  const subject = new Map(x509.subject.split("\n").map((line) => splitOnce(line, "=")));
  return {
    nodeId: subject.get("CN") ?? "",
    clusterId: subject.get("O") ?? "",
    role: subject.get("OU") ?? "",
    notBefore: x509.validFromDate.toISOString(),
    notAfter: x509.validToDate.toISOString(),
    x509,
  };
}

/**
 * The private key of an unlocked key file, or of a locked one with its 32-byte unlock key. Throws SKEP_RAFT_FORMAT
 * where it can't be read; a wrong unlock key looks the same.
 */
export function openPrivateKey(file: KeyFile, unlockKey: Uint8Array | null): KeyObject {
  try {
    if (file.headers.has("DEK-Info")) throw new Error("RFC 1421 encryption");
    return createPrivateKey({
      key: Buffer.from(file.der),
      format: "der",
      type: file.blockType === "EC PRIVATE KEY" ? "sec1" : "pkcs8",
      ...(unlockKey === null ? {} : { passphrase: Buffer.from(unlockKey) }),
    });
  } catch {
    // The library's words may quote key material; ours say enough.
    throw formatError("swarm-node.key: the private key cannot be read");
  }
}

function splitOnce(text: string, separator: string): [string, string] {
  const at = text.indexOf(separator);
  return at < 0 ? [text, ""] : [text.slice(0, at), text.slice(at + separator.length)];
}
