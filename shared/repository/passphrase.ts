// age files locked by a passphrase (scrypt stanza, age-encryption.org/v1): for one file that a person carries away.
import { SkepError } from "../errors.ts";
import type { AgeHeader } from "./age.ts";
import { payloadNonceBytes, pieceTagBytes } from "./age-payload.ts";

/** Shorter ones are found by trying. */
export const shortestPassphrase = 8;

/**
 * A new file key, locked by the passphrase. `workFactor`: log2 of scrypt's N, 18 as the `age` command has it (about 2 s, for it
 * is done twice); tests take less.
 */
export async function makePassphraseHeader(passphrase: string, workFactor = 18): Promise<AgeHeader> {
  const { Decrypter, Encrypter } = await import("age-encryption");
  const encrypter = new Encrypter();
  encrypter.setScryptWorkFactor(workFactor);
  encrypter.setPassphrase(passphrase);
  const empty = await encrypter.encrypt(new Uint8Array(0));
  const header = empty.subarray(0, empty.length - payloadNonceBytes - pieceTagBytes);
  const decrypter = new Decrypter();
  decrypter.addPassphrase(passphrase);
  return { header, fileKey: await decrypter.decryptHeader(header) };
}

/** True where only a passphrase opens it. */
export function isPassphraseHeader(header: Uint8Array): boolean {
  return Buffer.from(header).toString("latin1").split("\n")[1]?.startsWith("-> scrypt ") === true;
}

/** The file key. Throws SKEP_PASSPHRASE_WRONG, SKEP_AGE_INVALID; never with the passphrase in the message. */
export async function openPassphraseHeader(header: Uint8Array, passphrase: string, place: string): Promise<Uint8Array> {
  const { Decrypter } = await import("age-encryption");
  const decrypter = new Decrypter();
  decrypter.addPassphrase(passphrase);
  // Asked only when the passphrase did not fit: tells that case from a damaged header without matching on messages.
  const asked = { inVain: false };
  decrypter.addIdentity({
    unwrapFileKey() {
      asked.inVain = true;
      return null;
    },
  });
  try {
    return await decrypter.decryptHeader(header);
  } catch (error) {
    throw new SkepError({
      code: asked.inVain ? "SKEP_PASSPHRASE_WRONG" : "SKEP_AGE_INVALID",
      message: asked.inVain ? `the passphrase does not open ${place}` : `${place}: its age header is damaged`,
      permanent: true,
      ...(asked.inVain ? { hint: "type it again; one letter or a space more is another passphrase" } : {}),
      cause: error,
    });
  }
}
