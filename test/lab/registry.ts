// A registry beside a node's engine, on the node's own loopback: an engine speaks to that without TLS. It runs on the host, so
// that the node needs no image for it.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import type { LabNode } from "./node.ts";

export interface LabRegistry {
  /** As images are named by it. */
  host: string;
  stop(): Promise<void>;
}

export async function startRegistry(
  node: LabNode,
  folder: string,
  login: { user: string; password: string },
  port = 5000,
): Promise<LabRegistry> {
  const server = join(import.meta.dirname, "registry-server.ts");
  const child = spawn("nsenter", [`--net=${node.networkNamespace}`, process.execPath, server, folder, String(port)], {
    env: { ...process.env, USER_NAME: login.user, USER_PASSWORD: login.password },
    stdio: ["ignore", "pipe", "inherit"],
  });
  const ended = once(child, "exit");
  const begun = await Promise.race([once(child.stdout, "data"), ended.then(() => null)]);
  if (begun === null) throw new Error(`the registry of ${node.name} ended at once`);
  return {
    host: `localhost:${port}`,
    stop: async () => {
      child.kill("SIGKILL");
      await ended;
    },
  };
}
