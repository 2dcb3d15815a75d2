// A swarm with one of everything that the Raft reader must give back whole: services of every mode with about every
// option, secrets, configs, networks, node labels. And a client for an engine's API that adds nothing to its answers.
import { request } from "node:http";
import type { LabNode } from "../lab/node.ts";

/** Calls an engine and gives its answer's JSON, null for none. Throws for a status of 400 and above. */
export async function engineCall(
  node: LabNode,
  method: "GET" | "POST" | "DELETE",
  path: string,
  body?: unknown,
  headers: Record<string, string> = {},
): Promise<unknown> {
  return await new Promise((resolve, reject) => {
    const asked = request(
      { socketPath: node.dockerSocketPath, method, path, headers: { "content-type": "application/json", ...headers } },
      (answer) => {
        let text = "";
        answer.setEncoding("utf8");
        answer.on("error", reject);
        answer.on("data", (piece: string) => (text += piece));
        answer.on("end", () => {
          if ((answer.statusCode ?? 500) >= 400) reject(new Error(`${method} ${path}: ${text.trim()}`));
          else resolve(text === "" ? null : JSON.parse(text));
        });
      },
    );
    asked.on("error", reject);
    asked.end(body === undefined ? undefined : JSON.stringify(body));
  });
}

export interface ApiObject {
  ID?: string;
  Id?: string;
  Version: { Index: number };
  Spec: Record<string, unknown>;
}

export async function create(
  node: LabNode,
  path: string,
  body: unknown,
  headers?: Record<string, string>,
): Promise<string> {
  const made = (await engineCall(node, "POST", path, body, headers)) as { ID?: string; Id?: string };
  return made.ID ?? made.Id ?? "";
}

export async function inspect(node: LabNode, path: string): Promise<ApiObject> {
  return (await engineCall(node, "GET", path)) as ApiObject;
}

/** What the agent does before a copy: one write that changes nothing; gives the version that it got. */
export async function markerWrite(node: LabNode): Promise<number> {
  const { Swarm } = (await engineCall(node, "GET", "/info")) as { Swarm: { NodeID: string } };
  for (let attempt = 1; ; attempt++) {
    const before = await inspect(node, `/nodes/${Swarm.NodeID}`);
    try {
      await engineCall(node, "POST", `/nodes/${Swarm.NodeID}/update?version=${before.Version.Index}`, before.Spec);
    } catch (error) {
      if (attempt >= 10 || !(error instanceof Error) || !error.message.includes("out of sequence")) throw error;
      continue;
    }
    return (await inspect(node, `/nodes/${Swarm.NodeID}`)).Version.Index;
  }
}

export const secretText = "hunter2 and more";
export const registryAuth = Buffer.from(JSON.stringify({ username: "u", password: "registry-pass" })).toString(
  "base64url",
);

const base64 = (text: string): string => Buffer.from(text).toString("base64");
const seconds = 1e9;
/** No node has it: nothing starts. */
const nowhere = { Constraints: ["node.labels.nowhere==1"] };

/** Fills the swarm of `node`, which is a manager. Nothing needs an image; one service tries to start and can't. */
export async function fillSwarm(node: LabNode): Promise<void> {
  const { ApiVersion } = (await engineCall(node, "GET", "/version")) as { ApiVersion: string };
  const secret = await create(node, "/secrets/create", {
    Name: "db-password",
    Labels: { a: "b" },
    Data: base64(secretText),
  });
  await create(node, "/secrets/create", {
    Name: "templated",
    Data: base64("{{.Node.ID}}"),
    Templating: { Name: "golang" },
  });
  const config = await create(node, "/configs/create", {
    Name: "app.conf",
    Labels: { x: "1" },
    Data: base64("key=value\n"),
  });
  const back = await create(node, "/networks/create", {
    Name: "back",
    Driver: "overlay",
    Attachable: true,
    Labels: { tier: "back" },
    Options: { encrypted: "" },
    IPAM: { Config: [{ Subnet: "10.55.0.0/24", Gateway: "10.55.0.1", IPRange: "10.55.0.128/25" }] },
  });
  const inner = await create(node, "/networks/create", { Name: "inner", Driver: "overlay", Internal: true });

  const full = fullService({ secret, config, back, inner }, Number.parseFloat(ApiVersion));
  const id = await create(node, "/services/create", full, { "X-Registry-Auth": registryAuth });
  for (const service of smallServices) await create(node, "/services/create", service);
  const made = await inspect(node, `/services/${id}`);
  const labels = { ...(made.Spec["Labels"] as object), updated: "yes" };
  await engineCall(node, "POST", `/services/${id}/update?version=${made.Version.Index}`, {
    ...made.Spec,
    Labels: labels,
  });

  const { Swarm } = (await engineCall(node, "GET", "/info")) as { Swarm: { NodeID: string } };
  const self = await inspect(node, `/nodes/${Swarm.NodeID}`);
  await engineCall(node, "POST", `/nodes/${Swarm.NodeID}/update?version=${self.Version.Index}`, {
    ...self.Spec,
    Labels: { zone: "one", disk: "ssd" },
  });
}

const smallServices = [
  { Name: "minimal", TaskTemplate: { ContainerSpec: { Image: "minimal" } }, Mode: { Replicated: { Replicas: 0 } } },
  {
    Name: "everywhere",
    TaskTemplate: { ContainerSpec: { Image: "absent:1" } },
    Mode: { Global: {} },
    EndpointSpec: { Mode: "dnsrr" },
  },
  {
    Name: "job",
    TaskTemplate: { ContainerSpec: { Image: "job" }, RestartPolicy: { Condition: "none" }, Placement: nowhere },
    Mode: { ReplicatedJob: { MaxConcurrent: 2, TotalCompletions: 4 } },
  },
  {
    Name: "job-everywhere",
    TaskTemplate: { ContainerSpec: { Image: "job" }, RestartPolicy: { Condition: "none" }, Placement: nowhere },
    Mode: { GlobalJob: {} },
  },
  { Name: "failing", TaskTemplate: { ContainerSpec: { Image: "absent:1" } }, Mode: { Replicated: { Replicas: 2 } } },
];

interface Ids {
  secret: string;
  config: string;
  back: string;
  inner: string;
}

function fullService(ids: Ids, apiVersion: number): unknown {
  const since = (version: number, fields: object): object => (apiVersion >= version ? fields : {});
  return {
    Name: "full",
    Labels: { "com.docker.stack.namespace": "shop", z: "1" },
    TaskTemplate: {
      ContainerSpec: {
        Image: `shop/web:1@sha256:${"a".repeat(64)}`,
        Labels: { c: "d" },
        Command: ["/bin/web"],
        Args: ["-v", "--x=1"],
        Hostname: "{{.Node.Hostname}}",
        Env: ["A=1", "B=ü"],
        Dir: "/srv",
        User: "1000:1000",
        Groups: ["audio"],
        Privileges: {
          CredentialSpec: null,
          SELinuxContext: { Disable: false, User: "u", Role: "r", Type: "t", Level: "l" },
          ...since(1.44, {
            Seccomp: { Mode: "custom", Profile: base64("{}") },
            AppArmor: { Mode: "disabled" },
            NoNewPrivileges: true,
          }),
        },
        Init: false,
        StopSignal: "SIGINT",
        TTY: true,
        OpenStdin: true,
        ReadOnly: true,
        Mounts: [
          {
            Type: "bind",
            Source: "/a",
            Target: "/b",
            ReadOnly: true,
            BindOptions: { Propagation: "rslave", NonRecursive: true, ...since(1.44, { CreateMountpoint: true }) },
          },
          {
            Type: "volume",
            Source: "data",
            Target: "/v",
            VolumeOptions: {
              NoCopy: true,
              Labels: { l: "1" },
              DriverConfig: { Name: "local", Options: { type: "nfs", device: ":/x" } },
              ...since(1.45, { Subpath: "sub/x" }),
            },
          },
          {
            Type: "tmpfs",
            Target: "/t",
            TmpfsOptions: { SizeBytes: 1048576, Mode: 1023, ...since(1.46, { Options: [["noexec"], ["size", "5"]] }) },
          },
        ],
        StopGracePeriod: 31 * seconds,
        Healthcheck: {
          Test: ["CMD-SHELL", "true"],
          Interval: 5 * seconds,
          Timeout: 3 * seconds,
          StartPeriod: 60 * seconds,
          Retries: 4,
          ...since(1.44, { StartInterval: seconds }),
        },
        Hosts: ["1.2.3.4 h1", "::1 h2"],
        DNSConfig: { Nameservers: ["8.8.8.8"], Search: ["example.org"], Options: ["timeout:3"] },
        Secrets: [
          { File: { Name: "pw", UID: "0", GID: "0", Mode: 0o444 }, SecretID: ids.secret, SecretName: "db-password" },
        ],
        Configs: [
          {
            File: { Name: "/etc/app.conf", UID: "5", GID: "6", Mode: 0o440 },
            ConfigID: ids.config,
            ConfigName: "app.conf",
          },
        ],
        Isolation: "default",
        Sysctls: { "net.core.somaxconn": "1024" },
        CapabilityAdd: ["CAP_NET_ADMIN"],
        CapabilityDrop: ["CAP_CHOWN"],
        Ulimits: [
          { Name: "nofile", Hard: 65536, Soft: 1024 },
          { Name: "core", Hard: -1, Soft: -1 },
        ],
        ...since(1.46, { OomScoreAdj: 500 }),
      },
      Resources: {
        Limits: { NanoCPUs: 1.5e9, MemoryBytes: 268435456, Pids: 100 },
        Reservations: {
          NanoCPUs: 5e8,
          MemoryBytes: 5242880,
          GenericResources: [
            { DiscreteResourceSpec: { Kind: "ssd", Value: 3 } },
            { NamedResourceSpec: { Kind: "gpu", Value: "g1" } },
          ],
        },
      },
      RestartPolicy: { Condition: "on-failure", Delay: 7 * seconds, MaxAttempts: 3, Window: 120 * seconds },
      Placement: {
        ...nowhere,
        Preferences: [{ Spread: { SpreadDescriptor: "node.labels.zone" } }],
        MaxReplicas: 2,
        Platforms: [{ Architecture: "amd64", OS: "linux" }],
      },
      Networks: [{ Target: ids.back, Aliases: ["web", "w"], DriverOpts: { o: "p" } }, { Target: ids.inner }],
      LogDriver: { Name: "json-file", Options: { "max-size": "10m" } },
      ForceUpdate: 3,
    },
    Mode: { Replicated: { Replicas: 1 } },
    UpdateConfig: {
      Parallelism: 2,
      Delay: 10 * seconds,
      FailureAction: "rollback",
      Monitor: 15 * seconds,
      MaxFailureRatio: 0.15,
      Order: "start-first",
    },
    RollbackConfig: {
      Parallelism: 0,
      FailureAction: "pause",
      Monitor: 5 * seconds,
      MaxFailureRatio: 0.3333,
      Order: "stop-first",
    },
    EndpointSpec: {
      Mode: "vip",
      Ports: [
        { Name: "http", Protocol: "tcp", TargetPort: 80, PublishedPort: 8080, PublishMode: "ingress" },
        { Protocol: "udp", TargetPort: 53, PublishedPort: 5353, PublishMode: "host" },
      ],
    },
  };
}
