// Ed25519 signatures (RFC 8032) over exact bytes. What is signed travels as the JSON text that was signed, so
// that no canonical form is needed: { "payload": "<JSON text>", "signature": "<base64 of 64 bytes>" }.
// The signed bytes are the ASCII context, a zero byte, and the payload's UTF-8: a signature made for one
// kind of object is never valid for another.
import { createPrivateKey, createPublicKey, generateKeyPairSync, sign, verify, type KeyObject } from "node:crypto";
import { z } from "zod";
import { base64Bytes } from "../base64-bytes.ts";
import { SkepError } from "../errors.ts";

export type SignatureContext = `skep/v1 ${"repository" | "root" | "run" | "job" | "upkeep" | "kits"}`;

export const signedSchema = z.strictObject({
  payload: z.string().max(64 * 1024 * 1024),
  signature: base64Bytes(64),
});
export type Signed = z.infer<typeof signedSchema>;

/** 32 bytes as standard base64. */
export const publicKeySchema = base64Bytes(32);

export interface SigningKeyPair {
  /** PKCS#8 DER as base64: goes into the identity file or the controller's secret. */
  privateKey: string;
  publicKey: string;
}

export function generateSigningKeyPair(): SigningKeyPair {
  const { privateKey, publicKey } = generateKeyPairSync("ed25519");
  return {
    privateKey: privateKey.export({ type: "pkcs8", format: "der" }).toString("base64"),
    publicKey: rawPublicKey(publicKey),
  };
}

/** The public half of a private key in the form above. */
export function publicKeyOf(privateKey: string): string {
  return rawPublicKey(createPublicKey(readPrivateKey(privateKey)));
}

/** Null where it is no private key. */
export function publicKeyIn(privateKey: string): string | null {
  try {
    return publicKeyOf(privateKey);
  } catch {
    return null;
  }
}

function rawPublicKey(key: KeyObject): string {
  // Keys of other kinds have an x too.
  const x = key.asymmetricKeyType === "ed25519" ? key.export({ format: "jwk" }).x : undefined;
  if (x === undefined) throw new TypeError("not an Ed25519 key");
  return Buffer.from(x, "base64url").toString("base64");
}

function readPrivateKey(privateKey: string): KeyObject {
  return createPrivateKey({ key: Buffer.from(privateKey, "base64"), type: "pkcs8", format: "der" });
}

function signedBytes(context: SignatureContext, payload: string): Buffer {
  return Buffer.from(`${context}\0${payload}`, "utf8");
}

export function signPayload(context: SignatureContext, payload: string, privateKey: string): Signed {
  const signature = sign(null, signedBytes(context, payload), readPrivateKey(privateKey));
  return { payload, signature: signature.toString("base64") };
}

/** The payload, once the signature fits; `what` names the object for the message. Throws SKEP_SIGNATURE_INVALID. */
export function verifyPayload(context: SignatureContext, signed: Signed, publicKey: string, what: string): string {
  const key = createPublicKey({
    key: { kty: "OKP", crv: "Ed25519", x: Buffer.from(publicKey, "base64").toString("base64url") },
    format: "jwk",
  });
  const fits = verify(null, signedBytes(context, signed.payload), key, Buffer.from(signed.signature, "base64"));
  if (!fits) {
    throw new SkepError({
      code: "SKEP_SIGNATURE_INVALID",
      message: `the signature of ${what} does not fit the key ${publicKey}`,
      permanent: true,
      hint: "somebody else wrote it, or it is damaged: check who can write to the store and the queue",
    });
  }
  return signed.payload;
}
