// A service's spec that can move from one swarm to another: wherever the Engine API has the id of a network, secret or
// config, the portable form has its name. Two specs of two swarms say the same if their portable forms are equal.
import { z } from "zod";
import type { Json } from "../../shared/raft/engine-api/values.ts";

export type ReferredKind = "network" | "secret" | "config";

const labels = z.record(z.string(), z.string());
const attachment = z.looseObject({ Target: z.string().optional(), Aliases: z.array(z.string()).nullish() });
const secretReference = z.looseObject({ SecretID: z.string().optional(), SecretName: z.string().optional() });
const configReference = z.looseObject({ ConfigID: z.string().optional(), ConfigName: z.string().optional() });

const portSchema = z.looseObject({
  Protocol: z.string().optional(),
  TargetPort: z.int().optional(),
  PublishedPort: z.int().optional(),
  PublishMode: z.string().optional(),
});
export type Port = z.infer<typeof portSchema>;

/** The parts of a ServiceSpec of the Engine API that Skep looks into; all others are kept as they are. */
export const serviceSpecSchema = z.looseObject({
  Name: z.string().optional(),
  Labels: labels.nullish(),
  TaskTemplate: z.looseObject({
    ContainerSpec: z
      .looseObject({
        Image: z.string().optional(),
        Labels: labels.nullish(),
        Secrets: z.array(secretReference).nullish(),
        Configs: z.array(configReference).nullish(),
        Mounts: z
          .array(
            z.looseObject({
              Type: z.string().optional(),
              Source: z.string().optional(),
              VolumeOptions: z.looseObject({ Labels: labels.nullish() }).nullish(),
            }),
          )
          .nullish(),
        Privileges: z
          .looseObject({ CredentialSpec: z.looseObject({ Config: z.string().optional() }).nullish() })
          .nullish(),
      })
      .nullish(),
    Placement: z.looseObject({ Constraints: z.array(z.string()).nullish() }).nullish(),
    Networks: z.array(attachment).nullish(),
  }),
  Mode: z.looseObject({
    Replicated: z.looseObject({ Replicas: z.union([z.int(), z.string()]).optional() }).nullish(),
    Global: z.looseObject({}).nullish(),
    ReplicatedJob: z.looseObject({}).nullish(),
    GlobalJob: z.looseObject({}).nullish(),
  }),
  Networks: z.array(attachment).nullish(),
  EndpointSpec: z.looseObject({ Ports: z.array(portSchema).nullish() }).nullish(),
});
export type ServiceSpec = z.infer<typeof serviceSpecSchema>;

/** `nameOf` throws where there is no such object. Inverse: fromPortable. */
export function toPortable(spec: ServiceSpec, nameOf: (kind: ReferredKind, id: string) => string): ServiceSpec {
  return mapReferences(spec, {
    network: (id) => nameOf("network", id),
    secret: ({ SecretID, ...rest }) => ({ ...rest, SecretName: nameOf("secret", SecretID ?? "") }),
    config: ({ ConfigID, ...rest }) => ({ ...rest, ConfigName: nameOf("config", ConfigID ?? "") }),
    credential: (id) => nameOf("config", id),
  });
}

/** `idOf` throws where there is no such object. */
export function fromPortable(spec: ServiceSpec, idOf: (kind: ReferredKind, name: string) => string): ServiceSpec {
  return mapReferences(spec, {
    network: (name) => idOf("network", name),
    secret: (reference) => ({ ...reference, SecretID: idOf("secret", reference.SecretName ?? "") }),
    config: (reference) => ({ ...reference, ConfigID: idOf("config", reference.ConfigName ?? "") }),
    credential: (name) => idOf("config", name),
  });
}

/** Other names for what a portable spec refers to. */
export function renameReferences(spec: ServiceSpec, rename: (kind: ReferredKind, name: string) => string): ServiceSpec {
  return mapReferences(spec, {
    network: (name) => rename("network", name),
    secret: (reference) => ({ ...reference, SecretName: rename("secret", reference.SecretName ?? "") }),
    config: (reference) => ({ ...reference, ConfigName: rename("config", reference.ConfigName ?? "") }),
    credential: (name) => rename("config", name),
  });
}

/** What a portable spec refers to, each once. */
export function referencesOf(spec: ServiceSpec): { kind: ReferredKind; name: string }[] {
  const found = new Map<string, { kind: ReferredKind; name: string }>();
  renameReferences(spec, (kind, name) => {
    found.set(`${kind} ${name}`, { kind, name });
    return name;
  });
  return [...found.values()];
}

type SecretReference = z.infer<typeof secretReference>;
type ConfigReference = z.infer<typeof configReference>;

interface ReferenceChanges {
  network: (target: string) => string;
  secret: (reference: SecretReference) => SecretReference;
  config: (reference: ConfigReference) => ConfigReference;
  /** Of Privileges.CredentialSpec. */
  credential: (config: string) => string;
}

function mapReferences(spec: ServiceSpec, change: ReferenceChanges): ServiceSpec {
  const attachments = <Holder extends { Networks?: z.infer<typeof attachment>[] | null | undefined }>(
    holder: Holder,
  ): Holder =>
    holder.Networks == null
      ? holder
      : { ...holder, Networks: holder.Networks.map((to) => ({ ...to, Target: change.network(to.Target ?? "") })) };
  const task = attachments(spec.TaskTemplate);
  const container = task.ContainerSpec;
  if (container == null) return attachments({ ...spec, TaskTemplate: task });
  const changed = { ...container };
  if (container.Secrets != null) changed.Secrets = container.Secrets.map(change.secret);
  if (container.Configs != null) changed.Configs = container.Configs.map(change.config);
  const credential = container.Privileges?.CredentialSpec;
  if (credential?.Config !== undefined && credential.Config !== "") {
    const CredentialSpec = { ...credential, Config: change.credential(credential.Config) };
    changed.Privileges = { ...container.Privileges, CredentialSpec };
  }
  return attachments({ ...spec, TaskTemplate: { ...task, ContainerSpec: changed } });
}

/**
 * Without what engines of several versions write differently and mean the same: null, an empty list, empty labels. The
 * empty objects of Mode (`Global: {}`) stay.
 */
export function comparable(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(comparable);
  if (typeof value !== "object" || value === null) return value;
  const kept = Object.entries(value).filter(([key, field]) => !isUnsaid(key, field));
  return Object.fromEntries(kept.map(([key, field]) => [key, comparable(field)]));
}

/** What engines from 24 on show of every service that a stack deployed, and older ones do not know. */
export function isNewerDefault(key: string, field: unknown): boolean {
  return key === "NoNewPrivileges" && field === false;
}

function isUnsaid(key: string, field: unknown): boolean {
  if (field === null || field === undefined || isNewerDefault(key, field)) return true;
  if (Array.isArray(field)) return field.length === 0;
  return key === "Labels" && typeof field === "object" && Object.keys(field).length === 0;
}

export function comparableJson(value: Json): Json {
  return comparable(value) as Json;
}
