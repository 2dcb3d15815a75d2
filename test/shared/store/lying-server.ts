// An S3 server's worst hours: answers that are late, cut, wrong or missing. It plays no S3 beyond what a test writes
// down; what real servers do is tested against a real one in test/e2e/store-s3.test.ts.
import { createHash } from "node:crypto";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { createServer as createTlsServer } from "node:https";
import type { AddressInfo } from "node:net";

export interface Asked {
  method: string;
  /** Path and query. */
  url: string;
  headers: IncomingMessage["headers"];
  body: Buffer;
}

export type Answer = (response: ServerResponse, asked: Asked) => void;

export class LyingServer {
  readonly asked: Asked[] = [];
  readonly endpoint: string;
  readonly #server: Server;

  private constructor(server: Server, scheme: string) {
    this.#server = server;
    this.endpoint = `${scheme}://127.0.0.1:${String((server.address() as AddressInfo).port)}`;
  }

  /** Answers each request with the next of the answers, then always with the last. */
  static async start(answers: readonly Answer[], tls?: { key: string; cert: string }): Promise<LyingServer> {
    const server = tls === undefined ? createServer() : createTlsServer(tls);
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const lying = new LyingServer(server, tls === undefined ? "http" : "https");
    server.on("request", (request: IncomingMessage, response: ServerResponse) => {
      const pieces: Buffer[] = [];
      request.on("data", (piece: Buffer) => pieces.push(piece));
      request.on("end", () => {
        const { method = "", url = "", headers } = request;
        const asked = { method, url, headers, body: Buffer.concat(pieces) };
        const answer = answers[Math.min(lying.asked.length, answers.length - 1)];
        lying.asked.push(asked);
        answer?.(response, asked);
      });
    });
    return lying;
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}

/** An honest 200 for a put that arrived whole: hash and length are those that the headers promised. */
export const accept: Answer = (response, { headers, body }) => {
  const sha256 = createHash("sha256").update(body).digest("hex");
  response.statusCode = headers["x-amz-content-sha256"] === sha256 ? 200 : 400;
  response.setHeader("etag", '"x"').end();
};

export function refuse(status: number, code: string, message = "no"): Answer {
  return (response) => {
    response.writeHead(status, { "content-type": "application/xml" });
    response.end(`<?xml version="1.0"?><Error><Code>${code}</Code><Message>${message}</Message></Error>`);
  };
}

/** A status with no body at all, as a HEAD is answered. */
export function bare(status: number, headers: Record<string, string> = {}): Answer {
  return (response) => {
    response.writeHead(status, headers).end();
  };
}

export function body(bytes: Buffer, headers: Record<string, string> = {}, status = 200): Answer {
  return (response) => {
    response.writeHead(status, { "content-length": String(bytes.length), ...headers }).end(bytes);
  };
}

export function xml(text: string): Answer {
  return body(Buffer.from(`<?xml version="1.0"?>${text}`), { "content-type": "application/xml" });
}

/** Announces the whole, sends a part, hangs up. */
export function cutAfter(bytes: Buffer, sentBytes: number): Answer {
  return (response) => {
    response.writeHead(200, { "content-length": String(bytes.length) });
    response.write(bytes.subarray(0, sentBytes), () => response.destroy());
  };
}

/** Hangs up without a word, having taken the whole request. */
export const hangUp: Answer = (response) => {
  response.destroy();
};

export const fallSilent: Answer = () => undefined;
