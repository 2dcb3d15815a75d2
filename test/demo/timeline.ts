// What took how long, for people: a line when a step begins, its time when it ends, all of them at the end.
import prettyMs from "pretty-ms";

export class Timeline {
  readonly #steps: { name: string; durationMs: number }[] = [];
  readonly #startedAt = performance.now();

  /** Does `act`, and keeps its time under `name`. A step that throws ends the timeline with it. */
  async step<T>(name: string, act: () => Promise<T>): Promise<T> {
    console.log(`\n── ${name}`);
    const startedAt = performance.now();
    const result = await act();
    this.#steps.push({ name, durationMs: performance.now() - startedAt });
    return result;
  }

  print(): void {
    const rows = [...this.#steps, { name: "in all", durationMs: performance.now() - this.#startedAt }];
    const widest = Math.max(...rows.map((row) => row.name.length));
    console.log("\n── Timeline");
    for (const row of rows) {
      console.log(`   ${row.name.padEnd(widest)}  ${prettyMs(row.durationMs).padStart(8)}`);
    }
  }
}
