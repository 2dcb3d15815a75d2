// Calls into the C library and into the libraries that the Node program has within (OpenSSL, zstd), by koffi, which has
// prebuilt modules. The only file that names it. All calls are synchronous and take about 2 µs more than their own time;
// what is given by pointer has to live during the call only.
import koffi from "koffi";

export type ForeignCall = (...values: (number | bigint | Buffer | Uint8Array | object | null)[]) => number;

const library = koffi.load(null);

/** By its C prototype. Throws where no loaded library has such a function. */
export function declare(prototype: string): ForeignCall {
  return library.func(prototype);
}

/** Of the last call in this thread. */
export function lastErrno(): number {
  return koffi.errno();
}

export const errnoOf: Readonly<Record<string, number>> = koffi.os.errno;

/** Where the bytes lie, while their buffer lives. */
export function addressOf(bytes: Uint8Array): number {
  return Number(koffi.address(bytes));
}
