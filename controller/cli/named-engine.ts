// The engine that --docker, DOCKER_HOST or this machine's socket names, for commands that ask one.
import { readFile } from "node:fs/promises";
import { SkepError } from "../../shared/errors.ts";
import { parseEngineAddress } from "../engine/address.ts";
import { connectEngine } from "../engine/docker.ts";
import type { Engine } from "../engine/engine.ts";

/** Throws SKEP_ENGINE_ADDRESS, SKEP_CLI_FILE_UNREADABLE. */
export async function openEngine(docker: string | undefined): Promise<Engine> {
  const read = async (path: string): Promise<string> => {
    try {
      return await readFile(path, "utf8");
    } catch (error) {
      throw new SkepError({
        code: "SKEP_CLI_FILE_UNREADABLE",
        message: `${path}, which DOCKER_CERT_PATH names, cannot be read: ${(error as Error).message}`,
        permanent: true,
        cause: error,
      });
    }
  };
  return await connectEngine(await parseEngineAddress(docker, process.env, read));
}
