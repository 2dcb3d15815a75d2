// The node's certificate beside its key: whose it is, how long it holds, and whether the two belong together.
import { createPrivateKey, sign, verify, X509Certificate, type KeyObject } from "node:crypto";

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
}

/** The first certificate of swarm-node.crt, which may hold a chain. Throws SKEP_RAFT_FORMAT. */
export function decodeNodeCertificate(pem: Uint8Array): NodeCertificate {
  try {
    const x509 = new X509Certificate(pem);
    const subject = new Map(x509.subject.split("\n").map((line) => splitOnce(line, "=")));
    return {
      nodeId: subject.get("CN") ?? "",
      clusterId: subject.get("O") ?? "",
      role: subject.get("OU") ?? "",
      notBefore: x509.validFromDate.toISOString(),
      notAfter: x509.validToDate.toISOString(),
    };
  } catch (error) {
    // Node's parser is lenient: a garbled subject or date shows itself only when it is read.
    throw formatError("swarm-node.crt: not a certificate", error);
  }
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

/**
 * PKCS#8 as engines write it, made from the key's numbers alone. What was read may say more or else, such as another
 * version within: our parser passes over it and writes it again, an engine's refuses the key.
 */
export function encodePrivateKey(key: KeyObject): Buffer {
  const numbers = createPrivateKey({ key: key.export({ format: "jwk" }), format: "jwk" });
  return numbers.export({ type: "pkcs8", format: "der" });
}

function splitOnce(text: string, separator: string): [string, string] {
  const at = text.indexOf(separator);
  return at < 0 ? [text, ""] : [text.slice(0, at), text.slice(at + separator.length)];
}

/**
 * Throws SKEP_RAFT_FORMAT unless the key is the certificate's, and the first certificate of `chainPem` leads, through
 * the others, to one of `rootsPem`. Validity in time is not looked at: an engine that is forced to a new cluster accepts
 * an expired one.
 */
export function checkCertificate(chainPem: Uint8Array, rootsPem: Uint8Array, key: KeyObject): void {
  let fault: string | null;
  try {
    fault = certificateFault(decodeCertificates(chainPem), decodeCertificates(rootsPem), key);
  } catch (error) {
    // Node's parser is lenient: garbled keys and names show themselves only when they are used.
    throw formatError("certificates/swarm-node.crt or swarm-root-ca.crt is malformed", error);
  }
  if (fault !== null) throw formatError(fault);
}

function certificateFault(chain: X509Certificate[], roots: X509Certificate[], key: KeyObject): string | null {
  let at = chain.shift();
  if (at === undefined) return "certificates/swarm-node.crt: no certificate";
  if (!at.checkPrivateKey(key) || !signs(key, at)) {
    return "certificates/swarm-node.crt and swarm-node.key do not belong together";
  }
  while (at !== undefined) {
    const subject = at;
    if (roots.some((root) => isIssuer(root, subject))) return null;
    const issuer = chain.findIndex((candidate) => isIssuer(candidate, subject));
    at = issuer < 0 ? undefined : chain.splice(issuer, 1)[0];
  }
  return "certificates/swarm-node.crt does not lead to swarm-root-ca.crt";
}

/** A key file has the public half too, which is all that is compared otherwise: the secret half may be damaged beside it. */
function signs(key: KeyObject, certificate: X509Certificate): boolean {
  const probe = Buffer.from("skep: does this key sign for that certificate?");
  return verify("sha256", probe, certificate.publicKey, sign("sha256", probe, key));
}

/**
 * Throws SKEP_RAFT_FORMAT where a root certificate is neither signed by itself nor one of the cluster object's. One whose
 * names were damaged would else still do for the node's certificate, and be refused by every other node.
 */
export function checkRoots(rootsPem: Uint8Array, clusterPem: Uint8Array): void {
  let stranger: X509Certificate | undefined;
  try {
    const known = new Set(decodeCertificates(clusterPem).map(({ fingerprint256 }) => fingerprint256));
    stranger = decodeCertificates(rootsPem).find((root) => !known.has(root.fingerprint256) && !isIssuer(root, root));
  } catch (error) {
    throw formatError("certificates/swarm-root-ca.crt, or the root in the cluster object, is malformed", error);
  }
  if (stranger === undefined) return;
  throw formatError("certificates/swarm-root-ca.crt is neither the swarm's own nor signed by itself");
}

function isIssuer(issuer: X509Certificate, subject: X509Certificate): boolean {
  return subject.checkIssued(issuer) && subject.verify(issuer.publicKey);
}

function decodeCertificates(pem: Uint8Array): X509Certificate[] {
  const blocks = Buffer.from(pem)
    .toString("latin1")
    .match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g);
  return (blocks ?? []).map((block) => new X509Certificate(block));
}
