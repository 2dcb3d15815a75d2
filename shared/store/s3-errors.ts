// What the answers and silences of an S3 server mean: which case it is, and whether trying again can help.
// Sources: AWS "Error responses" (API reference), Ceph rgw_common.cc, MinIO cmd/api-errors.go; and Node's system errors.
import { SkepError, type ErrorFields } from "../errors.ts";

type Case = Pick<ErrorFields, "code" | "permanent" | "hint"> & { text: string };

/** What the S3 client throws, as far as it is looked at; also one key's entry in the answer to a batch of deletions. */
export interface S3Failure {
  /** S3's error code, or a system error's, or "" where there is only a status. */
  name: string;
  /** Null where no answer came. */
  status: number | null;
  message: string;
  requestId: string | null;
}

const denied = (text: string, hint: string): Case => ({ code: "SKEP_STORE_DENIED", permanent: true, text, hint });
const busy = (text: string): Case => ({
  code: "SKEP_STORE_FAILED",
  permanent: false,
  text,
  hint: "Skep tries again by itself; where it stays so, look at the store's own load, log and limits",
});
const unreachable = (text: string, hint: string): Case => ({
  code: "SKEP_STORE_UNREACHABLE",
  permanent: false,
  text,
  hint,
});

const notPermitted = denied(
  "these credentials may not do this",
  "allow s3:PutObject, s3:GetObject and s3:ListBucket on bucket and prefix (without s3:ListBucket, what is not there " +
    "looks denied), and for the controller s3:DeleteObject; docs/STORES.md has policies to copy",
);
const expired = denied("the session token is expired or not valid", "issue new temporary credentials");
const suspended = denied("the account is suspended", "ask the provider");
const noBucket: Case = {
  code: "SKEP_STORE_BUCKET_MISSING",
  permanent: true,
  text: "there is no such bucket",
  hint: "check bucket, endpoint and region of the store's location; Skep makes no buckets by itself",
};
const full: Case = {
  code: "SKEP_STORE_FULL",
  permanent: true,
  text: "the quota or the storage is used up",
  hint: "raise the quota, or let retention forget runs and prune; what was stored before is untouched",
};
const damaged: Case = {
  code: "SKEP_STORE_CORRUPT",
  permanent: false,
  text: "the bytes arrived damaged",
  hint: "something between here and the store changes data: look for a proxy, or for failing memory or network cards",
};
const region: Case = {
  code: "SKEP_STORE_REGION",
  permanent: true,
  text: "the bucket is in another region",
  hint: "set the region, and the endpoint where one is given, to the bucket's own",
};
const tls: Case = {
  code: "SKEP_STORE_TLS",
  permanent: true,
  text: "the server's certificate is not trusted, or it speaks no TLS",
  hint: "name the authority that signed it (caFile), check the host name, or http against https in the endpoint",
};
const checkNetwork = "check endpoint, name service, firewall and the server itself";

const byName: Readonly<Record<string, Case>> = {
  InvalidAccessKeyId: denied("the access key id is unknown there", "check the secret that holds the access key id"),
  SignatureDoesNotMatch: denied(
    "the secret access key does not belong to the access key id",
    "check the secret that holds the secret access key: it was cut, or belongs to another key",
  ),
  AccessDenied: notPermitted,
  AllAccessDisabled: suspended,
  AccountProblem: suspended,
  UserSuspended: suspended,
  ExpiredToken: expired,
  InvalidToken: expired,
  TokenRefreshRequired: expired,
  RequestTimeTooSkewed: {
    code: "SKEP_STORE_CLOCK_SKEW",
    permanent: true,
    text: "this machine's clock and the store's are more than 15 minutes apart",
    hint: "set this machine's clock, for example by NTP",
  },
  NoSuchBucket: noBucket,
  InvalidBucketName: noBucket,
  QuotaExceeded: full,
  InsufficientStorage: full,
  XMinioStorageFull: full,
  XMinioAdminBucketQuotaExceeded: full,
  EntityTooLarge: {
    code: "SKEP_STORE_TOO_LARGE",
    permanent: true,
    text: "the store takes no object of that size",
    hint: "raise its limit for single PUTs (or that of the proxy before it) to 64 MiB",
  },
  BadDigest: damaged,
  InvalidDigest: damaged,
  IncompleteBody: damaged,
  XAmzContentSHA256Mismatch: damaged,
  XAmzContentChecksumMismatch: damaged,
  SlowDown: busy("the store asks for fewer requests"),
  RequestTimeout: busy("the store waited too long for the request's bytes"),
  OperationAborted: busy("another request to this object was under way"),
  ConditionalRequestConflict: busy("another request to this object was under way"),
  AuthorizationHeaderMalformed: region,
  PermanentRedirect: region,
  IllegalLocationConstraintException: region,
  InvalidObjectState: {
    code: "SKEP_STORE_FAILED",
    permanent: true,
    text: "the object lies in an archive class",
    hint: "have the provider restore it first, and keep backups in a class that can be read at once",
  },
  ECONNREFUSED: unreachable("connection refused", checkNetwork),
  ENOTFOUND: unreachable("the host name is unknown", checkNetwork),
  EAI_AGAIN: unreachable("the name service does not answer", checkNetwork),
  ETIMEDOUT: unreachable("the connection timed out", checkNetwork),
  EHOSTUNREACH: unreachable("no route to the host", checkNetwork),
  ENETUNREACH: unreachable("no route to the network", checkNetwork),
  ECONNRESET: unreachable("the connection was cut", checkNetwork),
  EPIPE: unreachable("the connection was cut", checkNetwork),
  TimeoutError: unreachable("the server fell silent", checkNetwork),
  EPROTO: tls,
  DEPTH_ZERO_SELF_SIGNED_CERT: tls,
  SELF_SIGNED_CERT_IN_CHAIN: tls,
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: tls,
  UNABLE_TO_GET_ISSUER_CERT: tls,
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: tls,
  HOSTNAME_MISMATCH: tls,
  INVALID_CA: tls,
  INVALID_PURPOSE: tls,
  UNSPECIFIED: tls, // what OpenSSL has no name for, such as a digest that is too weak
};

function caseOf({ name, status }: S3Failure): Case {
  const named = byName[name];
  if (named !== undefined) return named;
  if (/^(ERR_TLS_|ERR_SSL_|CERT_)/.test(name)) return tls;
  if (name.startsWith("HPE_")) {
    return unreachable("the answer is not HTTP", "check port, and http against https, in the endpoint");
  }
  if (status === 401 || status === 403) return notPermitted;
  if (status === 301 || status === 307 || status === 308) return region;
  if (status === 507) return full;
  if (status === 408 || status === 429 || (status !== null && status >= 500 && status !== 501)) {
    return busy("the store is busy or failing");
  }
  if (status !== null && status >= 400) {
    const hint = "look up the error's name in the store's manual, and the request in its log";
    return { code: "SKEP_STORE_FAILED", permanent: true, text: "the store refused the request", hint };
  }
  const hint = "check that the endpoint is that of an S3 server, and what stands between it and here";
  return { code: "SKEP_STORE_FAILED", permanent: false, text: "the store's answer makes no sense", hint };
}

/** `what` names act and object, such as `put packs/0f`. `secrets` are cut out of whatever the server said. */
export function explainS3Failure(
  failure: S3Failure,
  what: string,
  address: string,
  secrets: readonly string[],
): SkepError {
  const { text, ...fields } = caseOf(failure);
  const answer = [failure.name, failure.status ?? ""].filter((part) => part !== "").join(" ");
  const request = failure.requestId === null ? "" : `, request ${failure.requestId}`;
  const detail = without(`${answer}${request}`, secrets);
  return new SkepError({
    ...fields,
    message: `cannot ${what} at ${address}: ${text} (${detail})`,
    // The client's own error carries the request with its headers: only its words go on.
    cause: new Error(without(failure.message, secrets).slice(0, 500)),
  });
}

/** Shorter ones are no secrets, and would blot out words. */
const shortestSecret = 6;

function without(text: string, secrets: readonly string[]): string {
  return secrets
    .filter((secret) => secret.length >= shortestSecret)
    .reduce((rest, secret) => rest.replaceAll(secret, "[redacted]"), text);
}

/** What the S3 client threw, reduced; an error of a closed connection without a name counts as a cut. */
export function readS3Failure(thrown: unknown): S3Failure {
  const error = (typeof thrown === "object" && thrown !== null ? thrown : {}) as Record<string, unknown>;
  const metadata = (error["$metadata"] ?? {}) as Record<string, unknown>;
  const status = typeof metadata["httpStatusCode"] === "number" ? metadata["httpStatusCode"] : null;
  const requestId = typeof metadata["requestId"] === "string" ? metadata["requestId"].slice(0, 100) : null;
  const message = typeof error["message"] === "string" ? error["message"] : String(thrown);
  const names = [error["Code"], error["code"], error["name"]].filter((name) => typeof name === "string");
  const known = names.find((name) => byName[name] !== undefined);
  const name = (known ?? names[0] ?? "").slice(0, 100);
  if (status === null && (message === "aborted" || message === "socket hang up")) {
    return { name: "ECONNRESET", status, message, requestId };
  }
  return { name: name === "Error" || name === "UnknownError" ? "" : name, status, message, requestId };
}
