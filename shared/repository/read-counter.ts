// How much of large files is read already, while they are: a number in shared memory, to which pack workers add as they
// read, and from which the main thread takes what it counts itself once a stretch is read whole.

export function makeReadCount(): SharedArrayBuffer {
  return new SharedArrayBuffer(8);
}

export class ReadCounter {
  readonly #bytes: BigInt64Array;

  constructor(shared: SharedArrayBuffer) {
    this.#bytes = new BigInt64Array(shared);
  }

  /** Of all workers, so far. */
  get bytes(): number {
    return Number(Atomics.load(this.#bytes, 0));
  }

  /** Negative: counted elsewhere from now on. */
  add(bytes: number): void {
    Atomics.add(this.#bytes, 0, BigInt(bytes));
  }
}
