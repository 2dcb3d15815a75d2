// The address card of a store: everything to find it again, and no credentials. It is printed on the recovery card,
// kept in the repository's settings and shown in messages.
import { fileURLToPath } from "node:url";
import { z } from "zod";
import { SkepError } from "../errors.ts";
import { joinFaults } from "../fault-list.ts";
import { parseJsonText } from "../json-text.ts";

const bucketPattern = /^[A-Za-z0-9][A-Za-z0-9._-]{1,61}[A-Za-z0-9]$/;
const prefixPattern = /^[A-Za-z0-9_-][A-Za-z0-9._-]*(\/[A-Za-z0-9_-][A-Za-z0-9._-]*)*$/;

/** `s3://BUCKET[/PREFIX]` or `file:///PATH`, without user, query or fragment. */
const storeUrl = z
  .string()
  .max(1024)
  .refine((text) => parseStoreUrl(text) !== null, {
    error: "expected s3://BUCKET, s3://BUCKET/PREFIX or file:///ABSOLUTE/PATH",
  });

const endpointUrl = z
  .string()
  .max(512)
  .refine((text) => isPlainEndpoint(text), { error: "expected http(s)://HOST[:PORT] with neither user nor path" });

export const storeLocation = z
  .strictObject({
    url: storeUrl,
    /** Of an S3 server that is not AWS, such as `https://s3.example.org:9000`. */
    endpoint: endpointUrl.optional(),
    region: z
      .string()
      .regex(/^[A-Za-z0-9-]{1,64}$/)
      .optional(),
    /** True: `https://host/bucket/key`; false: `https://bucket.host/key`. Default: true with an endpoint, else false. */
    pathStyle: z.boolean().optional(),
    /** PEM; with either of these two, only certificates that these authorities signed are accepted. */
    caFile: z.string().max(4096).startsWith("/").optional(),
    caPem: z.string().max(262_144).includes("-----BEGIN CERTIFICATE-----").optional(),
    storageClass: z
      .string()
      .regex(/^[A-Z0-9_-]{1,64}$/)
      .optional(),
    /**
     * Encryption at rest by the server, on top of Skep's own: with its own keys, a key of its key service, or a key that
     * goes along with each request (SSE-C) and is in the credentials.
     */
    encryption: z
      .union([
        z.strictObject({ type: z.literal("AES256") }),
        z.strictObject({ type: z.literal("customer") }),
        z.strictObject({ type: z.literal("aws:kms"), keyId: z.string().min(1).max(2048).optional() }),
      ])
      .optional(),
    /** Requests under way at once, default 8. */
    parallel: z.int().min(1).max(64).optional(),
  })
  .superRefine((location, context) => {
    if (location.caFile !== undefined && location.caPem !== undefined) {
      context.addIssue({ code: "custom", path: ["caPem"], message: "give caFile or caPem, not both" });
    }
    if (!location.url.startsWith("file:")) return;
    for (const name of Object.keys(location).filter((key) => key !== "url")) {
      context.addIssue({ code: "custom", path: [name], message: "means nothing for a folder" });
    }
  });

export type StoreLocation = z.infer<typeof storeLocation>;

const credentialText = z
  .string()
  .min(1)
  .max(4096)
  .regex(/^[\x21-\x7e]+$/, { error: "expected printable ASCII without spaces or line ends" });

/** Read from files by the caller; never part of a location, a message or a log line. */
export const storeCredentials = z.strictObject({
  accessKeyId: credentialText,
  secretAccessKey: credentialText,
  sessionToken: credentialText.optional(),
  /** 32 bytes, base64: where the location's encryption is `customer`. Lost, nothing of the store can be read. */
  customerKey: z
    .base64()
    .length(44)
    .refine((text) => Buffer.from(text, "base64").length === 32, { error: "expected 32 bytes, base64" })
    .optional(),
});

export type StoreCredentials = z.infer<typeof storeCredentials>;

export type StoreUrl = { kind: "s3"; bucket: string; prefix: string } | { kind: "file"; path: string };

/** The checked location; all its faults together in one SKEP_STORE_LOCATION otherwise. */
export function parseLocation(value: unknown): StoreLocation {
  const parsed = storeLocation.safeParse(value);
  if (parsed.success) return parsed.data;
  const faults = parsed.error.issues.map(({ path, message }) => `${path.join(".") || "location"}: ${message}`);
  throw new SkepError({
    code: "SKEP_STORE_LOCATION",
    message: `store location is malformed: ${joinFaults(faults)}`,
    permanent: true,
    hint: 'for example {"url": "s3://backups/swarm-a", "endpoint": "https://s3.example.org", "region": "us-east-1"}',
  });
}

/** The checked credentials; SKEP_STORE_CREDENTIALS names the faulty fields, never their values. */
export function parseCredentials(value: unknown): StoreCredentials {
  const parsed = storeCredentials.safeParse(value);
  if (parsed.success) return parsed.data;
  const faults = parsed.error.issues.map(({ path, message }) => `${path.join(".") || "credentials"}: ${message}`);
  throw new SkepError({
    code: "SKEP_STORE_CREDENTIALS",
    message: `store credentials are malformed: ${joinFaults(faults)}`,
    permanent: true,
    hint: "expected accessKeyId and secretAccessKey, and sessionToken where the credentials are temporary",
  });
}

/** From a file's text; null for `{}`, of a store that needs none. Throws SKEP_STORE_CREDENTIALS. */
export function decodeCredentials(text: string): StoreCredentials | null {
  const json = parseJsonText(text);
  const isEmpty = z.strictObject({}).safeParse(json).success;
  return isEmpty ? null : parseCredentials(json);
}

/** Null where it is no store URL. Prefix "" is the bucket's top; a path is absolute and normalised. */
export function parseStoreUrl(text: string): StoreUrl | null {
  if (!URL.canParse(text)) return null;
  const url = new URL(text);
  if (url.username !== "" || url.password !== "" || url.search !== "" || url.hash !== "" || url.port !== "")
    return null;
  if (url.protocol === "file:") {
    if (url.host !== "" || !text.startsWith("file:///") || /%2f|%00/i.test(text)) return null;
    const path = pathOf(url);
    return path === null ? null : { kind: "file", path };
  }
  if (url.protocol !== "s3:" || !bucketPattern.test(url.host)) return null;
  const prefix = url.pathname.replace(/^\//, "").replace(/\/$/, "");
  if (prefix !== "" && (!prefixPattern.test(prefix) || prefix.length > 400)) return null;
  return { kind: "s3", bucket: url.host, prefix };
}

/** Null where a `%` escapes nothing. */
function pathOf(url: URL): string | null {
  try {
    return fileURLToPath(url);
  } catch {
    return null;
  }
}

function isPlainEndpoint(text: string): boolean {
  if (!URL.canParse(text)) return false;
  const url = new URL(text);
  const plain = url.username === "" && url.password === "" && url.search === "" && url.hash === "";
  return plain && (url.protocol === "https:" || url.protocol === "http:") && url.pathname === "/";
}
