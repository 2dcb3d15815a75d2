// Rows on stdout as they come, however many: lines for people, with --json one document whose last field is an array.
// Whoever reads slowly is waited for, so that nothing piles up here.
import { once } from "node:events";
import { SkepError, toErrorRecord } from "../../shared/errors.ts";
import { exitCodeOf, exitCodes, type ExitCode } from "./exit-code.ts";
import { printFailure } from "./output.ts";
import type { Session } from "./session.ts";

/** Characters gathered for one write. */
const writeLength = 64 * 1024;

export interface Listing<Row> {
  /** The fields before the array; it is a document's. */
  head: Record<string, unknown>;
  /** The array's name. */
  field: string;
  rows: AsyncIterable<Row>;
  toLine: (row: Row) => string;
  /** The row as it stands in the document. */
  toDocument: (row: Row) => unknown;
}

/** What ends it early stands in the document too (`error`), so that what was printed stays one. */
export async function printListing<Row>({ output, signal }: Session, listing: Listing<Row>): Promise<ExitCode> {
  const { head, field, rows, toLine, toDocument } = listing;
  const out = new GatheredOutput(signal);
  const opened = JSON.stringify(head).slice(0, -1);
  let count = 0;
  if (output.json) await out.write(`${opened}${opened === "{" ? "" : ","}${JSON.stringify(field)}:[`);
  try {
    for await (const row of rows) {
      signal.throwIfAborted();
      await out.write(
        output.json ? `${count === 0 ? "\n" : ",\n"}${JSON.stringify(toDocument(row))}` : `${toLine(row)}\n`,
      );
      count++;
    }
  } catch (thrown) {
    if (output.json) await out.write(`\n],"error":${JSON.stringify(toErrorRecord(thrown))}}\n`);
    await out.flush();
    printFailure({ ...output, document: () => undefined }, thrown);
    return thrown instanceof SkepError ? exitCodeOf(thrown.code) : exitCodes.failed;
  }
  if (output.json) await out.write("\n]}\n");
  await out.flush();
  return exitCodes.done;
}

class GatheredOutput {
  readonly #signal: AbortSignal;
  #held = "";

  constructor(signal: AbortSignal) {
    this.#signal = signal;
  }

  async write(text: string): Promise<void> {
    this.#held += text;
    if (this.#held.length >= writeLength) await this.flush();
  }

  async flush(): Promise<void> {
    const text = this.#held;
    this.#held = "";
    if (!process.stdout.write(text) && !this.#signal.aborted) {
      await once(process.stdout, "drain", { signal: this.#signal });
    }
  }
}
