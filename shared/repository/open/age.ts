// Reading age v1 files, whole or by ranges. Header by the age-encryption package, payload by Node's native
// ChaCha20-Poly1305. What writes is ../age.ts.
import { SkepError } from "../../errors.ts";
import { payloadNonceBytes } from "../age-payload.ts";
import { openPassphraseHeader } from "../passphrase.ts";
import { damaged, damagedHint, PayloadOpener } from "./payload-opener.ts";

/** Longer headers are refused: room for a hundred post-quantum recipients. */
export const maxHeaderBytes = 256 * 1024;

/** Length of the age header that these bytes start with; null where its end is not within them. */
export function findHeaderEnd(start: Uint8Array): number | null {
  const bytes = Buffer.from(start.buffer, start.byteOffset, Math.min(start.byteLength, maxHeaderBytes));
  const mac = bytes.indexOf("\n--- ", 0, "latin1");
  if (mac < 0) return null;
  const end = bytes.indexOf("\n", mac + 1, "latin1");
  return end < 0 ? null : end + 1;
}

/**
 * The file key (16 bytes), once the header's MAC fits. `place` names the object.
 * Throws SKEP_IDENTITY_DOES_NOT_FIT where the file is for others, SKEP_AGE_INVALID where the header is damaged.
 */
export async function openAgeHeader(
  header: Uint8Array,
  identities: readonly string[],
  place: string,
): Promise<Uint8Array> {
  if (findHeaderEnd(header) !== header.length) throw damaged(place, "its age header is not whole");
  const { Decrypter } = await import("age-encryption");
  const decrypter = new Decrypter();
  for (const identity of identities) {
    await recipientOf(identity, "the identity given");
    decrypter.addIdentity(identity);
  }
  // Asked last, so only when no identity fits: tells that case from a damaged header without matching on messages.
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
    if (!asked.inVain) throw damaged(place, "its age header is damaged", error);
    throw new SkepError({
      code: "SKEP_IDENTITY_DOES_NOT_FIT",
      message: `${place} is not encrypted to this identity`,
      permanent: true,
      hint: "give the identity file of this repository; the recovery card names the repository's id",
      cause: error,
    });
  }
}

/** The recipient (`age1…`) of an identity; `place` names where it came from. Throws SKEP_IDENTITY_INVALID, without the identity. */
export async function recipientOf(identity: string, place: string): Promise<string> {
  const { identityToRecipient } = await import("age-encryption");
  try {
    return await identityToRecipient(identity);
  } catch {
    throw new SkepError({
      code: "SKEP_IDENTITY_INVALID",
      message: `${place} holds no valid age identity`,
      permanent: true,
      hint: damagedHint,
    });
  }
}

const armorBegin = "-----BEGIN AGE ENCRYPTED FILE-----";

/** Is it an age file, armoured or not? */
export function isAgeFile(bytes: Uint8Array): boolean {
  const start = Buffer.from(bytes.buffer, bytes.byteOffset, Math.min(bytes.length, 4096))
    .toString("latin1")
    .trimStart();
  return start.startsWith(armorBegin) || start.startsWith("age-encryption.org/v1\n");
}

/** What a passphrase opens. Throws SKEP_PASSPHRASE_WRONG, SKEP_AGE_INVALID; `place` names the file. */
export async function decryptWithPassphrase(file: Uint8Array, passphrase: string, place: string): Promise<Uint8Array> {
  const text = Buffer.from(file).toString("latin1");
  let bytes = file;
  if (text.trimStart().startsWith(armorBegin)) {
    const { armor } = await import("age-encryption");
    try {
      bytes = armor.decode(text);
    } catch (error) {
      throw damaged(place, "its armour is damaged", error);
    }
  }
  const headerEnd = findHeaderEnd(bytes);
  if (headerEnd === null) throw damaged(place, "it does not start with an age header");
  const fileKey = await openPassphraseHeader(bytes.subarray(0, headerEnd), passphrase, place);
  return openAgePayload(bytes.subarray(headerEnd), fileKey, place);
}

/** The plaintext of one whole age file that is in memory. Throws as openAgeHeader and PayloadOpener do. */
export async function decryptAge(file: Uint8Array, identities: readonly string[], place: string): Promise<Buffer> {
  const headerEnd = findHeaderEnd(file);
  if (headerEnd === null) throw damaged(place, "it does not start with an age header");
  const fileKey = await openAgeHeader(file.subarray(0, headerEnd), identities, place);
  return openAgePayload(file.subarray(headerEnd), fileKey, place);
}

/** `payload`: nonce and all pieces. */
export function openAgePayload(payload: Uint8Array, fileKey: Uint8Array, place: string): Buffer {
  const opener = new PayloadOpener(fileKey, payload.subarray(0, payloadNonceBytes), payload.length, place);
  return opener.open(payload.subarray(payloadNonceBytes), 0);
}
