// The networks, secrets, configs and services of a Raft copy, as what the Engine API's create calls take. Services are in
// their portable form (portable.ts). What Skep itself held when the copy was made is as it was before the hold.
import { createHmac, hkdfSync } from "node:crypto";
import { SkepError } from "../../shared/errors.ts";
import { config, secret } from "../../shared/raft/engine-api/cluster.ts";
import { registryAuthOf, serviceSpec } from "../../shared/raft/engine-api/service.ts";
import type { Json } from "../../shared/raft/engine-api/values.ts";
import type { SwarmState } from "../../shared/raft/read-swarm.ts";
import { giveBack, openHolds } from "../../shared/raft/undo-holds.ts";
import { decodeMessage, type Message } from "../../shared/raft/swarmkit/message-types.ts";
import { networkBody, type NetworkBody } from "./network-body.ts";
import { isOwnRecord } from "./own-records.ts";
import { serviceSpecSchema, toPortable, type ServiceSpec } from "./portable.ts";

/** Docker's own, on every object of a stack that `docker stack deploy` made. */
export const stackLabel = "com.docker.stack.namespace";

interface Copied {
  /** In the swarm that was copied. */
  id: string;
  name: string;
  /** Of the stack that it belongs to. */
  stack: string | null;
}

export interface CopiedNetwork extends Copied {
  body: NetworkBody;
  /** False where the swarm chose the subnets. */
  subnetsAsked: boolean;
}

/** Secrets and configs: `spec` with Data, `mark` tells those of equal kind, name, labels and data, to who has the copy. */
export interface CopiedFile extends Copied {
  spec: Json;
  mark: string;
}

export interface CopiedService extends Copied {
  spec: ServiceSpec;
  /** Value of X-Registry-Auth with which the service was made; null without. */
  registryAuth: string | null;
  /** It was held by Skep in the copy, and is here as before. */
  wasHeld: boolean;
}

export interface CopiedObjects {
  networks: CopiedNetwork[];
  secrets: CopiedFile[];
  configs: CopiedFile[];
  services: CopiedService[];
  /** In the copy, and not to be created by the API: a sentence each. */
  unsupported: string[];
}

/** Throws SKEP_RAFT_FORMAT, SKEP_OBJECTS_DANGLING. */
export function copiedObjects(state: SwarmState): CopiedObjects {
  const { objects } = state.store;
  const markKey = markKeyOf(state);
  const all: CopiedObjects = { networks: [], secrets: [], configs: [], services: [], unsupported: [] };
  const names = {
    network: new Map<string, string>(),
    secret: new Map<string, string>(),
    config: new Map<string, string>(),
  };

  for (const [id, bytes] of objects.network) {
    const network = decodeMessage("Network", bytes);
    const name = network.spec?.annotations?.name ?? "";
    names.network.set(id, name);
    // The swarm's side of a node's own network, such as `host`: every swarm has it.
    if (isPredefined(network)) continue;
    if (network.pendingDelete) {
      all.unsupported.push(beingRemoved("network", name));
      continue;
    }
    const subnetsAsked = (network.spec?.ipam?.configs ?? []).some(({ subnet }) => subnet !== "");
    all.networks.push({ ...headOf(id, network.spec), body: networkBody(network), subnetsAsked });
  }
  for (const [id, bytes] of objects.secret) {
    const message = decodeMessage("Secret", bytes);
    const head = headOf(id, message.spec);
    names.secret.set(id, head.name);
    if (message.internal) all.unsupported.push(`secret ${head.name} is the swarm's own`);
    else all.secrets.push(copiedFile("secret", head, secret(message, true), markKey));
  }
  for (const [id, bytes] of objects.config) {
    const message = decodeMessage("Config", bytes);
    const head = headOf(id, message.spec);
    names.config.set(id, head.name);
    if (!isOwnRecord(message.spec?.annotations?.labels))
      all.configs.push(copiedFile("config", head, config(message), markKey));
  }
  const holds = new Map(openHolds(state.store).map((record) => [record.serviceId, record]));
  for (const [id, bytes] of objects.service) {
    const service = decodeMessage("Service", bytes);
    if (service.pendingDelete) {
      all.unsupported.push(beingRemoved("service", service.spec?.annotations?.name ?? ""));
      continue;
    }
    const hold = holds.get(id);
    const wasHeld = hold !== undefined && giveBack(service, hold.former);
    all.services.push({ ...copiedService(id, service.spec, names), wasHeld });
  }
  for (const bytes of objects.volume.values()) {
    const name = decodeMessage("Volume", bytes).spec?.annotations?.name ?? "";
    all.unsupported.push(`cluster volume ${name} belongs to a CSI driver: make it anew with that driver`);
  }
  for (const list of [all.networks, all.secrets, all.configs, all.services]) list.sort(byName);
  return all;
}

/** The swarm removes such an object when its last task is gone; moby/swarmkit, Service.pending_delete. */
function beingRemoved(kind: string, name: string): string {
  return `${kind} ${name} was being removed when the copy was taken`;
}

type NamesById = Record<"network" | "secret" | "config", ReadonlyMap<string, string>>;

function copiedService(
  id: string,
  message: Message<"ServiceSpec"> | undefined,
  names: NamesById,
): Omit<CopiedService, "wasHeld"> {
  const head = headOf(id, message);
  const asCopied = serviceSpecSchema.parse(structuredClone(serviceSpec(message)));
  const spec = toPortable(asCopied, (kind, referred) => {
    const name = names[kind].get(referred);
    if (name !== undefined) return name;
    throw new SkepError({
      code: "SKEP_OBJECTS_DANGLING",
      message: `service ${head.name} refers to ${kind} ${referred}, which the copy does not have`,
      permanent: true,
      hint: "was the Raft copy proven? `skep raft verify`",
    });
  });
  return { ...head, spec, registryAuth: registryAuthOf(message?.task) };
}

function copiedFile(kind: "secret" | "config", head: Copied, shown: Json, markKey: Buffer): CopiedFile {
  const spec = shown["Spec"] as Json;
  const parts = [kind, head.name, JSON.stringify(spec["Templating"] ?? null), JSON.stringify(spec["Data"] ?? null)];
  const mark = createHmac("sha256", markKey).update(parts.join("\0")).digest("hex").slice(0, 32);
  return { ...head, spec, mark };
}

/**
 * Marks are readable for everybody who may list secrets. Only the copy has this key, so a mark lets nobody else try out
 * whether a password is the one.
 */
function markKeyOf(state: SwarmState): Buffer {
  const [bytes] = state.store.objects.cluster.values();
  const cluster = bytes === undefined ? undefined : decodeMessage("Cluster", bytes);
  const secrets = [
    Buffer.from(cluster?.rootCa?.caKey ?? []),
    Buffer.from(cluster?.rootCa?.joinTokens?.manager ?? ""),
    ...(cluster?.networkBootstrapKeys ?? []).map(({ key }) => Buffer.from(key)),
  ];
  return Buffer.from(hkdfSync("sha256", Buffer.concat(secrets), Buffer.alloc(0), "skep mark of restored objects", 32));
}

function headOf(id: string, spec: { annotations?: Message<"Annotations"> | undefined } | undefined): Copied {
  const { name = "", labels = {} } = spec?.annotations ?? {};
  return { id, name, stack: labels[stackLabel] ?? null };
}

function isPredefined({ spec }: Message<"Network">): boolean {
  // Source: moby/swarmkit manager/allocator/networkallocator, PredefinedLabel.
  return "com.docker.swarm.predefined" in (spec?.annotations?.labels ?? {});
}

function byName(a: Copied, b: Copied): number {
  return a.name < b.name ? -1 : a.name > b.name ? 1 : 0;
}
