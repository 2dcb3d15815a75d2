// What comes over a socket or a pipe: from an engine, the controller, the CLI, a process of the agent's.
import { createServer as createHttpsServer } from "node:https";
import { createServer, type AddressInfo, type Server } from "node:net";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { z } from "zod";
import { connectDocker } from "../../agent/docker.ts";
import { makeApi } from "../../controller/api/server.ts";
import type { Backend } from "../../controller/api/backend.ts";
import { runsSchema } from "../../controller/api/schemas.ts";
import { makeApiCertificate } from "../../controller/cli/api-certificate.ts";
import { makeApiClient } from "../../controller/cli/api-client.ts";
import { callEngine } from "../../controller/cli/standalone/engine-call.ts";
import { OnceOutcome } from "../../controller/cli/standalone/once-outcome.ts";
import { connectEngine } from "../../controller/engine/docker.ts";
import { decodeMarksRecord, encodeMarksRecord } from "../../controller/objects/marks.ts";
import { decodeHoldRecord } from "../../shared/contract/hold-record.ts";
import { decodeKeeperLine, decodeKeeperOrder } from "../../shared/contract/keeper.ts";
import { decodeOnceInput } from "../../shared/contract/once.ts";
import { SkepError } from "../../shared/errors.ts";
import { parseJsonText } from "../../shared/json-text.ts";
import { readLoadAnswer } from "../../shared/image-load.ts";
import { makeLogger } from "../../shared/log.ts";
import { sampleInput } from "../controller/cli/standalone/sample-input.ts";
import { json, textOf, utf8, type Decoder } from "./decoder.ts";

const time = "2026-11-21T03:00:00.000Z";
const runId = "20261121-030000-abcdef";

/** The caller ends it: it listens. */
export async function processDecoders(): Promise<{ decoders: Decoder[]; end: () => Promise<void> }> {
  const engine = await engineDecoders();
  const api = await apiDecoders();
  const decoders = [...lineDecoders(), ...configDecoders(), ...engine.decoders, ...api.decoders];
  const end = async (): Promise<void> => {
    await Promise.all([engine.end(), api.end()]);
  };
  return { decoders, end };
}

function lineDecoders(): Decoder[] {
  const input = sampleInput({ kind: "raft", runId });
  const progress = { phase: "reads", doneBytes: 1, totalBytes: null, doneFiles: 1 };
  const result = { kind: "release", released: ["db"], leftAlone: [], rolledBack: [], quiet: [] };
  async function* linesOf(bytes: Uint8Array): AsyncGenerator<string> {
    for (const line of textOf(bytes).split("\n")) yield await Promise.resolve(line);
  }
  return [
    { name: "input of a process for one job", sample: json(input), decode: decodeOnceInput },
    {
      name: "output of a process for one job",
      sample: utf8(`${JSON.stringify({ progress })}\n${JSON.stringify({ result })}\n`),
      decode: (b) => {
        const outcome = new OnceOutcome(() => undefined);
        outcome.push(b);
        return outcome.conclude("release", { code: 0, stderr: "" }, new AbortController().signal);
      },
    },
    { name: "order to a keeper", sample: json({ id: 1, work: input }), decode: (b) => decodeKeeperOrder(textOf(b)) },
    { name: "line of a keeper", sample: json({ id: 1, result }), decode: (b) => decodeKeeperLine(textOf(b)) },
    {
      name: "answer to the load of an image",
      sample: utf8('{"stream":"Loaded image: app:1\\n"}\n{"error":"no space left"}\n'),
      decode: (b) => readLoadAnswer(linesOf(b)),
    },
  ];
}

/** Docker configs: whoever is at a manager writes them. */
function configDecoders(): Decoder[] {
  const spec = {
    Name: "db",
    Mode: { Replicated: { Replicas: 2 } },
    TaskTemplate: { Placement: { Constraints: ["a==b"] } },
  };
  const record = {
    ...{ version: 1, holdId: "hold00000001", deadlineAt: time, serviceId: "service1", former: spec, previous: spec },
    ...{ updateStatus: { State: "completed" }, serviceVersion: 7 },
  };
  const marks = encodeMarksRecord({ service1: "ab".repeat(16) });
  return [
    { name: "record of a hold", sample: json(record), decode: decodeHoldRecord },
    {
      name: "record of marks",
      sample: json({ service1: "ab".repeat(16) }),
      decode: (b) => decodeMarksRecord({ spec: { Data: Buffer.from(b).toString("base64") } }),
    },
    {
      name: "config with a record of marks",
      sample: json(marks),
      decode: (b) => {
        const parsed = z.looseObject({}).safeParse(parseJsonText(b));
        return decodeMarksRecord({ spec: parsed.data ?? {} });
      },
    },
  ];
}

async function listen(server: Server, ...at: [string] | [number, string]): Promise<void> {
  await new Promise<void>((resolve) => server.listen(...(at as [string]), resolve));
}

/** A socket at which every request is answered with these bytes, and hung up. */
async function answeringSocket(path: string): Promise<{ answer: (bytes: Uint8Array) => void; close: () => void }> {
  let answer: Uint8Array = new Uint8Array();
  // What is left unread when it hangs up would take the answer away from the other side.
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    let asked = "";
    socket.on("error", () => undefined);
    socket.on("data", (bytes: Buffer) => {
      const was = asked.includes("\r\n\r\n");
      asked += bytes.toString("latin1");
      if (!was && asked.includes("\r\n\r\n")) socket.end(answer);
    });
  });
  await listen(server, path);
  return { answer: (bytes) => (answer = bytes), close: () => server.close() };
}

function asHttp(body: Uint8Array): Uint8Array {
  const head = [
    "HTTP/1.1 200 OK",
    "Content-Type: application/json",
    "Connection: close",
    `Content-Length: ${body.length}`,
  ];
  return Buffer.concat([utf8(`${head.join("\r\n")}\r\n\r\n`), body]);
}

/** Each has a socket of its own: another's connection that hangs up must not be taken for its. */
async function engineDecoders(): Promise<{ decoders: Decoder[]; end: () => Promise<void> }> {
  const folder = await mkdtemp(join(tmpdir(), "skep-fuzz-engine-"));
  const { signal } = new AbortController();
  const volume = { Name: "a", Driver: "local", Mountpoint: "/m", Options: null, Labels: {}, Scope: "local" };
  const config = { ID: "a", Version: { Index: 1 }, Spec: { Name: "a", Labels: {}, Data: "YQ==" } };
  const doors: [string, Uint8Array, (path: string) => Promise<unknown>][] = [
    ["the agent", json({ Volumes: [volume] }), (path) => connectDocker(path).volumes(signal)],
    [
      "a recovery",
      json([config]),
      async (path) => (await connectEngine({ kind: "socket", path })).list("config", signal),
    ],
    ["the CLI", json({ Volumes: [volume] }), (path) => callEngine(path, { path: "/volumes" }, signal)],
  ];
  const sockets: { close: () => void }[] = [];
  const decoders: Decoder[] = [];
  for (const [whom, body, ask] of doors) {
    const path = join(folder, String(sockets.length));
    const socket = await answeringSocket(path);
    sockets.push(socket);
    const decode = (bytes: Uint8Array): Promise<unknown> => {
      socket.answer(asHttp(bytes));
      return ask(path);
    };
    decoders.push({ name: `an engine's answer to ${whom}`, sample: body, decode });
  }
  const end = async (): Promise<void> => {
    for (const socket of sockets) socket.close();
    await rm(folder, { recursive: true });
  };
  return { decoders, end };
}

/** Both sides of the controller's API. */
async function apiDecoders(): Promise<{ decoders: Decoder[]; end: () => Promise<void> }> {
  const { keyAndCertificate: pem, certificate } = await makeApiCertificate(["localhost"], Date.now());
  let answer: Uint8Array = new Uint8Array();
  const server = createHttpsServer({ key: pem, cert: pem }, (_request, response) => {
    response.writeHead(200, { "content-type": "application/json" }).end(answer);
  });
  await listen(server, 0, "127.0.0.1");
  const url = `https://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const client = makeApiClient({ urls: [url], token: "token", certificatePem: certificate });
  const backend = new Proxy({}, { get: () => () => Promise.resolve({}) }) as Backend;
  const api = makeApi({ backend, pem, token: "token", log: makeLogger("test", "silent") });
  const summary = {
    ...{ id: runId, status: "done", trigger: "schedule", schedule: "nightly", startedAt: time, endedAt: time },
    parts: { done: 1, partial: 0, failed: 0 },
    ...{ notCovered: 0, warnings: 0, sourceBytes: 1, storedBytes: 1, protection: { until: time, fault: null } },
  };
  const restore = {
    ...{ runId, nodeId: "node1", volume: "data", toNodeId: "node1", targetName: "data", stop: true },
    files: { paths: [Buffer.from("a").toString("base64")], existing: "update", sourceBytes: 5 },
  };
  /** What is wrong with a request is never the controller's failure. */
  const asked = (path: string, type: string) => async (bytes: Uint8Array) => {
    const headers = { authorization: "Bearer token", "content-type": type };
    const method = type === "application/json" ? "POST" : "PUT";
    const { statusCode, body } = await api.inject({ method, url: path, headers, payload: Buffer.from(bytes) });
    if (statusCode < 300) return body;
    if (statusCode >= 500) throw new Error(`${statusCode}: ${body}`);
    throw new SkepError({ code: "SKEP_API_REQUEST_INVALID", message: body, permanent: true });
  };
  const decoders: Decoder[] = [
    {
      name: "the API's answer",
      sample: json({ runs: [summary] }),
      decode: (b) => {
        answer = b;
        return client.call({ path: "/v1/runs", schema: runsSchema });
      },
    },
    { name: "request of a restore", sample: json(restore), decode: asked("/v1/restores", "application/json") },
    { name: "request of a run", sample: json({ schedule: "nightly" }), decode: asked("/v1/runs", "application/json") },
    {
      name: "keys that the API is given",
      sample: json({ sealedKeys: "YQ==" }),
      decode: asked("/v1/restores/restore00001/keys", "application/json"),
    },
    {
      name: "policy that the API is given",
      sample: utf8("version: 1\n"),
      decode: asked("/v1/policy", "application/yaml"),
    },
  ];
  const end = async (): Promise<void> => {
    server.closeAllConnections();
    server.close();
    await api.close();
  };
  return { decoders, end };
}
