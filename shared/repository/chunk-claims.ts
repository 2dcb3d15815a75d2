// Which chunks some worker of this snapshot is writing already, so that two don't write the same. A table in shared
// memory, one 64-bit slot a chunk, open addressing; a slot holds the first 8 bytes of the chunk's name. Should two
// names share them, the second chunk would not be written: the snapshot writer finds it missing and fails (once in
// some 10^7 snapshots of a million new chunks). When the table is full nothing is claimed any more, and a chunk may
// be written twice.

export const claimSlots = 1 << 20;
const usableSlots = claimSlots * 0.7;
const probes = 64;

export function makeClaims(): SharedArrayBuffer {
  // One more for the number of claims.
  return new SharedArrayBuffer((claimSlots + 1) * 8);
}

export class ChunkClaims {
  readonly #slots: BigInt64Array;

  constructor(shared: SharedArrayBuffer) {
    this.#slots = new BigInt64Array(shared);
  }

  /** True: write it. False: another did, or does. */
  claim(name: Buffer): boolean {
    if (Atomics.load(this.#slots, claimSlots) > usableSlots) return true;
    const mark = name.readBigInt64LE(0) || 1n;
    const first = name.readUInt32LE(8);
    for (let probe = 0; probe < probes; probe++) {
      const before = Atomics.compareExchange(this.#slots, (first + probe) % claimSlots, 0n, mark);
      if (before === mark) return false;
      if (before === 0n) {
        Atomics.add(this.#slots, claimSlots, 1n);
        return true;
      }
    }
    return true;
  }
}
