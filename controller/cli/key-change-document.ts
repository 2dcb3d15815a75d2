// What the commands that change keys print as JSON.
import type { RepositoryObject } from "../../shared/repository/repository-object.ts";
import type { KeyChangeDocument } from "./documents.ts";

/** `file`: that was written; null for none. */
export function keyChangeDocument(
  { version, epoch, recipients, rootPublicKey, controllerPublicKey }: RepositoryObject,
  changed: boolean,
  file: string | null,
): KeyChangeDocument {
  return { changed, version, epoch: epoch.number, recipients, rootPublicKey, controllerPublicKey, file };
}
