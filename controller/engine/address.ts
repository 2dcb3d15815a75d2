// Which engine an operator means: --docker, else DOCKER_HOST with Docker's own variables, else this machine's socket.
import { join } from "node:path";
import { SkepError } from "../../shared/errors.ts";
import type { EngineAddress } from "./docker.ts";

export interface DockerEnvironment {
  DOCKER_HOST?: string | undefined;
  DOCKER_TLS_VERIFY?: string | undefined;
  DOCKER_CERT_PATH?: string | undefined;
}

const defaultSocket = "/var/run/docker.sock";
/** Docker's own, without and with TLS. */
const defaultPorts = { plain: 2375, tls: 2376 };

/** `readFile` reads a PEM file of DOCKER_CERT_PATH. Throws SKEP_ENGINE_ADDRESS where it is neither unix:// nor tcp://. */
export async function parseEngineAddress(
  asked: string | undefined,
  environment: DockerEnvironment,
  readFile: (path: string) => Promise<string>,
): Promise<EngineAddress> {
  const address = asked ?? environment.DOCKER_HOST ?? "";
  if (address === "") return { kind: "socket", path: defaultSocket };
  const path = /^(?:unix:\/\/)?(\/.+)$/.exec(address)?.[1];
  if (path !== undefined) return { kind: "socket", path };
  const [, host, port] = /^tcp:\/\/(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9.-]+)(?::(\d{1,5}))?\/?$/.exec(address) ?? [];
  if (host === undefined || Number(port ?? 1) < 1 || Number(port ?? 1) > 65_535) {
    throw new SkepError({
      code: "SKEP_ENGINE_ADDRESS",
      message: `${JSON.stringify(address)} is no address of an engine`,
      permanent: true,
      hint: "write unix:///var/run/docker.sock or tcp://HOST:PORT, of a manager of the swarm",
    });
  }
  const at = { kind: "tcp", host: host.replace(/^\[(.*)\]$/, "$1") } as const;
  const { DOCKER_TLS_VERIFY: verify, DOCKER_CERT_PATH: folder } = environment;
  if (verify === undefined || verify === "" || folder === undefined || folder === "") {
    return { ...at, port: Number(port ?? defaultPorts.plain) };
  }
  const read = (name: string): Promise<string> => readFile(join(folder, name));
  const tls = { ca: await read("ca.pem"), cert: await read("cert.pem"), key: await read("key.pem") };
  return { ...at, port: Number(port ?? defaultPorts.tls), tls };
}
