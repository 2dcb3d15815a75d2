// The repository object: what a repository is and whose word counts in it. Signed by the root key, one object
// per version, never changed. Readers pin the root's public key and the highest version that they have seen; where the root
// key was changed, they follow the handovers from the key that they pinned.
import { z } from "zod";
import { SkepError } from "../errors.ts";
import { shapeFaults } from "../fault-list.ts";
import { parseJsonText } from "../json-text.ts";
import { repositoryIdPattern } from "./layout.ts";
import { heirOf, signedHandoversSchema } from "./root-handover.ts";
import { publicKeyOf, publicKeySchema, signedSchema, signPayload, verifyPayload } from "./signature.ts";

/** The only format there is; a reader refuses a greater one. */
export const formatVersion = 1;

/** `age1…` (X25519) or `age1pq1…` (post-quantum hybrid). */
export const recipientSchema = z.string().regex(/^age1[0-9a-z]{20,4000}$/);

export const repositoryObjectSchema = z.strictObject({
  format: z.literal(formatVersion),
  repositoryId: z.string().regex(repositoryIdPattern),
  version: z.int().min(1),
  createdAt: z.iso.datetime(),
  /** Raised by a recovery: controllers and agents of an older one neither write nor prune. */
  incarnation: z.int().min(1),
  /** Whose signature is on this object. */
  rootPublicKey: publicKeySchema,
  /** From the first root key to this one, the oldest first. */
  rootHandovers: signedHandoversSchema,
  controllerPublicKey: publicKeySchema,
  /** Operators, to whom keys/ is encrypted. */
  recipients: z
    .array(
      z.strictObject({
        name: z.string().min(1).max(200),
        recipient: recipientSchema,
        /** True where the identity file of this operator has the root signing key too. */
        holdsRootKey: z.boolean(),
      }),
    )
    .min(1)
    .max(100),
  /** To whom packs, manifests and archives are encrypted now; older epochs stay readable. */
  epoch: z.strictObject({ number: z.int().min(1), recipient: recipientSchema }),
  /** Version of keys/repository-N.age. */
  repositoryKeyVersion: z.int().min(1),
  /** deriveKeyCheck of the repository key: anybody can encrypt another key to the operators, not this one. */
  repositoryKeyCheck: z.string().regex(/^[0-9a-f]{64}$/),
  epochKeyVersion: z.int().min(1),
  /** All before, from 1 on. `keyVersion`: of its keys/epoch-…, which is encrypted to the recipients above too. */
  formerEpochs: z
    .array(z.strictObject({ number: z.int().min(1), recipient: recipientSchema, keyVersion: z.int().min(1) }))
    .max(10_000),
  /** Whose signatures still count on runs up to that sequence number; 0: on none. */
  formerControllerKeys: z.array(z.strictObject({ publicKey: publicKeySchema, lastSequence: z.int().min(0) })).max(1000),
  revokedControllerKeys: z.array(publicKeySchema).max(1000),
  /** Writers whose later objects no longer count. */
  revokedWriters: z.array(z.strictObject({ writerId: z.string(), at: z.iso.datetime() })).max(10000),
});
export type RepositoryObject = z.infer<typeof repositoryObjectSchema>;

/** All of them, the present one last. */
export function epochsOf(object: RepositoryObject): RepositoryObject["formerEpochs"] {
  return [...object.formerEpochs, { ...object.epoch, keyVersion: object.epochKeyVersion }];
}

/** Throws SKEP_ROOT_KEY_REPLACED where the root key is not the one that counts. */
export function checkRootKey({ rootPublicKey, version }: RepositoryObject, rootPrivateKey: string): void {
  if (publicKeyOf(rootPrivateKey) === rootPublicKey) return;
  throw new SkepError({
    code: "SKEP_ROOT_KEY_REPLACED",
    message: `the root signing key of this identity file is a former one: repository object ${version} is signed by ${rootPublicKey}`,
    permanent: true,
    hint: "take the identity file that `skep key rotate root` wrote; the former one still opens backups, and neither changes keys nor recovers a swarm",
  });
}

export function encodeRepositoryObject(object: RepositoryObject, rootPrivateKey: string): Uint8Array {
  const signed = signPayload("skep/v1 repository", JSON.stringify(object), rootPrivateKey);
  return Buffer.from(JSON.stringify(signed), "utf8");
}

const signerSchema = z.object({
  repositoryId: z.string(),
  version: z.int(),
  rootHandovers: signedHandoversSchema,
});

/**
 * `rootPublicKey` is pinned by the reader; the object's own is the one to pin from then on. Throws
 * SKEP_REPOSITORY_INVALID, SKEP_REPOSITORY_FORMAT_NEWER or SKEP_SIGNATURE_INVALID.
 */
export function decodeRepositoryObject(bytes: Uint8Array, rootPublicKey: string, place: string): RepositoryObject {
  const invalid = (why: string): SkepError =>
    new SkepError({
      code: "SKEP_REPOSITORY_INVALID",
      message: `the repository object ${place} is not valid: ${why}`,
      permanent: true,
      hint: "check that the store's address is that of the recovery card, and who can write there",
    });
  const signed = signedSchema.safeParse(parseJsonText(bytes));
  if (!signed.success) throw invalid("it is not a signed object");
  const unproven = signerSchema.safeParse(parseJsonText(signed.data.payload)).data;
  const signer =
    unproven === undefined ? rootPublicKey : heirOf(rootPublicKey, unproven.rootHandovers, unproven, place);
  const payload = parseJsonText(verifyPayload("skep/v1 repository", signed.data, signer, place));
  const newer = z.object({ format: z.int().gt(formatVersion) }).safeParse(payload);
  if (newer.success) {
    throw new SkepError({
      code: "SKEP_REPOSITORY_FORMAT_NEWER",
      message: `${place} has format ${newer.data.format}, this Skep reads up to ${formatVersion}`,
      permanent: true,
      hint: "use a newer Skep",
    });
  }
  const object = repositoryObjectSchema.safeParse(payload);
  if (!object.success) throw invalid(shapeFaults(object.error));
  if (object.data.rootPublicKey !== signer) throw invalid("it names another root key");
  return object.data;
}
