// The two directions of the stream to a program in a container.
import { once } from "node:events";
import { PassThrough, type Duplex, type Readable } from "node:stream";
import { SkepError } from "../shared/errors.ts";

/** What the program writes. It waits in the engine, and in the end the program does, while `stdout` is not read. */
export class ExecOutput {
  readonly stdout = new PassThrough();
  readonly stderr = new PassThrough();
  #isWhole = false;
  #fault: unknown = undefined;

  constructor(stream: Readable, demux: (stdout: PassThrough, stderr: PassThrough) => void) {
    const { stdout, stderr } = this;
    demux(stdout, stderr);
    // It writes on, however much waits.
    stream.on("data", () => {
      if (stdout.writableNeedDrain) stream.pause();
    });
    stdout.on("drain", () => stream.resume());
    const closed = (): void => {
      stdout.end();
      stderr.end();
    };
    stream
      .once("end", () => {
        this.#isWhole = true;
        closed();
      })
      .once("close", closed)
      .once("error", (error) => {
        this.#fault = error;
        closed();
      });
  }

  /** Once `stdout` ended. Throws SKEP_DOCKER_FAILED where it did because the connection broke; `doing` names the call. */
  throwIfBroken(doing: string): void {
    if (this.#isWhole) return;
    throw new SkepError({
      code: "SKEP_DOCKER_FAILED",
      message: `docker broke ${doing} off before the end of its output`,
      permanent: false,
      hint: "was the engine restarted?",
      cause: this.#fault,
    });
  }
}

/** Ends early where the program takes no more, as its exit code tells. Throws what the source throws. */
export async function feed(stream: Duplex, bytes: AsyncIterable<Uint8Array>): Promise<void> {
  const over = new AbortController();
  stream.once("close", () => {
    over.abort();
  });
  for await (const piece of bytes) {
    if (stream.destroyed || stream.writableEnded) return;
    if (stream.write(piece)) continue;
    try {
      await once(stream, "drain", { signal: over.signal });
    } catch {
      return;
    }
  }
  stream.end();
}
