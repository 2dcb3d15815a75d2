// What reads bytes that came from somewhere else, and how it is tried: with what it was not made for. It may refuse by a
// SkepError, or read something; never another error, never for long, never a great deal of memory.
import { expect } from "chai";
import fc from "fast-check";
import { SkepError } from "../../shared/errors.ts";
import { changedInputs } from "./changed-inputs.ts";
import { PeakMemory } from "./peak-memory.ts";

export interface Decoder {
  name: string;
  /** Right input: what comes of it is neither null nor undefined. */
  sample: Uint8Array;
  /** Packs what was changed as its writer would (seals, signs, compresses), so that it gets as deep as the sample. */
  wrap?: (inner: Uint8Array) => Uint8Array | Promise<Uint8Array>;
  decode: (bytes: Uint8Array) => unknown;
  /** Made by hand: must be refused, or read within the same bounds. */
  hostile?: readonly Uint8Array[];
  /** Of one input. Default 64 MiB: a heap that grows by its own steps is in it. */
  mostMemoryBytes?: number;
}

const inputsOfRound = 20;
/** Of the thread, for one input: what waits for a processor does not count. */
const longestCpuMs = 1000;
const defaultMemoryBytes = 64 * 1024 * 1024;
/** Characters of base64. */
const longestShown = 4000;
const longestMessage = 20_000;
const mostTries = 3;

/** Bytes from a text. */
export const utf8 = (text: string): Uint8Array => Buffer.from(text, "utf8");
export const json = (value: unknown): Uint8Array => utf8(JSON.stringify(value));
export const textOf = (bytes: Uint8Array): string => Buffer.from(bytes).toString("utf8");

/** All of them together for so many seconds, each with some inputs at least. Same seed, same inputs, as far as the time goes. */
export async function fuzz(decoders: readonly Decoder[], seconds: number, seed: number): Promise<void> {
  for (const decoder of decoders) {
    const { name, sample } = decoder;
    const wrap = decoder.wrap ?? ((inner: Uint8Array) => inner);
    let read: unknown;
    try {
      read = await decoder.decode(await wrap(sample));
    } catch (error) {
      throw new Error(`${name} refuses right input: ${String(error)}`, { cause: error });
    }
    expect(read, `${name}: right input`).to.not.be.oneOf([null, undefined]);
    const bounds = new Bounds(decoder);
    try {
      for (const bytes of decoder.hostile ?? []) await bounds.keep(bytes);
      const property = fc.asyncProperty(changedInputs(sample), async (changed) => {
        await bounds.keep(await wrap(changed));
      });
      await repeat(name, property, performance.now() + (seconds * 1000) / decoders.length, seed);
    } finally {
      bounds.close();
    }
  }
}

/** At least one round, and others until `end`. */
async function repeat(
  name: string,
  property: fc.IAsyncProperty<[Uint8Array]>,
  end: number,
  seed: number,
): Promise<void> {
  for (let round = 0; round === 0 || performance.now() < end; round++) {
    const found = await fc.check(property, { numRuns: inputsOfRound, seed: seed + round, endOnFailure: true });
    if (!found.failed) continue;
    const input = Buffer.from(found.counterexample?.[0] ?? []).toString("base64");
    const what = `${name}, SKEP_FUZZ_SEED=${seed + round}, changed to ${input.slice(0, longestShown)}`;
    throw new Error(`${what}: ${String(found.errorInstance)}`, { cause: found.errorInstance });
  }
}

class Bounds {
  readonly #decoder: Decoder;
  readonly #memory = new PeakMemory();

  constructor(decoder: Decoder) {
    this.#decoder = decoder;
  }

  /** A breach counts where it comes each time: what other tests of this process left behind is collected meanwhile. */
  async keep(bytes: Uint8Array): Promise<void> {
    let breach = "";
    for (let tries = 1; tries <= mostTries; tries++) {
      breach = await this.#breachOf(bytes);
      if (breach === "") return;
    }
    expect.fail(breach);
  }

  close(): void {
    this.#memory.close();
  }

  async #breachOf(bytes: Uint8Array): Promise<string> {
    this.#memory.begin();
    const before = process.threadCpuUsage();
    try {
      await this.#decoder.decode(bytes);
    } catch (error) {
      if (!(error instanceof SkepError)) throw error;
      expect(error.message.length, error.code).to.be.lessThan(longestMessage);
    }
    const { user, system } = process.threadCpuUsage(before);
    const cpuMs = (user + system) / 1000;
    if (cpuMs >= longestCpuMs) return `${cpuMs} ms of CPU, more than ${longestCpuMs}`;
    const most = this.#decoder.mostMemoryBytes ?? defaultMemoryBytes;
    const grownBytes = this.#memory.grownBytes();
    return grownBytes < most ? "" : `${grownBytes} bytes of memory, more than ${most}`;
  }
}
