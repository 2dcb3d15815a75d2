// An engine that is reached through streams of another make, such as channels of an SSH session:
// `{ kind: "agent", agent: streamAgent(() => machine.openSocket("/var/run/docker.sock")), name: "ssh://m1" }`.
import { Agent, type ClientRequest } from "node:http";
import type { Duplex } from "node:stream";

/** An opened stream may cost a login, sudo and a program on the other side: calls that come one after the other share it. */
const defaultIdleMs = 5_000;

/** As many streams as there are calls at the same time; one is kept for the next call, for `idleMs`. */
export function streamAgent(open: () => Promise<Duplex>, idleMs = defaultIdleMs): Agent {
  return new StreamAgent(open, idleMs);
}

class StreamAgent extends Agent {
  readonly #open: () => Promise<Duplex>;
  readonly #idleMs: number;
  readonly #ends = new WeakMap<Duplex, NodeJS.Timeout>();

  constructor(open: () => Promise<Duplex>, idleMs: number) {
    super({ keepAlive: true, maxFreeSockets: 1 });
    this.#open = open;
    this.#idleMs = idleMs;
  }

  override createConnection(_options: object, done?: (error: Error | null, stream: Duplex) => void): undefined {
    this.#open().then(
      (stream) => done?.(null, stream),
      (error: unknown) => done?.(error instanceof Error ? error : new Error(String(error)), undefined as never),
    );
  }

  // Node's documentation has it say whether the stream is kept; its types know no such answer.
  override keepSocketAlive(stream: Duplex): boolean {
    this.#ends.set(stream, setTimeout(() => stream.destroy(), this.#idleMs).unref());
    return true;
  }

  override reuseSocket(stream: Duplex, request: ClientRequest): void {
    clearTimeout(this.#ends.get(stream));
    super.reuseSocket(stream, request);
  }
}
