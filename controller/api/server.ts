// The controller's HTTPS API: who may come in, what they may say, and how an error is told. What it answers comes
// from the Backend; the schemas of both directions are in schemas.ts.
import { createHash, timingSafeEqual } from "node:crypto";
import fastify, { type FastifyInstance } from "fastify";
import { z } from "zod";
import { SkepError, toErrorRecord, type ErrorRecord } from "../../shared/errors.ts";
import { shapeFaults } from "../../shared/fault-list.ts";
import type { Logger } from "../../shared/log.ts";
import { skepVersion } from "../../shared/version.ts";
import type { Backend } from "./backend.ts";
import { addRoutes } from "./routes.ts";

/** File keys of a large volume, sealed, as base64 in JSON (schemas.ts). */
const maxBodyBytes = 66 * 1024 * 1024;

export interface ApiOptions {
  backend: Backend;
  /** PEM of the private key and of the certificate, in one text. */
  pem: string;
  token: string;
  log: Logger;
}

/** Not listening yet: `listen({ host, port })`; the caller closes it. */
export function makeApi({ backend, pem, token, log }: ApiOptions): FastifyInstance {
  const api = fastify({
    logger: false,
    https: { key: pem, cert: pem, minVersion: "TLSv1.2" },
    bodyLimit: maxBodyBytes,
    requestTimeout: 60_000,
    genReqId: () => crypto.randomUUID(),
  });
  // A policy is sent as the YAML text that it is; JSON is fastify's own.
  api.addContentTypeParser(["application/yaml", "text/plain"], { parseAs: "string" }, (_request, body, done) => {
    done(null, body);
  });

  const expected = digestOf(`Bearer ${token}`);
  api.addHook("onRequest", async (request, reply) => {
    if (request.routeOptions.url === "/v1/health") return;
    if (timingSafeEqual(digestOf(request.headers.authorization ?? ""), expected)) return;
    await reply
      .code(401)
      .header("www-authenticate", "Bearer")
      .send({ error: toErrorRecord(notAuthorized()) });
  });

  api.setNotFoundHandler(async (request, reply) => {
    const error = new SkepError({
      code: "SKEP_API_NOT_FOUND",
      message: `there is nothing at ${request.method} ${request.url.split("?")[0] ?? ""}`,
      permanent: true,
      hint: "CLI and controller may be of different versions: `skep version`",
    });
    await reply.code(404).send({ error: toErrorRecord(error) });
  });

  api.setErrorHandler(async (thrown, request, reply) => {
    const record = recordOf(thrown);
    const status = statusOf(thrown, record);
    if (status >= 500)
      log.error({ request: request.id, url: request.routeOptions.url, err: thrown }, "a request failed");
    await reply.code(status).send({ error: record });
  });

  api.get("/v1/health", () => ({ ok: true, skepVersion }));
  addRoutes(api, backend);
  return api;
}

/** Equal lengths for timingSafeEqual. */
function digestOf(text: string): Buffer {
  return createHash("sha256").update(text, "utf8").digest();
}

function notAuthorized(): SkepError {
  return new SkepError({
    code: "SKEP_API_UNAUTHORIZED",
    message: "the API token is missing or wrong",
    permanent: true,
    hint: "use the kit of this cluster, or --token-file with its api.token",
  });
}

function recordOf(thrown: unknown): ErrorRecord {
  if (thrown instanceof SkepError) return toErrorRecord(thrown);
  if (thrown instanceof z.ZodError) {
    const message = `the request has another shape: ${shapeFaults(thrown)}`;
    return { code: "SKEP_API_REQUEST_INVALID", message, permanent: true };
  }
  const status = (thrown as { statusCode?: unknown }).statusCode;
  const isClients = typeof status === "number" && status >= 400 && status < 500;
  const { message } = toErrorRecord(thrown);
  return isClients
    ? { code: "SKEP_API_REQUEST_INVALID", message: message.toLowerCase(), permanent: true }
    : { code: "SKEP_INTERNAL", message: "the controller failed; its log says how", permanent: false };
}

/** Of errors that say something about the request; what else can't be done for good is 422, what may pass is 503. */
const statuses: Readonly<Record<string, number>> = {
  SKEP_RUN_UNKNOWN: 404,
  SKEP_AGENT_UNKNOWN: 404,
  SKEP_RESTORE_UNKNOWN: 404,
  SKEP_RUN_IN_PROGRESS: 409,
  SKEP_RESTORE_IN_PROGRESS: 409,
  SKEP_RESTORE_STATE: 409,
  SKEP_API_REQUEST_INVALID: 400,
  SKEP_INTERNAL: 500,
};

function statusOf(thrown: unknown, record: ErrorRecord): number {
  const own = (thrown as { statusCode?: unknown }).statusCode;
  if (typeof own === "number" && own >= 400 && own < 500) return own;
  return statuses[record.code] ?? (record.permanent ? 422 : 503);
}
