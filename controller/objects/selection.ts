// What of a copy is wanted back: one object or a stack, and what it needs.
import { SkepError } from "../../shared/errors.ts";
import type { CreatedKind } from "../engine/engine.ts";
import type { CopiedObjects } from "./copied-objects.ts";
import { referencesOf } from "./portable.ts";

export interface Selection extends CopiedObjects {
  /** `network back`, as keyOf gives them: what was asked for by name. The others are needed by these. */
  asked: ReadonlySet<string>;
}

export function keyOf(kind: CreatedKind, name: string): string {
  return `${kind} ${name}`;
}

/** Everything. */
export function selectAll(all: CopiedObjects): Selection {
  const heads = (["network", "secret", "config", "service"] as const).flatMap((kind) =>
    all[`${kind}s`].map(({ name }) => keyOf(kind, name)),
  );
  return { ...all, asked: new Set(heads) };
}

/** Throws SKEP_OBJECTS_UNKNOWN where the copy has none. */
export function select(all: CopiedObjects, kind: CreatedKind | "stack", name: string): Selection {
  const asked = new Set<string>();
  for (const each of ["network", "secret", "config", "service"] as const) {
    for (const object of all[`${each}s`]) {
      if (kind === "stack" ? object.stack === name : kind === each && object.name === name) {
        asked.add(keyOf(each, object.name));
      }
    }
  }
  if (asked.size === 0) {
    throw new SkepError({
      code: "SKEP_OBJECTS_UNKNOWN",
      message: `the copy has no ${kind} ${name}`,
      permanent: true,
      hint:
        kind === "stack"
          ? "`skep raft ls SOURCE --kind service` lists the services"
          : "`skep raft ls SOURCE` lists them",
    });
  }
  const wanted = new Set(asked);
  for (const service of all.services) {
    if (!asked.has(keyOf("service", service.name))) continue;
    for (const need of referencesOf(service.spec)) wanted.add(keyOf(need.kind, need.name));
  }
  return {
    networks: all.networks.filter((object) => wanted.has(keyOf("network", object.name))),
    secrets: all.secrets.filter((object) => wanted.has(keyOf("secret", object.name))),
    configs: all.configs.filter((object) => wanted.has(keyOf("config", object.name))),
    services: all.services.filter((object) => wanted.has(keyOf("service", object.name))),
    unsupported: clusterMounts(all, wanted),
    asked,
  };
}

function clusterMounts(all: CopiedObjects, wanted: ReadonlySet<string>): string[] {
  return all.services.flatMap(({ name, spec }) =>
    wanted.has(keyOf("service", name)) &&
    (spec.TaskTemplate.ContainerSpec?.Mounts ?? []).some(({ Type }) => Type === "cluster")
      ? [`service ${name} mounts a cluster volume of a CSI driver, which is not brought back`]
      : [],
  );
}
