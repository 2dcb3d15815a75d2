// Which kits lie in the store: what a bare machine needs to restore, one for each architecture. Signed by the root key, for
// what is in a kit runs as root on the machines of a recovery: nobody who can only write to the store chooses it.
import { z } from "zod";
import { SkepError } from "../errors.ts";
import { shapeFaults } from "../fault-list.ts";
import { parseJsonText } from "../json-text.ts";
import { repositoryIdPattern } from "./layout.ts";
import { storedObjectSchema } from "./run.ts";
import { signedSchema, signPayload, verifyPayload } from "./signature.ts";

export const kitArchitectures = ["x64", "arm64"] as const;

const storedKitSchema = z.strictObject({
  architecture: z.enum(kitArchitectures),
  skepVersion: z.string().max(64),
  /** Of the whole file, a tar.gz: what the recovery card says. */
  sha256: z.string().regex(/^[0-9a-f]{64}$/),
  sizeBytes: z.int().min(1),
  /** The file, cut; in order. */
  pieces: z.array(storedObjectSchema).min(1).max(64),
});
export type StoredKit = z.infer<typeof storedKitSchema>;

export const kitListSchema = z.strictObject({
  format: z.literal(1),
  repositoryId: z.string().regex(repositoryIdPattern),
  /** That of its key. The highest counts. */
  version: z.int().min(1),
  createdAt: z.iso.datetime(),
  kits: z.array(storedKitSchema).max(kitArchitectures.length),
});
export type KitList = z.infer<typeof kitListSchema>;

export function encodeKitList(list: KitList, rootPrivateKey: string): Uint8Array {
  const signed = signPayload("skep/v1 kits", JSON.stringify(kitListSchema.parse(list)), rootPrivateKey);
  return Buffer.from(JSON.stringify(signed), "utf8");
}

/** Throws SKEP_KIT_LIST_INVALID, SKEP_SIGNATURE_INVALID. */
export function decodeKitList(bytes: Uint8Array, rootPublicKey: string, place: string): KitList {
  const invalid = (why: string): SkepError =>
    new SkepError({
      code: "SKEP_KIT_LIST_INVALID",
      message: `the list of kits ${place} is not valid: ${why}`,
      permanent: true,
      hint: "check who can write to the store; `skep kit store` writes kit and list anew",
    });
  const signed = signedSchema.safeParse(parseJsonText(bytes));
  if (!signed.success) throw invalid("it is not a signed object");
  const list = kitListSchema.safeParse(parseJsonText(verifyPayload("skep/v1 kits", signed.data, rootPublicKey, place)));
  if (!list.success) throw invalid(shapeFaults(list.error));
  return list.data;
}
