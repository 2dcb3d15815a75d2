// What the operator's side asks of the Docker engine of a manager: to bring objects back into a swarm. The controller's
// daemon has no use for it, and reaches no engine; docs/DESIGN.md ("One object back") says why this way is not the queue's.
import type { Readable } from "node:stream";
import { z } from "zod";
import type { Json } from "../../shared/raft/engine-api/values.ts";

/** The kinds that Skep creates, in the order in which they can be. */
export const createdKinds = ["network", "secret", "config", "service"] as const;
export type CreatedKind = (typeof createdKinds)[number];

export interface EngineObject {
  id: string;
  name: string;
  /** The version index that an update must name; 0 for a network, which has none. */
  version: number;
  /** A network as the API shows it; of the others the Spec. */
  spec: Json;
  /** Of a service: the spec to which a rollback goes; null where there is none. */
  previousSpec: Json | null;
}

const text = z.string();

export const infoSchema = z.looseObject({
  Name: text,
  ServerVersion: text,
  /** In the kernel's words: x86_64. */
  Architecture: text,
  Swarm: z.looseObject({
    NodeID: text,
    NodeAddr: text,
    LocalNodeState: text,
    ControlAvailable: z.boolean(),
  }),
});
export type EngineInfo = z.infer<typeof infoSchema>;

const versionSchema = z.looseObject({ Index: z.int().min(0) });

export const swarmSchema = z.looseObject({
  ID: text,
  Version: versionSchema,
  Spec: z.record(text, z.unknown()),
  DefaultAddrPool: z.array(text).nullish(),
  SubnetSize: z.int().optional(),
  DataPathPort: z.int().optional(),
});
export type EngineSwarm = z.infer<typeof swarmSchema>;

export const nodeSchema = z.looseObject({
  ID: text,
  Version: versionSchema,
  Spec: z.looseObject({ Labels: z.record(text, text).nullish(), Availability: text, Role: text }),
  Description: z.looseObject({ Hostname: text.optional() }).optional(),
  Status: z.looseObject({ State: text }),
});
export type EngineNode = z.infer<typeof nodeSchema>;

export const taskSchema = z.looseObject({
  ID: text,
  ServiceID: text.optional(),
  NodeID: text.optional(),
  Slot: z.int().optional(),
  DesiredState: text,
  Status: z.looseObject({ State: text, Message: text.optional(), Err: text.optional() }),
});
export type EngineTask = z.infer<typeof taskSchema>;

export const networkSchema = z.looseObject({ Id: text, Name: text });
export const objectSchema = z.looseObject({
  ID: text,
  Version: versionSchema,
  Spec: z.looseObject({ Name: text.optional() }),
  PreviousSpec: z.record(text, z.unknown()).nullish(),
});

export const imageSchema = z.looseObject({ Id: text });
export type EngineImage = z.infer<typeof imageSchema>;

/**
 * Every method rejects with a SkepError: SKEP_ENGINE_UNREACHABLE, SKEP_ENGINE_NOT_MANAGER, SKEP_ENGINE_CONFLICT (changed
 * meanwhile, in use, or a name that is taken), SKEP_ENGINE_NOT_FOUND, SKEP_ENGINE_ANSWER_INVALID, SKEP_ENGINE_REFUSED.
 * Aborting rejects with the signal's reason.
 */
export interface Engine {
  /** For people. */
  readonly address: string;
  info(signal?: AbortSignal): Promise<EngineInfo>;
  swarm(signal?: AbortSignal): Promise<EngineSwarm>;
  /** Makes a swarm of this engine alone; its node's id. */
  initSwarm(body: Json, signal?: AbortSignal): Promise<string>;
  updateSwarm(version: number, spec: Json, signal?: AbortSignal): Promise<void>;
  nodes(signal?: AbortSignal): Promise<EngineNode[]>;
  updateNode(id: string, version: number, spec: Json, signal?: AbortSignal): Promise<void>;
  /** All of a kind in the swarm; of networks those of swarm scope. Secrets come without data. */
  list(kind: CreatedKind, signal?: AbortSignal): Promise<EngineObject[]>;
  /** Null where there is none; of a network by its name also the swarm's side of a predefined one, such as `host`. */
  find(kind: CreatedKind, idOrName: string, signal?: AbortSignal): Promise<EngineObject | null>;
  /** Its id. `registryAuth`: the header's value, as the swarm keeps it. */
  create(kind: CreatedKind, body: Json, registryAuth: string | null, signal?: AbortSignal): Promise<string>;
  /** Of secrets and configs only labels can change. Registry credentials stay unless others are given. */
  update(
    kind: Exclude<CreatedKind, "network">,
    object: { id: string; version: number },
    spec: Json,
    registryAuth: string | null,
    signal?: AbortSignal,
  ): Promise<void>;
  remove(kind: CreatedKind, id: string, signal?: AbortSignal): Promise<void>;
  /** Of these services. */
  tasks(serviceIds: readonly string[], signal?: AbortSignal): Promise<EngineTask[]>;
  /** By id or name; null where there is none. */
  image(name: string, signal?: AbortSignal): Promise<EngineImage | null>;
  /** Takes what `docker save` gave. What the engine calls what it loaded: names, or ids. What `content` fails with is thrown. */
  loadImage(content: Readable, signal: AbortSignal): Promise<string[]>;
  /** Takes the name from another image that has it. */
  tagImage(id: string, name: { repository: string; tag: string }, signal?: AbortSignal): Promise<void>;
}
