// The certificate of the controller's API: self-signed, made once by `skep init`, pinned by the CLI.
import { generate } from "selfsigned";

export interface ApiCertificate {
  /** Private key and certificate, PEM: the controller's secret. */
  keyAndCertificate: string;
  /** The certificate alone, PEM. */
  certificate: string;
}

/** It must outlive the cluster, for nothing renews it by itself; a new one is a new kit. */
const validYears = 20;

/** `hostnames` go into it for others than the CLI, which does not look at them. `now` in ms since 1970. */
export async function makeApiCertificate(hostnames: readonly string[], now: number): Promise<ApiCertificate> {
  const notBeforeDate = new Date(now - 24 * 60 * 60 * 1000);
  const notAfterDate = new Date(now);
  notAfterDate.setUTCFullYear(notAfterDate.getUTCFullYear() + validYears);
  const made = await generate([{ name: "commonName", value: "skep controller" }], {
    keyType: "ec",
    curve: "P-256",
    algorithm: "sha256",
    notBeforeDate,
    notAfterDate,
    extensions: [
      { name: "basicConstraints", cA: true, critical: true },
      { name: "keyUsage", digitalSignature: true, keyCertSign: true, critical: true },
      { name: "extKeyUsage", serverAuth: true },
      { name: "subjectAltName", altNames: hostnames.map((value) => ({ type: 2, value })) },
    ],
  });
  const lines = (pem: string): string => `${pem.replaceAll("\r\n", "\n").trim()}\n`;
  return { keyAndCertificate: lines(made.private) + lines(made.cert), certificate: lines(made.cert) };
}
