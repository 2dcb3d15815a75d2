// A TCP proxy with faults, to stand between a client and a server: a slow line, a long one, one that breaks or hangs.
import { connect, createServer, type AddressInfo, type Server, type Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";

export interface ProxyFaults {
  /** Every byte arrives that much later, in each direction. */
  latencyMs: number;
  /** Each direction of each connection passes no more than that; Infinity: as much as comes. */
  bytesPerSecond: number;
  /** Connections are taken and held, and no byte passes; what came meanwhile passes when it is false again. */
  hangs: boolean;
}

/** What a direction holds back before it stops reading. */
const heldBytesMax = 1024 * 1024;
/** So much at once passes a slow line. */
const sliceBytes = 16 * 1024;

export class FaultyProxy {
  /** May be changed at any time; connections that are open heed it. */
  readonly faults: ProxyFaults = { latencyMs: 0, bytesPerSecond: Infinity, hangs: false };
  readonly host: string;
  /** What went through so far, both ways. */
  passedBytes = 0;
  #port = 0;
  #server: Server | null = null;
  readonly #to: { host: string; port: number };
  readonly #sockets = new Set<Socket>();

  private constructor(to: { host: string; port: number }, host: string) {
    this.#to = to;
    this.host = host;
  }

  /** Listens on a free port of `host` (nodes of a lab reach lab.hostAddress). close() it in the end. */
  static async to(to: { host: string; port: number }, host = "127.0.0.1"): Promise<FaultyProxy> {
    const proxy = new FaultyProxy(to, host);
    await proxy.listen();
    return proxy;
  }

  get port(): number {
    return this.#port;
  }

  /** Listens again, on the same port, after refuse(). */
  async listen(): Promise<void> {
    if (this.#server !== null) return;
    const server = createServer({ allowHalfOpen: true }, (client) => {
      this.#accept(client);
    });
    await new Promise<void>((resolve, reject) => {
      server.once("error", reject);
      server.listen(this.#port, this.host, resolve);
    });
    this.#port = (server.address() as AddressInfo).port;
    this.#server = server;
  }

  #accept(client: Socket): void {
    const server = connect({ ...this.#to, allowHalfOpen: true });
    for (const socket of [client, server]) {
      this.#sockets.add(socket);
      socket.once("close", () => {
        this.#sockets.delete(socket);
      });
      // As on a real line: the other end learns that the connection is gone, and nothing more.
      socket.on("error", () => {
        client.destroy();
        server.destroy();
      });
    }
    void this.#pass(client, server);
    void this.#pass(server, client);
  }

  async #pass(from: Socket, to: Socket): Promise<void> {
    const held: { bytes: Buffer; dueMs: number }[] = [];
    let heldBytes = 0;
    let hasEnded = false as boolean; // set from the events below
    let wake = (): void => undefined;
    from.on("data", (bytes: Buffer) => {
      held.push({ bytes, dueMs: performance.now() + this.faults.latencyMs });
      heldBytes += bytes.length;
      if (heldBytes > heldBytesMax) from.pause();
      wake();
    });
    for (const event of ["end", "close"]) {
      from.on(event, () => {
        hasEnded = true;
        wake();
      });
    }
    for (;;) {
      const next = held[0];
      if (to.destroyed || (next === undefined && hasEnded)) break;
      if (next === undefined) {
        await new Promise<void>((resolve) => (wake = resolve));
      } else if (this.faults.hangs) {
        await sleep(20);
      } else if (next.dueMs > performance.now()) {
        await sleep(next.dueMs - performance.now());
      } else {
        const slice = next.bytes.subarray(0, sliceBytes);
        next.bytes = next.bytes.subarray(slice.length);
        if (next.bytes.length === 0) held.shift();
        heldBytes -= slice.length;
        this.passedBytes += slice.length;
        if (heldBytes <= heldBytesMax) from.resume();
        if (!to.write(slice)) await drained(to);
        const { bytesPerSecond } = this.faults;
        if (bytesPerSecond !== Infinity) await sleep((slice.length / bytesPerSecond) * 1000);
      }
    }
    if (!to.destroyed) to.end();
  }

  /** Breaks all connections that are open; new ones are taken. */
  breakConnections(): void {
    for (const socket of this.#sockets) socket.resetAndDestroy();
  }

  /** As when no server is there: breaks all connections, and refuses new ones until listen(). */
  async refuse(): Promise<void> {
    const server = this.#server;
    this.#server = null;
    this.breakConnections();
    if (server !== null) await new Promise((resolve) => server.close(resolve));
  }

  async close(): Promise<void> {
    await this.refuse();
  }
}

async function drained(socket: Socket): Promise<void> {
  await new Promise<void>((resolve) => {
    const done = () => {
      socket.off("drain", done);
      socket.off("close", done);
      resolve();
    };
    socket.on("drain", done);
    socket.on("close", done);
  });
}
