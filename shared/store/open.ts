// The one door to every store.
import { readFileSync } from "node:fs";
import { SkepError } from "../errors.ts";
import { createDirectory, openDirectory } from "./directory.ts";
import { parseStoreUrl, type StoreCredentials, type StoreLocation } from "./location.ts";
import { S3Store } from "./s3-store.ts";
import type { S3Settings } from "./s3-settings.ts";
import type { Store } from "./store.ts";

const defaultParallel = 8;
const defaultRegion = "us-east-1";

/**
 * Opens without asking the store anything (a caFile is read); the caller closes it. Credentials are null for a folder.
 * Throws SKEP_STORE_LOCATION, SKEP_STORE_CREDENTIALS.
 */
export function openStore(location: StoreLocation, credentials: StoreCredentials | null): Store {
  const url = parseStoreUrl(location.url);
  if (url?.kind === "file") return openDirectory(url.path);
  if (url === null) throw noLocation(`${location.url} is no address of a store`);
  if (credentials === null) {
    throw new SkepError({
      code: "SKEP_STORE_CREDENTIALS",
      message: `${location.url} needs credentials, and none were given`,
      permanent: true,
      hint: "give the files that hold access key id and secret access key",
    });
  }
  const needsKey = location.encryption?.type === "customer";
  if (needsKey !== (credentials.customerKey !== undefined)) {
    throw new SkepError({
      code: "SKEP_STORE_CREDENTIALS",
      message: needsKey
        ? `${location.url} is encrypted with a key of yours, and the credentials have no customerKey`
        : `the credentials of ${location.url} have a customerKey, and its address card does not say encryption: customer`,
      permanent: true,
      hint: 'the card says {"encryption": {"type": "customer"}}, the credentials "customerKey": 32 bytes in base64',
    });
  }
  return new S3Store(s3Settings(location, url), credentials);
}

/** As openStore, and makes the folder where it is missing. Buckets are made by those who pay for them. */
export async function createStore(location: StoreLocation, credentials: StoreCredentials | null): Promise<Store> {
  const url = parseStoreUrl(location.url);
  if (url?.kind === "file") await createDirectory(url.path);
  return openStore(location, credentials);
}

/** The location with every default filled in. */
export function s3Settings(location: StoreLocation, url: { bucket: string; prefix: string }): S3Settings {
  const region = location.region ?? defaultRegion;
  return {
    bucket: url.bucket,
    prefix: url.prefix,
    endpoint: location.endpoint?.replace(/\/$/, "") ?? amazonEndpoint(region),
    region,
    pathStyle: location.pathStyle ?? location.endpoint !== undefined,
    ca: location.caPem ?? (location.caFile === undefined ? null : readCaFile(location.caFile)),
    storageClass: location.storageClass ?? null,
    encryption: location.encryption ?? null,
    connections: location.parallel ?? defaultParallel,
    connectMs: 10_000,
    idleMs: 60_000,
  };
}

/** Named outright, so that no AWS variable or file of the machine sends backups elsewhere. */
function amazonEndpoint(region: string): string {
  return `https://s3.${region}.amazonaws.com${region.startsWith("cn-") ? ".cn" : ""}`;
}

function readCaFile(path: string): string {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (error) {
    throw noLocation(`caFile ${path} cannot be read: ${error instanceof Error ? error.message : String(error)}`, error);
  }
  if (!text.includes("-----BEGIN CERTIFICATE-----")) throw noLocation(`caFile ${path} holds no PEM certificate`);
  return text;
}

function noLocation(message: string, cause?: unknown): SkepError {
  return new SkepError({
    code: "SKEP_STORE_LOCATION",
    message,
    permanent: true,
    ...(cause === undefined ? {} : { cause }),
  });
}
