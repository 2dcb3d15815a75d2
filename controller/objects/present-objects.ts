// What a living swarm has, in the forms in which copied objects can be compared with it.
import { SkepError } from "../../shared/errors.ts";
import { shapeFaults } from "../../shared/fault-list.ts";
import type { Json } from "../../shared/raft/engine-api/values.ts";
import type { Engine, EngineObject } from "../engine/engine.ts";
import { decodeMarksRecord, isMarksRecord, splitMark } from "./marks.ts";
import { networkBodyOf, type NetworkBody } from "./network-body.ts";
import { serviceSpecSchema, toPortable, type ServiceSpec } from "./portable.ts";

export interface PresentNetwork {
  id: string;
  name: string;
  body: NetworkBody;
}

export interface PresentFile {
  id: string;
  name: string;
  version: number;
  /** Secrets without Data: no engine shows it. */
  spec: Json;
  /** Null where Skep did not make it, or has ended. */
  mark: string | null;
}

export interface PresentService {
  id: string;
  name: string;
  version: number;
  spec: ServiceSpec;
  /** As the API shows it, not portable; null where there was no update. */
  previousSpec: Json | null;
}

export interface PresentObjects {
  networks: PresentNetwork[];
  secrets: PresentFile[];
  configs: PresentFile[];
  services: PresentService[];
}

export async function presentObjects(engine: Engine, signal?: AbortSignal): Promise<PresentObjects> {
  const networks = await engine.list("network", signal);
  const secrets = await engine.list("secret", signal);
  const configs = await engine.list("config", signal);
  const services = await engine.list("service", signal);
  const kept = new Map(configs.filter(isMarksRecord).flatMap((record) => Object.entries(decodeMarksRecord(record))));
  const names = {
    network: new Map(networks.map(({ id, name }) => [id, name])),
    secret: new Map(secrets.map(({ id, name }) => [id, name])),
    config: new Map(configs.map(({ id, name }) => [id, name])),
  };
  const specs = services.map((object) => ({ ...object, spec: checkedSpec(engine, object) }));
  await nameOthers(engine, specs, names.network, signal);
  return {
    networks: networks.map(({ id, name, spec }) => ({ id, name, body: networkBodyOf(spec) })),
    secrets: secrets.map((secret) => presentFile(secret, kept)),
    configs: configs.filter((config) => !isMarksRecord(config)).map((config) => presentFile(config, kept)),
    services: specs.map(({ id, name, version, spec, previousSpec }) => ({
      id,
      name,
      version,
      previousSpec,
      // Removed while we looked: then the spec is another by now, and shall not look equal.
      spec: toPortable(spec, (kind, referred) => names[kind].get(referred) ?? referred),
    })),
  };
}

function presentFile({ id, name, version, spec }: EngineObject, kept: ReadonlyMap<string, string>): PresentFile {
  const { labels, mark } = splitMark(spec["Labels"]);
  return { id, name, version, spec: { ...spec, Labels: labels }, mark: mark ?? kept.get(id) ?? null };
}

function checkedSpec(engine: Engine, { name, spec }: EngineObject): ServiceSpec {
  const { data, error } = serviceSpecSchema.safeParse(spec);
  if (data !== undefined) return data;
  throw new SkepError({
    code: "SKEP_ENGINE_ANSWER_INVALID",
    message: `the engine at ${engine.address} shows service ${name} in another shape: ${shapeFaults(error)}`,
    permanent: true,
  });
}

/** The swarm's side of nodes' own networks, such as `host`, is in no list. */
async function nameOthers(
  engine: Engine,
  services: readonly { spec: ServiceSpec }[],
  names: Map<string, string>,
  signal?: AbortSignal,
): Promise<void> {
  for (const { spec } of services) {
    for (const { Target } of [...(spec.Networks ?? []), ...(spec.TaskTemplate.Networks ?? [])]) {
      if (Target === undefined || names.has(Target)) continue;
      const found = await engine.find("network", Target, signal);
      names.set(Target, found?.name ?? Target);
    }
  }
}

/** Ids of a living swarm by name; knows what is made meanwhile. */
export class IdsByName {
  readonly #ids = new Map<string, string>();
  readonly #engine: Engine;

  constructor(engine: Engine, present: PresentObjects) {
    this.#engine = engine;
    for (const kind of ["network", "secret", "config"] as const) {
      for (const { id, name } of present[`${kind}s`]) this.set(kind, name, id);
    }
  }

  set(kind: "network" | "secret" | "config", name: string, id: string): void {
    this.#ids.set(`${kind} ${name}`, id);
  }

  /** Looks up networks that are in no list, such as `host`. */
  async learn(networks: readonly string[], signal?: AbortSignal): Promise<void> {
    for (const name of networks) {
      if (this.#ids.has(`network ${name}`)) continue;
      const found = await this.#engine.find("network", name, signal);
      if (found !== null) this.set("network", name, found.id);
    }
  }

  /** Throws SKEP_OBJECTS_GONE. */
  get(kind: "network" | "secret" | "config", name: string): string {
    const id = this.#ids.get(`${kind} ${name}`);
    if (id !== undefined) return id;
    throw new SkepError({
      code: "SKEP_OBJECTS_GONE",
      message: `${kind} ${name} is not in the swarm of ${this.#engine.address} any more`,
      permanent: false,
      hint: "somebody removed it meanwhile: do it again",
    });
  }
}
