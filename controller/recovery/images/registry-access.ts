// Credentials for registries: those of the inventory, else those that the swarm's copy has with the service. They go in
// the header of a request to an engine, and nowhere else.
import { parseReference, registryOf } from "../../../shared/image-reference.ts";
import type { CopiedService } from "../../objects/copied-objects.ts";

/** Value of X-Registry-Auth; null where nobody knows any. */
export type RegistryAccess = (reference: string) => string | null;

export interface RegistryLogin {
  user: string;
  password: string;
}

export function registryAccess(
  logins: ReadonlyMap<string, RegistryLogin>,
  services: readonly Pick<CopiedService, "spec" | "registryAuth">[],
): RegistryAccess {
  const copied = new Map<string, string>();
  for (const { spec, registryAuth } of services) {
    const image = spec.TaskTemplate.ContainerSpec?.Image;
    if (image !== undefined && registryAuth !== null) copied.set(image, registryAuth);
  }
  return (reference) => {
    const named = parseReference(reference);
    const registry = named === null ? "" : registryOf(named);
    const login = logins.get(registry);
    if (login === undefined) return copied.get(reference) ?? null;
    const { user: username, password } = login;
    const serveraddress = registry === "docker.io" ? "https://index.docker.io/v1/" : registry;
    const auth = JSON.stringify({ username, password, serveraddress });
    // Engines want its padding (Go's base64.URLEncoding), and take what lacks it for no credentials at all.
    return Buffer.from(auth).toString("base64").replaceAll("+", "-").replaceAll("/", "_");
  };
}
