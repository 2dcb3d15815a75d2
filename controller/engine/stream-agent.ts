// An engine that is reached through streams of another make, such as channels of an SSH session:
// `{ kind: "agent", agent: streamAgent(() => machine.openSocket("/var/run/docker.sock")), name: "ssh://m1" }`.
import { Agent } from "node:http";
import type { Duplex } from "node:stream";

/** Each call to the engine opens a stream of its own, and ends it. */
export function streamAgent(open: () => Promise<Duplex>): Agent {
  const agent = new Agent({ keepAlive: false });
  agent.createConnection = (_options, done) => {
    open().then(
      (stream) => done?.(null, stream),
      (error: unknown) => done?.(error instanceof Error ? error : new Error(String(error)), undefined as never),
    );
    return undefined;
  };
  return agent;
}
