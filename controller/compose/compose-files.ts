// A swarm's stacks as compose files that `docker stack deploy` takes, one for each stack, and one for the services that
// belong to none. Secrets and configs are external, or files that lie beside.
import { createHash } from "node:crypto";
import { stringify } from "yaml";
import type { Json } from "../../shared/raft/engine-api/values.ts";
import {
  stackLabel,
  type CopiedFile,
  type CopiedNetwork,
  type CopiedObjects,
  type CopiedService,
} from "../objects/copied-objects.ts";
import { referencesOf } from "../objects/portable.ts";
import { composeService } from "./compose-service.ts";

export interface ComposeFile {
  /** Null for the services that belong to no stack. */
  stack: string | null;
  /** Its folder: the stack's name, as far as it is one. */
  folder: string;
  text: string;
  /** What lies beside, for a file that names it; path relative to the compose file. */
  files: { path: string; bytes: Uint8Array }[];
  /** What no compose file can say: `service web: TaskTemplate.ForceUpdate`. */
  cannot: string[];
}

/** Docker reads YAML 1.1, where a label `on` or a value 12:30 is a string only in quotes. */
const yaml11 = { lineWidth: 0, version: "1.1" } as const;

/** With `reveal` secrets and configs of a stack are files beside; else they must be in the swarm. */
export function composeFiles(objects: CopiedObjects, reveal: boolean): ComposeFile[] {
  const stacks = [...new Set(objects.services.map(({ stack }) => stack))];
  return stacks
    .sort((a, b) => (a ?? "\uffff").localeCompare(b ?? "\uffff", "en"))
    .map((stack) => composeFile(objects, stack, reveal));
}

function composeFile(objects: CopiedObjects, stack: string | null, reveal: boolean): ComposeFile {
  const services = objects.services.filter((service) => service.stack === stack);
  const keyOf = (name: string): string =>
    stack !== null && name.startsWith(`${stack}_`) ? name.slice(stack.length + 1) : name;
  const sections: Record<"services" | "networks" | "volumes" | "secrets" | "configs", Json> = {
    services: {},
    networks: {},
    volumes: {},
    secrets: {},
    configs: {},
  };
  const cannot: string[] = [];
  const files: ComposeFile["files"] = [];
  for (const service of services) {
    const key = keyOf(service.name);
    const made = composeService(service.spec, {
      service: key,
      network: keyOf,
      secret: keyOf,
      config: keyOf,
      volume: (mount) => describeVolume(mount, stack, sections.volumes),
    });
    sections.services[key] = made.service;
    cannot.push(...limits(service, stack, key), ...made.cannot.map((path) => `service ${service.name}: ${path}`));
    for (const { kind, name } of referencesOf(service.spec)) {
      if (kind === "network") {
        const network = objects.networks.find((one) => one.name === name);
        sections.networks[keyOf(name)] = describeNetwork(network, name, stack, cannot);
      } else {
        const found = objects[`${kind}s`].find((one) => one.name === name);
        sections[`${kind}s`][keyOf(name)] = describeFile(kind, found, name, stack, reveal, files);
      }
    }
  }
  const filled = Object.entries(sections).filter(([, section]) => Object.keys(section).length > 0);
  const head =
    stack === null
      ? "# Services that belong to no stack."
      : `# Stack ${fileName(stack)}: docker stack deploy -c compose.yml ${fileName(stack)}`;
  const lines = cannot.map((line) => `# A compose file cannot say: ${line.replaceAll(/\s+/g, " ")}`);
  const text = [head, ...lines, stringify({ version: "3.9", ...Object.fromEntries(filled) }, yaml11)].join("\n");
  return { stack, folder: stack === null ? "no-stack" : fileName(stack), text, files, cannot };
}

function limits({ name, registryAuth }: CopiedService, stack: string | null, key: string): string[] {
  return [
    ...(stack === null ? [`service ${name}: that it belongs to no stack`] : []),
    ...(stack !== null && key === name ? [`service ${name}: that its name does not begin with ${stack}_`] : []),
    ...(registryAuth === null
      ? []
      : [`service ${name}: credentials of its registry (docker login, then --with-registry-auth)`]),
  ];
}

function describeNetwork(
  network: CopiedNetwork | undefined,
  name: string,
  stack: string | null,
  cannot: string[],
): Json {
  if (network === undefined || stack === null || network.stack !== stack) return { external: true, name };
  const { body, subnetsAsked } = network;
  const config = subnetsAsked ? body.IPAM.Config : [];
  for (const { IPRange } of config) if (IPRange !== undefined) cannot.push(`network ${name}: IPAM.IPRange`);
  if (body.EnableIPv6) cannot.push(`network ${name}: EnableIPv6`);
  return {
    name,
    driver: body.Driver,
    ...(Object.keys(body.Options).length > 0 ? { driver_opts: body.Options } : {}),
    ...(body.Attachable ? { attachable: true } : {}),
    ...(body.Internal ? { internal: true } : {}),
    ...own(body.Labels),
    ...(config.length > 0 ? { ipam: { config: config.map(({ Subnet }) => ({ subnet: Subnet })) } } : {}),
  };
}

/** Its key. Volumes of the stack are the file's own, others are external. */
function describeVolume(mount: Json, stack: string | null, section: Json): string | null {
  const name = String(mount["Source"]);
  const { Labels, DriverConfig } = (mount["VolumeOptions"] ?? {}) as Json;
  const labels = (Labels ?? {}) as Record<string, string>;
  const driver = (DriverConfig ?? {}) as Json;
  const isOwn = stack !== null && labels[stackLabel] === stack;
  if (!isOwn && (Object.keys(labels).length > 0 || Object.keys(driver).length > 0)) return null;
  const key = isOwn && name.startsWith(`${stack}_`) ? name.slice(stack.length + 1) : name;
  section[key] = isOwn
    ? {
        name,
        ...(driver["Name"] === undefined ? {} : { driver: driver["Name"] }),
        ...(driver["Options"] === undefined ? {} : { driver_opts: driver["Options"] }),
        ...own(labels),
      }
    : { external: true, name };
  return key;
}

function describeFile(
  kind: "secret" | "config",
  found: CopiedFile | undefined,
  name: string,
  stack: string | null,
  reveal: boolean,
  files: ComposeFile["files"],
): Json {
  const data = found?.spec["Data"];
  if (!reveal || found === undefined || typeof data !== "string" || stack === null || found.stack !== stack) {
    return { external: true, name };
  }
  const path = `${kind}s/${fileName(name)}`;
  files.push({ path, bytes: Buffer.from(data, "base64") });
  const templating = (found.spec["Templating"] ?? {}) as Json;
  return {
    name,
    file: `./${path}`,
    ...(templating["Name"] === undefined ? {} : { template_driver: templating["Name"] }),
    ...own((found.spec["Labels"] ?? {}) as Record<string, string>),
  };
}

/** Names of Docker's are names of files; one that somebody forged is hashed. */
function fileName(name: string): string {
  if (/^[A-Za-z0-9][\w.-]{0,200}$/.test(name)) return name;
  return createHash("sha256").update(name).digest("hex").slice(0, 32);
}

/** Labels without the stack's, which the command adds. */
function own(labels: Record<string, string>): Json {
  const entries = Object.entries(labels).filter(([key]) => key !== stackLabel);
  return entries.length === 0 ? {} : { labels: Object.fromEntries(entries) };
}
