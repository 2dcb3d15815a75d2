// The controller's API, over TLS with the one certificate that `skep init` made: pinned, whatever the host is called.
import { X509Certificate } from "node:crypto";
import { request as httpsRequest, type RequestOptions } from "node:https";
import type { z } from "zod";
import { fromErrorRecord, SkepError } from "../../shared/errors.ts";
import { apiErrorSchema } from "../api/schemas.ts";

const answerTimeoutMs = 30_000;
/** For a host to say that it has the controller, where there are several to try. */
const probeTimeoutMs = 5_000;
export const maxApiAddresses = 16;
const maxAnswerBytes = 512 * 1024 * 1024;

export interface ApiClient {
  /** Where the last answer came from. */
  readonly url: string;
  /**
   * `path` begins with /v1/; a string body is YAML text, any other goes as JSON. The answer is checked by `schema`.
   * Throws the controller's own error, or SKEP_API_UNREACHABLE, SKEP_API_CERTIFICATE, SKEP_API_ANSWER_INVALID.
   */
  call<T>(call: ApiCall<T>, signal?: AbortSignal): Promise<T>;
}

export interface ApiCall<T> {
  method?: "GET" | "POST" | "PUT";
  path: string;
  schema: z.ZodType<T>;
  body?: unknown;
}

export interface ApiAddress {
  /** Where the controller may be, 1 to 16: it lives on one of them at a time. */
  urls: readonly string[];
  token: string;
  certificatePem: string;
}

export function makeApiClient({ urls, token, certificatePem }: ApiAddress): ApiClient {
  const bases = urls.slice(0, maxApiAddresses).map(parseUrl);
  const pinned = parseCertificate(certificatePem);
  const tls: RequestOptions = {
    ca: certificatePem,
    rejectUnauthorized: true,
    minVersion: "TLSv1.3",
    agent: false,
    // The host's name proves nothing here: the controller moves among managers. Its certificate does.
    checkServerIdentity: (_host, certificate) =>
      certificate.raw.equals(pinned.raw) ? undefined : new Error("another certificate"),
  };
  const [only] = bases;
  let found: URL | null = bases.length === 1 && only !== undefined ? only : null;
  return {
    get url() {
      return (found ?? only)?.origin ?? "";
    },
    call: async ({ method = "GET", path, schema, body }, signal) => {
      const isText = typeof body === "string";
      const sent = body === undefined ? null : Buffer.from(isText ? body : JSON.stringify(body), "utf8");
      const base = (found ??= await firstThatAnswers(bases, tls, signal));
      const headers = {
        accept: "application/json",
        authorization: `Bearer ${token}`,
        ...(sent === null
          ? {}
          : { "content-type": isText ? "application/yaml" : "application/json", "content-length": sent.length }),
      };
      try {
        const { status, text } = await exchange(new URL(path, base), { ...tls, method, headers }, sent, signal);
        return readAnswer(text, status, schema, `${method} ${base.origin}${path}`);
      } catch (error) {
        // It may have moved. What was asked may have been done all the same, so that it is not asked elsewhere.
        if (bases.length > 1 && (error as SkepError).code === "SKEP_API_UNREACHABLE") found = null;
        throw error;
      }
    },
  };
}

/** Asks all at once, without the token, for anything. Throws SKEP_API_UNREACHABLE with what each said, SKEP_API_CERTIFICATE. */
async function firstThatAnswers(
  bases: readonly URL[],
  tls: RequestOptions,
  signal: AbortSignal | undefined,
): Promise<URL> {
  // Those that lose would keep the process alive until their time is over.
  const found = new AbortController();
  const ended = signal === undefined ? found.signal : AbortSignal.any([signal, found.signal]);
  const ask = async (base: URL): Promise<URL> => {
    await exchange(new URL("/", base), { ...tls, method: "HEAD" }, null, ended, probeTimeoutMs);
    return base;
  };
  try {
    return await Promise.any(bases.map(ask));
  } catch (error) {
    signal?.throwIfAborted();
    const faults = error instanceof AggregateError ? (error.errors as SkepError[]) : [error as SkepError];
    const foreign = faults.find(({ code }) => code === "SKEP_API_CERTIFICATE");
    if (foreign !== undefined) throw foreign;
    const [first] = faults;
    throw new SkepError({
      code: "SKEP_API_UNREACHABLE",
      message: faults.map(({ message }) => message).join("; "),
      permanent: false,
      hint: first?.hint ?? "",
      cause: error,
    });
  } finally {
    found.abort();
  }
}

function readAnswer<T>(text: string, status: number, schema: z.ZodType<T>, what: string): T {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    value = undefined;
  }
  if (status >= 400) {
    const failure = apiErrorSchema.safeParse(value);
    if (failure.success) {
      const { hint, ...record } = failure.data.error;
      throw fromErrorRecord(hint === undefined ? record : { ...record, hint });
    }
  }
  const answer = schema.safeParse(value);
  if (status < 400 && answer.success) return answer.data;
  throw new SkepError({
    code: "SKEP_API_ANSWER_INVALID",
    message: `${what} was answered with status ${status} and something else than expected`,
    permanent: true,
    hint: "are the CLI and the controller of one version? `skep version` shows both",
  });
}

async function exchange(
  url: URL,
  options: RequestOptions,
  body: Buffer | null,
  signal: AbortSignal | undefined,
  timeoutMs = answerTimeoutMs,
): Promise<{ status: number; text: string }> {
  const { origin } = url;
  const timeout = AbortSignal.timeout(timeoutMs);
  const ended = signal === undefined ? timeout : AbortSignal.any([signal, timeout]);
  try {
    return await new Promise((resolve, reject) => {
      const request = httpsRequest(url, { ...options, signal: ended }, (response) => {
        const pieces: Buffer[] = [];
        let sizeBytes = 0;
        response.on("data", (piece: Buffer) => {
          sizeBytes += piece.length;
          if (sizeBytes > maxAnswerBytes) request.destroy(new Error("the answer is larger than 512 MiB"));
          else pieces.push(piece);
        });
        response.on("end", () => {
          resolve({ status: response.statusCode ?? 0, text: Buffer.concat(pieces).toString("utf8") });
        });
        response.on("error", reject);
      });
      request.on("error", reject);
      request.end(body ?? undefined);
    });
  } catch (error) {
    if (signal?.aborted === true) throw signal.reason;
    throw timeout.aborted
      ? unreachable(origin, `no answer within ${timeoutMs / 1000} s`, error)
      : explain(error, origin);
  }
}

const certificateFaults = ["CERT", "SIGNATURE", "ISSUER", "CRL", "SELF_SIGNED"];

function explain(error: unknown, origin: string): SkepError {
  const { code = "", message } = error instanceof Error ? (error as NodeJS.ErrnoException) : { message: String(error) };
  if (message === "another certificate" || certificateFaults.some((fault) => code.includes(fault))) {
    return new SkepError({
      code: "SKEP_API_CERTIFICATE",
      message: `${origin} shows another certificate than the kit's api.crt`,
      permanent: true,
      hint: "is this the right cluster, and the kit that its stack was deployed with? nothing was sent",
      cause: error,
    });
  }
  return unreachable(origin, code === "" ? message : code, error);
}

function unreachable(origin: string, why: string, cause: unknown): SkepError {
  return new SkepError({
    code: "SKEP_API_UNREACHABLE",
    message: `the controller at ${origin} cannot be reached: ${why}`,
    permanent: false,
    hint: "name the node that runs it with --api https://NODE:8420; `docker service ps skep_controller` shows where, `docker service logs skep_controller` what it waits for; `skep runs` and `skep show` also read the store itself, with --from-store",
    cause,
  });
}

function parseUrl(text: string): URL {
  const url = URL.canParse(text) ? new URL(text) : null;
  if (url?.protocol === "https:" && url.username === "" && url.password === "") return url;
  throw new SkepError({
    code: "SKEP_CLI_USAGE",
    message: "the controller's address must be https://HOST:PORT",
    permanent: true,
    hint: "for example --api https://manager1:8420",
  });
}

/** Throws SKEP_API_CERTIFICATE. */
export function parseCertificate(pem: string): X509Certificate {
  try {
    return new X509Certificate(pem);
  } catch (error) {
    throw new SkepError({
      code: "SKEP_API_CERTIFICATE",
      message: "the file with the API certificate holds no certificate",
      permanent: true,
      hint: "give the file api.crt that `skep init` wrote",
      cause: error,
    });
  }
}
