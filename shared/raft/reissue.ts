// A node certificate made anew with the swarm's own root CA, for the same key and the same names: what an engine does
// when its certificate is renewed. Source: moby/swarmkit ca/certificates.go (names, usages, back-dating by an hour).
import { createPrivateKey, createPublicKey, type KeyObject } from "node:crypto";

import { SkepError } from "../errors.ts";
import type { NodeCertificate } from "./certificates.ts";

export interface Issuer {
  /** PEM of the CA's certificate and key, from the cluster object. */
  certificate: Uint8Array;
  key: Uint8Array;
}

const backdateMs = 60 * 60 * 1000;

/** PEM. Throws SKEP_RAFT_REISSUE where the swarm has an external CA, whose key is not in its state. */
export async function reissueCertificate(
  of: NodeCertificate,
  nodeKey: KeyObject,
  issuer: Issuer,
  validMs: number,
  now: number,
): Promise<Uint8Array> {
  if (issuer.key.length === 0) {
    throw new SkepError({
      code: "SKEP_RAFT_REISSUE",
      message: `the certificate of node ${of.nodeId} ended on ${of.notAfter}, and the swarm's CA is external`,
      permanent: true,
      hint: "start the engine with --force-new-cluster, which accepts the expired certificate",
    });
  }
  // Only here: its two hundred files take a seventh of the start of a recovery.
  const { generate } = await import("selfsigned");
  const made = await generate(
    [
      { shortName: "O", value: of.clusterId },
      { shortName: "OU", value: of.role },
      { name: "commonName", value: of.nodeId },
    ],
    {
      keyType: "ec",
      algorithm: "sha256",
      notBeforeDate: new Date(now - backdateMs),
      notAfterDate: new Date(now + validMs),
      keyPair: {
        privateKey: nodeKey.export({ type: "pkcs8", format: "pem" }).toString(),
        publicKey: createPublicKey(nodeKey).export({ type: "spki", format: "pem" }).toString(),
      },
      ca: {
        key: createPrivateKey(Buffer.from(issuer.key)).export({ type: "pkcs8", format: "pem" }).toString(),
        cert: Buffer.from(issuer.certificate).toString(),
      },
      extensions: [
        { name: "basicConstraints", cA: false, critical: true },
        { name: "keyUsage", digitalSignature: true, keyEncipherment: true, critical: true },
        { name: "extKeyUsage", serverAuth: true, clientAuth: true },
        {
          name: "subjectAltName",
          altNames: [of.role, of.nodeId, "swarm-ca"].map((value) => ({ type: 2, value })),
        },
      ],
    },
  );
  return Buffer.from(made.cert);
}
