// A service's spec as `docker stack deploy` reads it in a compose file (compose-spec 3.x, docker/cli cli/compose/convert):
// the inverse of what that command makes of it. What a compose file cannot say is named, never left out in silence.
import type { Json } from "../../shared/raft/engine-api/values.ts";
import type { ServiceSpec } from "../objects/portable.ts";

/** How a stack's file calls what a spec refers to. */
export interface ComposeNames {
  /** The service's key. */
  service: string;
  network: (name: string) => string;
  secret: (name: string) => string;
  config: (name: string) => string;
  /** A mount of type volume; null where no file can describe it. */
  volume: (mount: Json) => string | null;
}

interface Reader {
  /** Takes a field; what is not taken in the end cannot be said. */
  take: (key: string) => unknown;
  part: (key: string) => Reader;
  list: (key: string) => Json[];
  /** Paths of the fields that nobody took. */
  rest: () => string[];
}

function read(of: unknown, path = ""): Reader {
  const fields = Object.entries((of ?? {}) as Json);
  const left = new Map(fields.filter(([key, value]) => isSaid(value) || (key === "Init" && value === false)));
  const parts: Reader[] = [];
  const take = (key: string): unknown => {
    const value = left.get(key);
    left.delete(key);
    return value;
  };
  return {
    take,
    part: (key) => {
      const part = read(take(key), path === "" ? key : `${path}.${key}`);
      parts.push(part);
      return part;
    },
    list: (key) => (take(key) ?? []) as Json[],
    rest: () => [
      ...[...left.keys()].map((key) => (path === "" ? key : `${path}.${key}`)),
      ...parts.flatMap((part) => part.rest()),
    ],
  };
}

function isSaid(value: unknown): boolean {
  if (value === null || value === undefined || value === "" || value === false || value === 0) return false;
  return Array.isArray(value) ? value.length > 0 : typeof value !== "object" || Object.keys(value).length > 0;
}

/** `cannot`: paths of what a file cannot say. */
export function composeService(spec: ServiceSpec, names: ComposeNames): { service: Json; cannot: string[] } {
  const whole = read(spec);
  whole.take("Name");
  const task = whole.part("TaskTemplate");
  const container = task.part("ContainerSpec");
  const cannot: string[] = [];
  const deploy: Json = { ...mode(spec), ...said({ labels: ownLabels(whole.take("Labels")) }) };
  whole.take("Mode");
  const { MaxConcurrent, TotalCompletions } = spec.Mode.ReplicatedJob ?? {};
  if (MaxConcurrent !== TotalCompletions) cannot.push("Mode.ReplicatedJob.MaxConcurrent");
  for (const { Target, DriverOpts } of spec.TaskTemplate.Networks ?? []) {
    if (isSaid(DriverOpts)) cannot.push(`TaskTemplate.Networks: DriverOpts of ${Target ?? ""}`);
  }
  const service: Json = {
    ...containerPart(container, names, cannot),
    ...said({ networks: networks(task.list("Networks"), names) }),
    ...said({ logging: logging(task.part("LogDriver")) }),
    ...said({ ports: ports(whole, deploy, cannot) }),
  };
  // Beside the networks of its tasks a service of the old API has the same ones once more.
  if (service["networks"] === undefined)
    Object.assign(service, said({ networks: networks(whole.list("Networks"), names) }));
  if (service["networks"] === undefined)
    cannot.push("Networks: a service without one gets the stack's default network");
  Object.assign(
    deploy,
    said({
      update_config: updateConfig(whole.part("UpdateConfig"), spec["UpdateConfig"]),
      rollback_config: updateConfig(whole.part("RollbackConfig"), spec["RollbackConfig"]),
      resources: resources(task.part("Resources")),
      restart_policy: restartPolicy(task.part("RestartPolicy")),
      placement: placement(task.part("Placement")),
    }),
  );
  task.take("Runtime");
  return { service: escape({ ...service, ...said({ deploy }) }) as Json, cannot: [...cannot, ...whole.rest()] };
}

/** Without what is empty. */
function said(fields: Json): Json {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => isSaid(value)));
}

/** A compose file replaces $NAME; $$ is a dollar. */
function escape(value: unknown): unknown {
  if (typeof value === "string") return value.replaceAll("$", "$$$$");
  if (Array.isArray(value)) return value.map(escape);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, field]) => [key, escape(field)]));
}

/** The command adds these two itself. */
function ownLabels(labels: unknown): Json {
  const entries = Object.entries((labels ?? {}) as Json);
  return Object.fromEntries(entries.filter(([key]) => !/^com\.docker\.stack\.(namespace|image)$/.test(key)));
}

function mode({ Mode }: ServiceSpec): Json {
  if (Mode.Replicated != null) return { mode: "replicated", replicas: Number(Mode.Replicated.Replicas ?? 1) };
  if (Mode.Global != null) return { mode: "global" };
  if (Mode.GlobalJob != null) return { mode: "global-job" };
  // The command takes one number for both: `replicas`.
  return { mode: "replicated-job", replicas: Number(Mode.ReplicatedJob?.["TotalCompletions"] ?? 1) };
}

function containerPart(from: Reader, names: ComposeNames, cannot: string[]): Json {
  const init = from.take("Init");
  const dns = from.part("DNSConfig");
  const privileges = from.part("Privileges");
  const credential = privileges.part("CredentialSpec");
  const config = credential.take("Config");
  const isolation = from.take("Isolation");
  const fields = said({
    image: from.take("Image"),
    entrypoint: from.take("Command"),
    command: from.take("Args"),
    hostname: from.take("Hostname"),
    environment: environment(from.list("Env") as unknown as string[], cannot),
    working_dir: from.take("Dir"),
    user: from.take("User"),
    labels: ownLabels(from.take("Labels")),
    stop_signal: from.take("StopSignal"),
    tty: from.take("TTY"),
    stdin_open: from.take("OpenStdin"),
    read_only: from.take("ReadOnly"),
    stop_grace_period: duration(from.take("StopGracePeriod")),
    healthcheck: healthcheck(from.part("Healthcheck")),
    extra_hosts: (from.list("Hosts") as unknown as string[]).map((line) => line.replace(/^(\S+)\s+(.*)$/, "$2:$1")),
    dns: dns.take("Nameservers"),
    dns_search: dns.take("Search"),
    isolation: isolation === "default" ? undefined : isolation,
    sysctls: from.take("Sysctls"),
    cap_add: from.take("CapabilityAdd"),
    cap_drop: from.take("CapabilityDrop"),
    ulimits: Object.fromEntries(
      from.list("Ulimits").map(({ Name, Soft, Hard }) => [String(Name), { soft: Soft ?? 0, hard: Hard ?? 0 }]),
    ),
    volumes: from.list("Mounts").flatMap((mount, index) => volume(mount, index, names, cannot)),
    secrets: from.list("Secrets").map((one) => file(one, names.secret(String(one["SecretName"])))),
    configs: from
      .list("Configs")
      .filter(({ Runtime }) => Runtime === undefined)
      .map((one) => file(one, names.config(String(one["ConfigName"])))),
    credential_spec: said({
      config: typeof config === "string" ? names.config(config) : undefined,
      file: credential.take("File"),
      registry: credential.take("Registry"),
    }),
  });
  // False is said, absent is not.
  return typeof init === "boolean" ? { ...fields, init } : fields;
}

function environment(list: readonly string[], cannot: string[]): string[] {
  for (const one of list.filter((text) => !text.includes("=")))
    cannot.push(`TaskTemplate.ContainerSpec.Env: ${one}, which has no value`);
  return list.filter((text) => text.includes("="));
}

function healthcheck(from: Reader): Json {
  const test = from.take("Test") as string[] | undefined;
  if (test?.[0] === "NONE") return { disable: true };
  return said({
    test,
    interval: duration(from.take("Interval")),
    timeout: duration(from.take("Timeout")),
    start_period: duration(from.take("StartPeriod")),
    retries: from.take("Retries"),
  });
}

function volume(mount: Json, index: number, names: ComposeNames, cannot: string[]): Json[] {
  const path = `TaskTemplate.ContainerSpec.Mounts[${index}]`;
  const from = read(mount, path);
  const type = from.take("Type");
  const target = {
    type,
    target: from.take("Target"),
    ...said({ read_only: from.take("ReadOnly"), consistency: from.take("Consistency") }),
  };
  const source = from.take("Source");
  let result: Json | null = null;
  if (type === "bind") {
    result = {
      ...target,
      source,
      ...said({ bind: said({ propagation: from.part("BindOptions").take("Propagation") }) }),
    };
  } else if (type === "tmpfs") {
    result = { ...target, ...said({ tmpfs: said({ size: from.part("TmpfsOptions").take("SizeBytes") }) }) };
  } else if (type === "volume") {
    const named = source === undefined ? undefined : names.volume(mount);
    const options = from.part("VolumeOptions");
    // Labels and driver are the volume's, at the end of the file.
    options.take("Labels");
    options.take("DriverConfig");
    if (named !== null)
      result = { ...target, ...said({ source: named, volume: said({ nocopy: options.take("NoCopy") }) }) };
  }
  if (result === null) cannot.push(path);
  cannot.push(...from.rest());
  return result === null ? [] : [result];
}

function file(reference: Json, source: string): Json {
  const { Name, UID, GID, Mode } = (reference["File"] ?? {}) as Json;
  return { source, ...said({ target: Name, uid: UID, gid: GID }), mode: Mode ?? 0 };
}

function networks(list: readonly Json[], names: ComposeNames): Json {
  return Object.fromEntries(
    list.map((to) => {
      const aliases = ((to["Aliases"] ?? []) as string[]).filter((alias) => alias !== names.service);
      return [names.network(String(to["Target"])), said({ aliases })];
    }),
  );
}

function logging(from: Reader): Json {
  return said({ driver: from.take("Name"), options: from.take("Options") });
}

function ports(whole: Reader, deploy: Json, cannot: string[]): Json[] {
  const endpoint = whole.part("EndpointSpec");
  const endpointMode = endpoint.take("Mode");
  if (isSaid(endpointMode)) deploy["endpoint_mode"] = endpointMode;
  return endpoint.list("Ports").map((port, index) => {
    const from = read(port, `EndpointSpec.Ports[${index}]`);
    const described = said({
      target: from.take("TargetPort"),
      published: from.take("PublishedPort"),
      protocol: from.take("Protocol"),
      mode: from.take("PublishMode"),
    });
    cannot.push(...from.rest());
    return described;
  });
}

function updateConfig(from: Reader, present: unknown): Json {
  if (present == null) return {};
  return {
    parallelism: from.take("Parallelism") ?? 0,
    ...said({
      delay: duration(from.take("Delay")),
      failure_action: from.take("FailureAction"),
      monitor: duration(from.take("Monitor")),
      max_failure_ratio: from.take("MaxFailureRatio"),
      order: from.take("Order"),
    }),
  };
}

function resources(from: Reader): Json {
  const amounts = (of: Reader): Json =>
    said({
      cpus: cpus(of.take("NanoCPUs")),
      memory: bytes(of.take("MemoryBytes")),
      pids: of.take("Pids"),
      generic_resources: of.list("GenericResources").flatMap(generic),
    });
  return said({ limits: amounts(from.part("Limits")), reservations: amounts(from.part("Reservations")) });
}

function generic({ DiscreteResourceSpec: discrete }: Json): Json[] {
  const { Kind, Value } = (discrete ?? {}) as Json;
  return Kind === undefined ? [] : [{ discrete_resource_spec: { kind: Kind, value: Value } }];
}

function restartPolicy(from: Reader): Json {
  return said({
    condition: from.take("Condition"),
    delay: duration(from.take("Delay")),
    max_attempts: from.take("MaxAttempts"),
    window: duration(from.take("Window")),
  });
}

function placement(from: Reader): Json {
  return said({
    constraints: from.take("Constraints"),
    preferences: from
      .list("Preferences")
      .map(({ Spread }) => ({ spread: (Spread as Json | undefined)?.["SpreadDescriptor"] })),
    max_replicas_per_node: from.take("MaxReplicas"),
  });
}

/** Nanoseconds as the largest unit that holds them whole. */
function duration(nanoseconds: unknown): string | undefined {
  if (typeof nanoseconds !== "number" || nanoseconds === 0) return undefined;
  for (const [unit, size] of [
    ["s", 1e9],
    ["ms", 1e6],
    ["us", 1e3],
  ] as const) {
    if (nanoseconds % size === 0) return `${nanoseconds / size}${unit}`;
  }
  return `${nanoseconds}ns`;
}

function cpus(nano: unknown): string | undefined {
  return typeof nano === "number" ? (nano / 1e9).toFixed(9).replace(/\.?0+$/, "") : undefined;
}

function bytes(size: unknown): string | undefined {
  return typeof size === "number" ? `${size}b` : undefined;
}
