// What the controller holds, as one JSON secret: the repository key and its own signing key. It opens the
// catalogue and orders jobs; it opens no data.
import { z } from "zod";
import { base64Bytes } from "../base64-bytes.ts";
import { SkepError } from "../errors.ts";
import { faultPlaces } from "../fault-list.ts";
import { repositoryIdPattern } from "./layout.ts";
import { publicKeyIn, publicKeySchema } from "./signature.ts";

export const controllerKeySchema = z.strictObject({
  format: z.literal(1),
  repositoryId: z.string().regex(repositoryIdPattern),
  /** Pinned: whose signature counts on the repository object. */
  rootPublicKey: publicKeySchema,
  /** 32 bytes. */
  repositoryKey: base64Bytes(32),
  /** PKCS#8 DER. */
  signingKey: z
    .base64()
    .max(200)
    .refine((text) => publicKeyIn(text) !== null),
});
export type ControllerKey = z.infer<typeof controllerKeySchema>;

/** Throws SKEP_CONTROLLER_KEY_INVALID; `place` names the file. Never puts its content into the error. */
export function decodeControllerKey(text: string, place: string): ControllerKey {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    json = undefined;
  }
  const key = controllerKeySchema.safeParse(json);
  if (key.success) return key.data;
  throw new SkepError({
    code: "SKEP_CONTROLLER_KEY_INVALID",
    message: `${place} is not a controller key: wrong at ${faultPlaces(key.error)}`,
    permanent: true,
    hint: "give the file controller.key that `skep init` wrote",
  });
}
