// A swarm of one replicated service, others beside it where a test wants them, and their configs, in memory: what the records of holds and the updates of the service
// come to, with the engine's own rule that an update names the version that it saw.
import type { Docker } from "../../../agent/docker.ts";
import type { NamedObject, SwarmNode, SwarmService } from "../../../agent/docker-objects.ts";
import { SkepError } from "../../../shared/errors.ts";

const former: SwarmService["Spec"] = {
  Name: "shop_db",
  Labels: {},
  Mode: { Replicated: { Replicas: 2 } },
  TaskTemplate: { ContainerSpec: { Image: "postgres:17" } },
};

const node: SwarmNode = {
  ID: "node1",
  Version: { Index: 1 },
  Spec: { Labels: {}, Role: "manager", Availability: "active" },
  Description: { Hostname: "alpha" },
  Status: { State: "ready" },
};

export class SwarmOfOne {
  readonly configs: NamedObject[] = [];
  service: SwarmService = { ID: "svc1", Version: { Index: 10 }, Spec: former, PreviousSpec: null };
  /** By id. */
  readonly others = new Map<string, SwarmService>();
  swarm: { LocalNodeState: string; Cluster?: { ID: string } } = { LocalNodeState: "active" };
  /** Names of calls, in their order. */
  readonly calls: string[] = [];
  /** Runs before a call is answered, by its name and what it asks for, and may reject it. */
  before: (call: string, asked?: unknown) => void | Promise<void> = () => undefined;
  #index = 10;

  get replicas(): number | undefined {
    return this.service.Spec.Mode.Replicated?.Replicas;
  }

  /** Holds each such call up from now on: until `goOn`. `reached`: once there was one. */
  holdUp(held: string): { reached: Promise<undefined>; goOn: () => void } {
    const [reached, released] = [Promise.withResolvers<undefined>(), Promise.withResolvers<undefined>()];
    this.before = async (call) => {
      if (call !== held) return;
      reached.resolve(undefined);
      await released.promise;
    };
    return {
      reached: reached.promise,
      goOn: () => {
        released.resolve(undefined);
      },
    };
  }

  /** As an update from elsewhere that had to wait. */
  update(spec: SwarmService["Spec"]): void {
    this.service = this.#updated(this.service, spec);
  }

  #updated(service: SwarmService, spec: SwarmService["Spec"]): SwarmService {
    return { ...service, Version: { Index: ++this.#index }, Spec: spec, PreviousSpec: service.Spec };
  }

  readonly docker = {
    info: this.#call("info", () => ({ Swarm: this.swarm })),
    nodes: this.#call("nodes", () => [node]),
    tasks: this.#call("tasks", () => []),
    service: this.#call("service", (id: string) => this.others.get(id) ?? this.service),
    configs: this.#call("configs", ({ label = [], id }: { label?: string[]; id?: string[] }) =>
      this.configs.filter(({ ID, Spec: { Labels } }) => {
        const isMeant = label.every((each) => {
          const [name = "", value] = each.split("=");
          return Labels?.[name] !== undefined && (value ?? Labels[name]) === Labels[name];
        });
        return isMeant && (id?.includes(ID) ?? true);
      }),
    ),
    createConfig: this.#call(
      "createConfig",
      ({ name, labels, data }: { name: string; labels: Record<string, string>; data: Uint8Array }) => {
        const Data = Buffer.from(data).toString("base64");
        const ID = `config${++this.#index}`;
        this.configs.push({ ID, Version: { Index: this.#index }, Spec: { Name: name, Labels: labels, Data } });
      },
    ),
    relabelConfig: this.#call("relabelConfig", ({ ID }: NamedObject, labels: Record<string, string>) => {
      const config = this.configs.find((each) => each.ID === ID);
      if (config !== undefined) config.Spec.Labels = labels;
    }),
    removeConfig: this.#call("removeConfig", (id: string) => {
      const at = this.configs.findIndex(({ ID }) => ID === id);
      if (at >= 0) this.configs.splice(at, 1);
    }),
    updateService: this.#call("updateService", (id: string, version: number, spec: SwarmService["Spec"]) => {
      const other = this.others.get(id);
      if (version !== (other ?? this.service).Version.Index)
        throw new SkepError({ code: "SKEP_DOCKER_CONFLICT", message: "out of sequence", permanent: false });
      if (other === undefined) this.update(spec);
      else this.others.set(id, this.#updated(other, spec));
    }),
  } as unknown as Docker;

  #call<A extends unknown[], R>(name: string, act: (...args: A) => R): (...args: A) => Promise<R> {
    return async (...args) => {
      this.calls.push(name);
      await this.before(name, args[0]);
      return act(...args);
    };
  }
}
