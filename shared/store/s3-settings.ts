// What the door to S3 has to know of a bucket, every default filled in.
import type { StoreLocation } from "./location.ts";

export interface S3Settings {
  bucket: string;
  /** Without slashes at its ends; "" is the bucket's top. */
  prefix: string;
  /** `https://host[:port]`. */
  endpoint: string;
  region: string;
  pathStyle: boolean;
  /** PEM; null trusts what Node trusts. */
  ca: string | null;
  storageClass: string | null;
  encryption: NonNullable<StoreLocation["encryption"]> | null;
  /** Connections at once. */
  connections: number;
  /** Until a connection stands. */
  connectMs: number;
  /** Without a byte in either direction. */
  idleMs: number;
}

/** What a put asks the server to encrypt with; nothing where its key goes along. */
export function serverSideOf(encryption: S3Settings["encryption"]): {
  ServerSideEncryption?: "AES256" | "aws:kms";
  SSEKMSKeyId?: string;
} {
  if (encryption === null || encryption.type === "customer") return {};
  if (encryption.type === "AES256" || encryption.keyId === undefined) return { ServerSideEncryption: encryption.type };
  return { ServerSideEncryption: encryption.type, SSEKMSKeyId: encryption.keyId };
}

/** For people. */
export function addressOf({ bucket, prefix, endpoint }: S3Settings): string {
  return `s3://${bucket}${prefix === "" ? "" : `/${prefix}`} at ${endpoint}`;
}
