// What an agent can't put right by itself, and tries again each minute: it stands among its node's problems, for
// `skep agents` and `skep doctor`, until a look finds it no more.
import { toErrorRecord } from "../shared/errors.ts";

/** As a heartbeat takes them. */
const most = 50;
const longest = 1024;

export class StandingFaults {
  readonly #known = new Map<string, readonly string[]>();

  /** All that stands at this work now; none: it is well. */
  tell(work: string, faults: readonly unknown[]): void {
    this.#known.set(work, faults.map(describe));
  }

  lines(): string[] {
    return [...this.#known.values()].flat().slice(0, most);
  }
}

function describe(fault: unknown): string {
  const { code, message, hint } = toErrorRecord(fault);
  return `${message} (${code})${hint === undefined ? "" : `; ${hint}`}`.slice(0, longest);
}
