// A line between a client and a real server, which does to the bytes what bad lines do.
import { connect, createServer, type AddressInfo, type Server, type Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";

export interface LineFault {
  /** Cuts the connection once so many bytes went up. */
  cutUpAfterBytes?: number;
  /** Cuts it when the server's first answer arrives, which is lost. */
  loseAnswer?: boolean;
  /** Flips one bit of that byte, counted from the connection's beginning. */
  flipUpByte?: number;
  flipDownByte?: number;
  /** The line's pace, upwards. */
  upBytesPerSecond?: number;
}

export class FaultyLine {
  /** Of each connection so far. */
  readonly upBytes: number[] = [];
  readonly endpoint: string;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();

  private constructor(server: Server) {
    this.#server = server;
    this.endpoint = `http://127.0.0.1:${String((server.address() as AddressInfo).port)}`;
  }

  /** The nth connection has the nth fault, later ones none: `[]` is a good line. */
  static async to(endpoint: string, faults: readonly LineFault[]): Promise<FaultyLine> {
    const { hostname, port } = new URL(endpoint);
    const server = createServer({ noDelay: true });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const line = new FaultyLine(server);
    server.on("connection", (client) => {
      const far = connect({ host: hostname, port: Number(port), noDelay: true });
      line.#join(client, far, faults[line.upBytes.length] ?? {});
    });
    return line;
  }

  #join(client: Socket, far: Socket, fault: LineFault): void {
    const index = this.upBytes.push(0) - 1;
    const cut = (): void => {
      client.resetAndDestroy();
      far.destroy();
    };
    for (const socket of [client, far]) {
      this.#sockets.add(socket);
      // An error of one side ends both, as the loss of a line does.
      socket.on("error", cut);
      socket.on("close", () => {
        cut();
        this.#sockets.delete(socket);
      });
    }
    let downBytes = 0;
    far.on("data", (piece) => {
      if (fault.loseAnswer === true) {
        cut();
        return;
      }
      client.write(flipped(piece, downBytes, fault.flipDownByte));
      downBytes += piece.length;
    });
    client.on("data", (piece) => {
      const soFar = this.upBytes[index] ?? 0;
      this.upBytes[index] = soFar + piece.length;
      if (fault.cutUpAfterBytes !== undefined && soFar + piece.length >= fault.cutUpAfterBytes) {
        cut();
        return;
      }
      far.write(flipped(piece, soFar, fault.flipUpByte));
      if (fault.upBytesPerSecond === undefined) return;
      client.pause();
      void sleep((piece.length / fault.upBytesPerSecond) * 1000).then(() => client.resume());
    });
  }

  async close(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}

function flipped(piece: Buffer, startsAt: number, byte: number | undefined): Buffer {
  if (byte === undefined || byte < startsAt || byte >= startsAt + piece.length) return piece;
  const copy = Buffer.from(piece);
  copy[byte - startsAt] = (copy[byte - startsAt] ?? 0) ^ 0x10;
  return copy;
}
