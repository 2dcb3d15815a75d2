// The door to S3: the one file that names the client library. Each method is one request (head may need a second),
// tried once; what is tried again, in what order and how often, is s3-store.ts's matter.
//
// Every object is one PUT whose checksums are known before it leaves: SHA-256 as the signed payload hash, which every
// server checks, and CRC32, which AWS and MinIO keep; the CRC32 also goes along as metadata, so that a get can check
// it on servers that keep none (Ceph 18).
import { Agent as HttpsAgent } from "node:https";
import { Readable } from "node:stream";
import {
  DeleteObjectsCommand,
  GetObjectCommand,
  HeadObjectCommand,
  ListObjectsV2Command,
  ListObjectVersionsCommand,
  PutObjectCommand,
  PutObjectRetentionCommand,
  S3Client,
  type StorageClass,
} from "@aws-sdk/client-s3";
import { SkepError } from "../errors.ts";
import { Agent as HttpAgent } from "../node-http.ts";
import { crc32Of, readBody, type Checksums } from "./body.ts";
import { refuseLarger } from "./limits.ts";
import type { StoreCredentials } from "./location.ts";
import { explainS3Failure, readS3Failure } from "./s3-errors.ts";
import { S3Names } from "./s3-names.ts";
import { addressOf, serverSideOf, type S3Settings } from "./s3-settings.ts";
import type { ObjectHead, ObjectInfo, ObjectKey } from "./store.ts";

export interface S3Put {
  checksums: Checksums;
  /** Adds `If-None-Match: *`. */
  ifAbsent: boolean;
  /** Marks this put, so that its maker knows it again by `head`. */
  token?: string;
  /** Object lock, compliance mode, until then. */
  lockedUntil?: Date;
}

/** taken: the key exists; unconditional: the server knows no conditional puts (501), and nothing was stored. */
export type S3PutOutcome =
  { outcome: "stored"; versionId: string | null } | { outcome: "taken" } | { outcome: "unconditional" };

export interface S3ObjectInfo extends ObjectHead {
  token: string | null;
}

export interface S3Page {
  objects: ObjectInfo[];
  /** Continues the list; null at its end. */
  next: string | null;
}

export interface S3Version {
  key: ObjectKey;
  versionId: string;
}

export interface S3VersionsPage {
  versions: S3Version[];
  /** Of deletions. */
  marks: S3Version[];
  /** Keys whose newest is a deletion mark. */
  deleted: ObjectKey[];
  next: S3VersionsMarker | null;
}
export interface S3VersionsMarker {
  key: string;
  versionId: string | undefined;
}

/** What servers answer to a lock where the bucket was made without. */
const lacksLock = new Set(["InvalidRequest", "ObjectLockConfigurationNotFoundError", "NotImplemented"]);
const absent = new Set(["NoSuchKey", "NoSuchVersion"]);
const crcName = "skep-crc32";
const tokenName = "skep-put";

export class S3Door {
  readonly address: string;
  readonly #settings: S3Settings;
  readonly #client: S3Client;
  readonly #names: S3Names;
  readonly #secrets: readonly string[];
  /** Of SSE-C, for each request that writes or reads an object. */
  readonly #customerKey: { SSECustomerAlgorithm?: string; SSECustomerKey?: string };

  constructor(settings: S3Settings, credentials: StoreCredentials) {
    this.address = addressOf(settings);
    this.#settings = settings;
    this.#names = new S3Names(settings.prefix);
    const { accessKeyId, secretAccessKey, sessionToken, customerKey } = credentials;
    this.#secrets = [secretAccessKey, sessionToken ?? "", accessKeyId, customerKey ?? ""];
    this.#customerKey =
      customerKey === undefined ? {} : { SSECustomerAlgorithm: "AES256", SSECustomerKey: customerKey };
    this.#client = makeClient(settings, credentials);
  }

  async put(key: ObjectKey, bytes: Uint8Array, put: S3Put, signal: AbortSignal): Promise<S3PutOutcome> {
    const { storageClass, encryption } = this.#settings;
    const { checksums, token, lockedUntil } = put;
    const command = new PutObjectCommand({
      ...this.#object(key),
      ...this.#customerKey,
      Body: bytes,
      ContentLength: bytes.byteLength,
      ContentType: "application/octet-stream",
      ChecksumCRC32: checksums.crc32,
      Metadata: { [crcName]: checksums.crc32, ...(token === undefined ? {} : { [tokenName]: token }) },
      ...(put.ifAbsent ? { IfNoneMatch: "*" } : {}),
      ...(storageClass === null ? {} : { StorageClass: storageClass as StorageClass }),
      ...serverSideOf(encryption),
      ...(lockedUntil === undefined ? {} : { ObjectLockMode: "COMPLIANCE", ObjectLockRetainUntilDate: lockedUntil }),
    });
    command.middlewareStack.add(
      (next) => (args) => {
        const { headers } = args.request as { headers: Record<string, string> };
        headers["x-amz-content-sha256"] = checksums.sha256; // else the signer hashes the body in the event loop
        return next(args);
      },
      { step: "build", name: "skepPayloadHash" },
    );
    try {
      const { VersionId } = await this.#client.send(command, { abortSignal: signal });
      return { outcome: "stored", versionId: realVersion(VersionId) };
    } catch (error) {
      const { status } = readS3Failure(error);
      if (put.ifAbsent && status === 412) return { outcome: "taken" };
      if (put.ifAbsent && status === 501) return { outcome: "unconditional" };
      throw this.#explain(error, `put ${key}`);
    }
  }

  /** Null where there is none. Length and checksum are checked: SKEP_STORE_CORRUPT where they do not fit. */
  async get(
    key: ObjectKey,
    versionId: string | null,
    maxBytes: number,
    signal: AbortSignal,
  ): Promise<Uint8Array | null> {
    try {
      const version = versionId === null ? {} : { VersionId: versionId };
      const command = new GetObjectCommand({ ...this.#object(key), ...this.#customerKey, ...version });
      const { Body, ContentLength, Metadata } = await this.#client.send(command, { abortSignal: signal });
      const bytes = await readBody(asReadable(Body), ContentLength ?? null, maxBytes, signal);
      if (bytes === null) throw refuseLarger(key, ContentLength ?? maxBytes + 1, maxBytes, this.address);
      if (ContentLength !== undefined) this.#checkLength(key, bytes, ContentLength);
      const expected = Metadata?.[crcName];
      if (expected !== undefined && expected !== crc32Of(bytes)) {
        throw this.#corrupt(key, `checksum of ${bytes.byteLength} bytes is ${crc32Of(bytes)}, expected ${expected}`);
      }
      return bytes;
    } catch (error) {
      if (absent.has(readS3Failure(error).name)) return null;
      throw this.#explain(error, `get ${key}`);
    }
  }

  /** As Store.getRange, for start < end. */
  async getRange(
    key: ObjectKey,
    start: number,
    end: number,
    signal: AbortSignal,
    into?: Uint8Array,
  ): Promise<Uint8Array | null> {
    const what = `get ${key} from byte ${start}`;
    try {
      const command = new GetObjectCommand({
        ...this.#object(key),
        ...this.#customerKey,
        Range: `bytes=${start}-${end - 1}`,
      });
      const answer = await this.#client.send(command, { abortSignal: signal });
      const totalBytes = /^bytes (\d+)-\d+\/(\d+)$/.exec(answer.ContentRange ?? "");
      if (Number(totalBytes?.[1]) !== start) {
        asReadable(answer.Body).destroy();
        throw this.#corrupt(key, `asked for bytes ${start} to ${end}, was answered ${answer.ContentRange ?? "all"}`);
      }
      const bytes = await readBody(asReadable(answer.Body), answer.ContentLength ?? null, end - start, signal, into);
      const expected = Math.min(end, Number(totalBytes?.[2])) - start;
      this.#checkLength(key, bytes ?? new Uint8Array(end - start + 1), expected);
      return bytes;
    } catch (error) {
      const { name, status } = readS3Failure(error);
      if (name === "NoSuchKey") return null;
      if (status === 416) return new Uint8Array(); // the object ends before start
      throw this.#explain(error, what);
    }
  }

  /** Null where there is none. The answer to a HEAD has no body, so that a list must say why it failed. */
  async head(key: ObjectKey, signal: AbortSignal): Promise<S3ObjectInfo | null> {
    try {
      const command = new HeadObjectCommand({ ...this.#object(key), ...this.#customerKey });
      const answer = await this.#client.send(command, { abortSignal: signal });
      return {
        key,
        sizeBytes: answer.ContentLength ?? 0,
        storedAt: storedAt(answer.LastModified),
        token: answer.Metadata?.[tokenName] ?? null,
        versionId: realVersion(answer.VersionId),
        lockedUntil:
          answer.ObjectLockMode === "COMPLIANCE" ? (answer.ObjectLockRetainUntilDate?.toISOString() ?? null) : null,
      };
    } catch (error) {
      const { status } = readS3Failure(error);
      if (status === null || status >= 500) throw this.#explain(error, `look at ${key}`);
      await this.#explainByList(key, status, signal);
      if (status === 404) return null;
      throw this.#explain(error, `look at ${key}`);
    }
  }

  /** Compliance mode. False where the bucket, or the server, has no object lock. */
  async lock(key: ObjectKey, versionId: string | null, until: number, signal: AbortSignal): Promise<boolean> {
    try {
      const command = new PutObjectRetentionCommand({
        ...this.#object(key),
        ...(versionId === null ? {} : { VersionId: versionId }),
        Retention: { Mode: "COMPLIANCE", RetainUntilDate: new Date(until) },
      });
      await this.#client.send(command, { abortSignal: signal });
      return true;
    } catch (error) {
      const { name, status } = readS3Failure(error);
      if (lacksLock.has(name) || status === 501) return false;
      throw this.#explain(error, `lock ${key}`);
    }
  }

  /** Up to 1,000 objects, from the beginning where `next` is null. What has no key's name is left out. */
  async listPage(prefix: string, next: string | null, signal: AbortSignal): Promise<S3Page> {
    try {
      const command = new ListObjectsV2Command({
        Bucket: this.#settings.bucket,
        Prefix: this.#names.full(prefix),
        EncodingType: "url",
        ...(next === null ? {} : { ContinuationToken: next }),
      });
      const answer = await this.#client.send(command, { abortSignal: signal });
      const objects = (answer.Contents ?? []).flatMap((found) => {
        const key = this.#names.ofList(found.Key);
        return key === null ? [] : [{ key, sizeBytes: found.Size ?? 0, storedAt: storedAt(found.LastModified) }];
      });
      const continued = answer.IsTruncated === true ? (answer.NextContinuationToken ?? "") : null;
      if (continued === "" || (continued !== null && continued === next)) throw this.#endless(prefix);
      return { objects, next: continued };
    } catch (error) {
      throw this.#explain(error, `list ${prefix === "" ? "all" : prefix}`);
    }
  }

  /** Every version and deletion mark of the keys with this prefix, up to 1,000. */
  async listVersions(prefix: string, from: S3VersionsMarker | null, signal: AbortSignal): Promise<S3VersionsPage> {
    try {
      const command = new ListObjectVersionsCommand({
        Bucket: this.#settings.bucket,
        Prefix: this.#names.full(prefix),
        EncodingType: "url",
        ...(from === null ? {} : { KeyMarker: from.key }),
        ...(from?.versionId === undefined ? {} : { VersionIdMarker: from.versionId }),
      });
      const answer = await this.#client.send(command, { abortSignal: signal });
      const named = ({ Key, VersionId }: { Key?: string | undefined; VersionId?: string | undefined }): S3Version[] => {
        const key = this.#names.ofList(Key);
        return key === null || VersionId === undefined ? [] : [{ key, versionId: VersionId }];
      };
      const marks = (answer.DeleteMarkers ?? []).flatMap(named);
      const versions = (answer.Versions ?? []).flatMap(named);
      const deleted = (answer.DeleteMarkers ?? []).flatMap(({ Key, IsLatest }) =>
        IsLatest === true ? (this.#names.ofList(Key) ?? []) : [],
      );
      const { IsTruncated, NextKeyMarker = "", NextVersionIdMarker: versionId } = answer;
      if (IsTruncated !== true) return { versions, marks, deleted, next: null };
      const next = { key: decodeURIComponent(NextKeyMarker), versionId };
      if (next.key === "" || (next.key === from?.key && versionId === from.versionId)) throw this.#endless(prefix);
      return { versions, marks, deleted, next };
    } catch (error) {
      throw this.#explain(error, `list versions of ${prefix}`);
    }
  }

  /** Up to 1,000 keys; returns those that were refused, with the reason. */
  async delete(
    keys: readonly (S3Version | { key: ObjectKey })[],
    signal: AbortSignal,
  ): Promise<{ key: ObjectKey; error: SkepError }[]> {
    const named = keys.length === 1 ? (keys[0]?.key ?? "") : `${keys.length} objects from ${keys[0]?.key ?? ""} on`;
    try {
      const command = new DeleteObjectsCommand({
        Bucket: this.#settings.bucket,
        Delete: {
          Quiet: true,
          Objects: keys.map((object) => ({
            Key: this.#names.full(object.key),
            ...("versionId" in object ? { VersionId: object.versionId } : {}),
          })),
        },
      });
      const { Errors } = await this.#client.send(command, { abortSignal: signal });
      return (Errors ?? []).map(({ Key, Code, Message }) => {
        const key = this.#names.own(Key ?? "") ?? "an unknown key";
        const failure = { name: Code ?? "", status: null, message: Message ?? "", requestId: null };
        return { key, error: explainS3Failure(failure, `delete ${key}`, this.address, this.#secrets) };
      });
    } catch (error) {
      throw this.#explain(error, `delete ${named}`);
    }
  }

  close(): void {
    this.#client.destroy();
  }

  /** Throws what the list of the key's name is refused with, unless that says no more than the status did. */
  async #explainByList(key: ObjectKey, status: number, signal: AbortSignal): Promise<void> {
    try {
      const command = new ListObjectsV2Command({
        Bucket: this.#settings.bucket,
        Prefix: this.#names.full(key),
        MaxKeys: 1,
      });
      await this.#client.send(command, { abortSignal: signal });
    } catch (error) {
      if (status === 404 && readS3Failure(error).name === "AccessDenied") return;
      throw this.#explain(error, `look at ${key}`);
    }
  }

  #object(key: ObjectKey): { Bucket: string; Key: string } {
    return { Bucket: this.#settings.bucket, Key: this.#names.full(key) };
  }

  #checkLength(key: ObjectKey, bytes: Uint8Array, expectedBytes: number): void {
    if (bytes.byteLength === expectedBytes) return;
    throw this.#corrupt(key, `${bytes.byteLength} bytes arrived, ${expectedBytes} were expected`);
  }

  #corrupt(key: ObjectKey, what: string): SkepError {
    return new SkepError({
      code: "SKEP_STORE_CORRUPT",
      message: `${key} at ${this.address} came back damaged: ${what}`,
      permanent: false,
      hint: "if it stays so, the object is damaged where it lies; run `skep check` to see what it hurts",
    });
  }

  #endless(prefix: string): SkepError {
    return new SkepError({
      code: "SKEP_STORE_FAILED",
      message: `list of ${prefix === "" ? "all" : prefix} at ${this.address} does not go on where its page ended`,
      permanent: true,
    });
  }

  #explain(error: unknown, what: string): SkepError {
    if (error instanceof SkepError) return error;
    return explainS3Failure(readS3Failure(error), what, this.address, this.#secrets);
  }
}

function makeClient(settings: S3Settings, credentials: StoreCredentials): S3Client {
  const { accessKeyId, secretAccessKey, sessionToken } = credentials;
  const agent = { keepAlive: true, maxSockets: settings.connections };
  return new S3Client({
    endpoint: settings.endpoint,
    region: settings.region,
    forcePathStyle: settings.pathStyle,
    credentials: { accessKeyId, secretAccessKey, ...(sessionToken === undefined ? {} : { sessionToken }) },
    maxAttempts: 1, // s3-store.ts tries again, with pauses that an abort ends
    requestChecksumCalculation: "WHEN_REQUIRED",
    responseChecksumValidation: "WHEN_REQUIRED",
    disableClockSkewCorrection: true, // a wrong clock also dates runs wrongly: it is to be set, not worked around
    expectContinueHeader: false, // with agents of our own the client would send the header, and not wait
    requestHandler: {
      connectionTimeout: settings.connectMs,
      socketTimeout: settings.idleMs,
      httpAgent: new HttpAgent(agent),
      httpsAgent: new HttpsAgent({ ...agent, ...(settings.ca === null ? {} : { ca: settings.ca }) }),
    },
  });
}

function asReadable(body: unknown): Readable {
  if (body instanceof Readable) return body;
  throw new TypeError("the S3 client answered without a stream");
}

function storedAt(lastModified: Date | undefined): string {
  return (lastModified ?? new Date(0)).toISOString();
}

/** "null" is what a bucket says that keeps no versions any more. */
function realVersion(versionId: string | undefined): string | null {
  return versionId === undefined || versionId === "null" || versionId === "" ? null : versionId;
}
