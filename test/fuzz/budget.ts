// How long decoders are tried, and with which inputs. A CI asks for more, and for other ones each time: its output says the
// seed, with which a failure comes again.
import { randomInt } from "node:crypto";

/** Files of this folder that try decoders: they share the time. */
const files = 4;
/** Of all together, of whoever asks for nothing else. */
const defaultSeconds = 4;

/** For one file. */
export const fuzzSeconds = Number(process.env["SKEP_FUZZ_SECONDS"] ?? defaultSeconds) / files;

export const fuzzSeed = Number(process.env["SKEP_FUZZ_SEED"] ?? randomInt(2 ** 31));
