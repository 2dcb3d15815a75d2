// An HTTPS server with a kit's certificate and token check, that answers what a test says: for what the CLI makes of
// the controller's answers, of wrong ones, and of none.
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { createServer } from "node:https";
import type { AddressInfo } from "node:net";
import { join } from "node:path";

export interface Asked {
  method: string;
  path: string;
  body: string;
}

export interface ApiServer {
  url: string;
  /** Requests with a right token, in order. */
  asked: Asked[];
  close(): Promise<void>;
}

/** Instead of an answer: the connection ends, as when the controller dies. */
export const hangUp = { status: 0, body: null } as const;

export interface Answer {
  status?: number;
  /** Text is sent as it is, anything else as JSON. */
  body: unknown;
}

export async function startApiServer(kit: string, answer: (asked: Asked) => Answer): Promise<ApiServer> {
  const pem = readFileSync(join(kit, "api.pem"), "utf8");
  const token = readFileSync(join(kit, "api.token"), "utf8").trim();
  const asked: Asked[] = [];
  const server = createServer({ key: pem, cert: pem }, (request, response) => {
    let body = "";
    request.setEncoding("utf8").on("data", (text: string) => {
      body += text;
    });
    request.on("end", () => {
      const fits = request.headers.authorization === `Bearer ${token}`;
      const error = { code: "SKEP_API_UNAUTHORIZED", message: "the token is not this controller's", permanent: true };
      const call = { method: request.method ?? "", path: request.url ?? "", body };
      if (fits) asked.push(call);
      const { status = 200, body: said } = fits ? answer(call) : { status: 401, body: { error } };
      if (status === hangUp.status) {
        request.socket.destroy();
        return;
      }
      response.writeHead(status, { "content-type": "application/json" });
      response.end(typeof said === "string" ? said : JSON.stringify(said));
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  return {
    url: `https://127.0.0.1:${port}`,
    asked,
    close: async () => {
      server.close();
      server.closeAllConnections();
      await once(server, "close");
    },
  };
}
