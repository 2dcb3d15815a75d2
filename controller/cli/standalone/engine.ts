// The Docker engine of this machine, asked who it is: for runs without controller. One request over its socket;
// everything else the jobs do themselves.
import { createHash } from "node:crypto";
import { request } from "node:http";
import { z } from "zod";
import { SkepError } from "../../../shared/errors.ts";

const infoSchema = z.looseObject({
  ID: z.string().min(1).max(255),
  Name: z.string().max(255),
  Swarm: z.looseObject({
    NodeID: z.string().max(64),
    LocalNodeState: z.string().max(64),
    ControlAvailable: z.boolean(),
  }),
});

export interface LocalNode {
  /** Swarm node id, or for a host outside a swarm `s` and 24 hex digits of SHA-256 of the engine's id (layout.ts). */
  nodeId: string;
  hostname: string;
  role: "manager" | "worker" | "standalone";
}

const maxAnswerBytes = 16 * 1024 * 1024;

/** Throws SKEP_DOCKER_UNREACHABLE. */
export async function askLocalNode(socketPath: string, signal: AbortSignal): Promise<LocalNode> {
  const { status, text } = await get(socketPath, "/info", signal);
  const info = infoSchema.safeParse(status === 200 ? JSON.parse(text) : null);
  if (!info.success)
    throw unreachable(socketPath, `it answered with status ${status} and something else than its facts`);
  const { ID, Name, Swarm } = info.data;
  if (Swarm.NodeID === "" || Swarm.LocalNodeState === "inactive") {
    const hash = createHash("sha256").update(ID, "utf8").digest("hex");
    return { nodeId: `s${hash.slice(0, 24)}`, hostname: Name, role: "standalone" };
  }
  return { nodeId: Swarm.NodeID, hostname: Name, role: Swarm.ControlAvailable ? "manager" : "worker" };
}

function unreachable(socketPath: string, why: string, cause?: unknown): SkepError {
  return new SkepError({
    code: "SKEP_DOCKER_UNREACHABLE",
    message: `the Docker engine at ${socketPath} does not answer: ${why}`,
    permanent: false,
    hint: "is Docker running, and may you use its socket? another one is named with --docker-socket",
    cause,
  });
}

async function get(socketPath: string, path: string, signal: AbortSignal): Promise<{ status: number; text: string }> {
  try {
    return await new Promise((resolve, reject) => {
      const ended = AbortSignal.any([signal, AbortSignal.timeout(30_000)]);
      const asked = request({ socketPath, path, host: "localhost", agent: false, signal: ended }, (response) => {
        let text = "";
        response.setEncoding("utf8");
        response.on("data", (piece: string) => {
          text += piece;
          if (text.length > maxAnswerBytes) asked.destroy(new Error("the answer is larger than 16 MiB"));
        });
        response.on("end", () => {
          resolve({ status: response.statusCode ?? 0, text });
        });
        response.on("error", reject);
      });
      asked.on("error", reject);
      asked.end();
    });
  } catch (error) {
    signal.throwIfAborted();
    throw unreachable(socketPath, error instanceof Error ? error.message : String(error), error);
  }
}
