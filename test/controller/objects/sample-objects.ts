// Copied and present objects by hand, for tests of plans.
import type {
  CopiedFile,
  CopiedNetwork,
  CopiedObjects,
  CopiedService,
} from "../../../controller/objects/copied-objects.ts";
import { networkBodyOf } from "../../../controller/objects/network-body.ts";
import type { ServiceSpec } from "../../../controller/objects/portable.ts";
import type { PresentObjects } from "../../../controller/objects/present-objects.ts";

export const stackLabels = (stack: string): Record<string, string> => ({ "com.docker.stack.namespace": stack });

export function file(name: string, data: string, stack: string | null = null): CopiedFile {
  const Data = Buffer.from(data).toString("base64");
  const mark = Buffer.from(data.padEnd(16, ".")).toString("hex").slice(0, 32);
  return {
    id: `old-${name}`,
    name,
    stack,
    spec: { Name: name, Labels: stack === null ? {} : stackLabels(stack), Data },
    mark,
  };
}

export function network(
  name: string,
  subnet: string,
  options: { stack?: string; asked?: boolean } = {},
): CopiedNetwork {
  const body = networkBodyOf({
    Name: name,
    Driver: "overlay",
    Labels: options.stack === undefined ? {} : stackLabels(options.stack),
    IPAM: { Config: [{ Subnet: subnet }] },
  });
  return { id: `old-${name}`, name, stack: options.stack ?? null, body, subnetsAsked: options.asked ?? false };
}

export function service(name: string, fields: Partial<ServiceSpec> = {}, stack: string | null = null): CopiedService {
  const spec: ServiceSpec = {
    Name: name,
    Labels: stack === null ? {} : stackLabels(stack),
    TaskTemplate: { ContainerSpec: { Image: "app:1" } },
    Mode: { Replicated: { Replicas: 2 } },
    ...fields,
  };
  return { id: `old-${name}`, name, stack, spec, registryAuth: null, wasHeld: false };
}

export function copied(objects: Partial<CopiedObjects>): CopiedObjects {
  return { networks: [], secrets: [], configs: [], services: [], unsupported: [], ...objects };
}

/** A swarm that has them, under other ids; secrets without data. */
export function presentOf({ networks, secrets, configs, services }: CopiedObjects): PresentObjects {
  const id = (name: string): string => `new-${name}`;
  return {
    networks: networks.map(({ name, body }) => ({ id: id(name), name, body: structuredClone(body) })),
    secrets: secrets.map(({ name, spec }) => {
      const shown = { Name: spec["Name"], Labels: spec["Labels"] };
      return { id: id(name), name, version: 1, spec: shown, mark: null };
    }),
    configs: configs.map(({ name, spec }) => ({ id: id(name), name, version: 1, spec: { ...spec }, mark: null })),
    services: services.map(({ name, spec }) => ({
      id: id(name),
      name,
      version: 1,
      spec: structuredClone(spec),
      previousSpec: null,
    })),
  };
}
