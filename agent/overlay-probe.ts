// Looks from inside a container's network whether an overlay works: are names of services resolved, and do their tasks'
// addresses answer? Started by a recovery, over SSH, by nsenter(1) in that network; the container itself is not touched.
// One JSON object on standard input and one on standard output; nothing but what Node has by itself. It ends within
// seconds, whoever is still there to read it.
import { Resolver } from "node:dns/promises";
import { connect } from "node:net";
import { networkInterfaces } from "node:os";
import { text } from "node:stream/consumers";

interface ProbeInput {
  /** Where the network's names are asked for, ADDRESS or ADDRESS:PORT. */
  server: string;
  /** An address of the container: it may have ended, and another process have its number. */
  own: string;
  names: string[];
  /** IPv4. */
  addresses: string[];
}

const timeoutMs = 3_000;
/** RFC 863; whether somebody listens there or refuses, a packet came back. */
const discardPort = 9;

async function resolveName(server: string, name: string): Promise<{ addresses: string[] } | { error: string }> {
  const resolver = new Resolver({ timeout: timeoutMs, tries: 1 });
  resolver.setServers([server]);
  try {
    return { addresses: await resolver.resolve4(name) };
  } catch (error) {
    return { error: codeOf(error) };
  }
}

/** Null where it answers. */
async function reach(address: string): Promise<string | null> {
  return await new Promise((resolve) => {
    const socket = connect({ host: address, port: discardPort, timeout: timeoutMs });
    const end = (said: string | null): void => {
      socket.destroy();
      resolve(said);
    };
    socket.once("connect", () => {
      end(null);
    });
    socket.once("timeout", () => {
      end("ETIMEDOUT");
    });
    socket.once("error", (error) => {
      const code = codeOf(error);
      end(code === "ECONNREFUSED" || code === "ECONNRESET" ? null : code);
    });
  });
}

function codeOf(error: unknown): string {
  return (error as NodeJS.ErrnoException).code ?? String(error);
}

const { server, own, names, addresses } = JSON.parse(await text(process.stdin)) as ProbeInput;
const isThere = Object.values(networkInterfaces()).some((ones) => ones?.some(({ address }) => address === own));
const [resolved, reached] = isThere
  ? await Promise.all([
      Promise.all(names.map(async (name) => [name, await resolveName(server, name)] as const)),
      Promise.all(addresses.map(async (address) => [address, await reach(address)] as const)),
    ])
  : [[], []];
process.stdout.write(
  `${JSON.stringify({ isThere, names: Object.fromEntries(resolved), addresses: Object.fromEntries(reached) })}\n`,
);
