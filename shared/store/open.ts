// The one door to every store.
import { SkepError } from "../errors.ts";
import { createDirectory, openDirectory } from "./directory.ts";
import { parseStoreUrl, type StoreCredentials, type StoreLocation } from "./location.ts";
import type { Store } from "./store.ts";

/** Opens without asking the store anything; the caller closes it. Credentials are null for a folder. */
export function openStore(location: StoreLocation, credentials: StoreCredentials | null): Store {
  const url = parseStoreUrl(location.url);
  if (url?.kind === "file") return openDirectory(url.path);
  throw new SkepError({
    code: "SKEP_STORE_LOCATION",
    message: `${location.url} is no address of a store${credentials === null ? "" : " that takes credentials"}`,
    permanent: true,
  });
}

/** As openStore, and makes the folder where it is missing. Buckets are made by those who pay for them. */
export async function createStore(location: StoreLocation, credentials: StoreCredentials | null): Promise<Store> {
  const url = parseStoreUrl(location.url);
  if (url?.kind === "file") await createDirectory(url.path);
  return openStore(location, credentials);
}
