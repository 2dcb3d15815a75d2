// Writing age v1 files. Header and key wrapping are the age-encryption package's; the payload goes through OpenSSL's
// ChaCha20-Poly1305, some twenty times faster than the package's own stream. What reads is open/age.ts.
import { SkepError } from "../errors.ts";
import { payloadNonceBytes, pieceTagBytes } from "./age-payload.ts";
import { PayloadSealer } from "./age-sealer.ts";

/** Loaded with the first call: most commands of the CLI need no age file, and it takes a fifth of their start. */
const agePackage = () => import("age-encryption");

export interface AgeHeader {
  /** Text with its MAC, ready to be written. */
  header: Uint8Array;
  /** 16 bytes, fresh; for one payload only. */
  fileKey: Uint8Array;
}

/** A new file key, wrapped for every recipient (`age1…`). Throws SKEP_RECIPIENT_INVALID. */
export async function makeAgeHeader(recipients: readonly string[]): Promise<AgeHeader> {
  const { Encrypter } = await agePackage();
  const encrypter = new Encrypter();
  if (recipients.length === 0) throw new TypeError("an age file needs a recipient");
  for (const recipient of recipients) {
    try {
      encrypter.addRecipient(recipient);
    } catch (error) {
      throw new SkepError({
        code: "SKEP_RECIPIENT_INVALID",
        message: `"${recipient}" is not an age recipient`,
        permanent: true,
        hint: 'a recipient starts with "age1"; it is the "public key" line of an identity file',
        cause: error,
      });
    }
  }
  // The package gives no file key away. A recipient that wraps nothing is shown it like every other; the payload
  // that the package then makes, of no bytes, is cut off again (our own uses the key with another nonce).
  let fileKey: Uint8Array | undefined;
  encrypter.addRecipient({
    wrapFileKey(key) {
      fileKey = Uint8Array.from(key);
      return [];
    },
  });
  const empty = await encrypter.encrypt(new Uint8Array(0));
  if (fileKey === undefined) throw new TypeError("age-encryption showed no file key");
  return { header: empty.subarray(0, empty.length - payloadNonceBytes - pieceTagBytes), fileKey };
}

/** One whole age file, for small objects. */
export async function encryptAge(plain: Uint8Array, recipients: readonly string[]): Promise<Uint8Array> {
  const { header, fileKey } = await makeAgeHeader(recipients);
  const parts: Uint8Array[] = [header];
  const sealer = new PayloadSealer(fileKey, (sealed) => parts.push(sealed));
  sealer.write(plain);
  sealer.finish();
  return Buffer.concat(parts);
}

export interface AgeIdentity {
  /** `AGE-SECRET-KEY-1…`, or `AGE-SECRET-KEY-PQ-1…` of the hybrid. */
  identity: string;
  /** `age1…`, or `age1pq1…`. */
  recipient: string;
}

/**
 * An armoured age file that a passphrase opens, also with `age -d`. For identity files. `workFactor`: log2 of scrypt's N,
 * 18 as the `age` command has it; tests take less.
 */
export async function encryptWithPassphrase(plain: Uint8Array, passphrase: string, workFactor = 18): Promise<string> {
  const { armor, Encrypter } = await agePackage();
  const encrypter = new Encrypter();
  encrypter.setScryptWorkFactor(workFactor);
  encrypter.setPassphrase(passphrase);
  return `${armor.encode(await encrypter.encrypt(plain)).trimEnd()}\n`;
}

export type AgeKind = "x25519" | "hybrid";

/** Of a recipient: `hybrid` (`age1pq1…`) is safe from quantum computers as well. */
export function ageKindOf(recipient: string): AgeKind {
  return recipient.startsWith("age1pq1") ? "hybrid" : "x25519";
}

export async function generateAgeIdentity(kind: AgeKind = "x25519"): Promise<AgeIdentity> {
  const { generateHybridIdentity, generateX25519Identity, identityToRecipient } = await agePackage();
  const identity = kind === "hybrid" ? await generateHybridIdentity() : await generateX25519Identity();
  return { identity, recipient: await identityToRecipient(identity) };
}
