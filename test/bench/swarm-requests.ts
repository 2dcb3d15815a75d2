// What swarm proposes to its log, for the measurements: configs of one length, and a swarm of services that are updated
// one after the other, each update in the steps in which the parts of swarmkit write it.
import type { Message, MessageInit } from "../../shared/raft/swarmkit/message-types.ts";

/** The actions of one request. */
export type Actions = MessageInit<Message<"StoreAction">>[];
type Task = MessageInit<Message<"Task">>;
type Service = MessageInit<Message<"Service">>;

const create = 1;
const update = 2;
const remove = 3;
/** As TaskState has them. */
const state = { pending: 64, assigned: 192, accepted: 256, preparing: 320, ready: 384, starting: 448, running: 512 };
const shutdown = 640;

/** Without end: configs of that many bytes each, made and removed in turn. */
export function* configRequests(bytes: number): Generator<Actions> {
  for (let index = 0; ; index++) {
    const spec = { annotations: { name: `config-${index}` }, data: Buffer.alloc(bytes, index) };
    const value = { id: `config-${index}`, spec };
    yield [{ action: create, target: { case: "config", value } }];
    yield [{ action: remove, target: { case: "config", value } }];
  }
}

/** Without end: makes the services, with a task each, and then updates them in turn. */
export function* serviceRequests(services: number): Generator<Actions> {
  const tasks: Task[] = [];
  for (let version = 0; ; version++) {
    for (let at = 0; at < services; at++) {
      const service = serviceOf(at, version);
      const former = tasks[at];
      yield [{ action: version === 0 ? create : update, target: { case: "service", value: service } }];
      // The orchestrator, allocator and scheduler.
      const task = taskOf(at, version, service);
      yield [
        ...(former === undefined ? [] : [updated({ ...former, desiredState: shutdown })]),
        { action: create, target: { case: "task", value: task } },
      ];
      yield [updated({ ...task, status: statusOf(state.pending), networks: [attachment(at)] })];
      const placed = { ...task, networks: [attachment(at)], nodeId: id("node", at % 20) };
      yield [updated({ ...placed, status: statusOf(state.assigned) })];
      // The dispatcher: what the nodes tell, several states in a request.
      yield [updated({ ...placed, status: statusOf(state.accepted) })];
      yield [state.preparing, state.ready, state.starting].map((reached) =>
        updated({ ...placed, status: statusOf(reached) }),
      );
      const running = { ...placed, status: { ...statusOf(state.running), runtimeStatus: containerOf(at) } };
      yield [
        updated(running),
        ...(former === undefined ? [] : [updated({ ...former, status: statusOf(shutdown), desiredState: shutdown })]),
      ];
      tasks[at] = running;
      if (former === undefined) continue;
      const updateStatus = {
        state: 3,
        startedAt: time(version),
        completedAt: time(version),
        message: "update completed",
      };
      yield [{ action: update, target: { case: "service", value: { ...service, updateStatus } } }];
      yield [{ action: remove, target: { case: "task", value: former } }];
    }
  }
}

function updated(value: Task): Actions[number] {
  return { action: update, target: { case: "task", value } };
}

function serviceOf(at: number, version: number): Service {
  const spec = specOf(at, version);
  return {
    id: id("service", at),
    meta: metaOf(version),
    spec,
    ...(version === 0 ? {} : { previousSpec: specOf(at, version - 1) }),
    specVersion: { index: BigInt(version) },
    endpoint: { spec: { mode: 0 }, virtualIps: [{ networkId: id("network", at % 30), addr: `10.0.${at % 250}.2/24` }] },
  };
}

function specOf(at: number, version: number): NonNullable<Service["spec"]> {
  return {
    annotations: { name: `stack-${at % 100}_app-${at}`, labels: { "com.docker.stack.namespace": `stack-${at % 100}` } },
    task: templateOf(at, version),
    mode: { case: "replicated", value: { replicas: 1n } },
    update: { parallelism: 1n, delay: { seconds: 10n }, monitor: { seconds: 5n } },
    endpoint: { mode: 0 },
  };
}

function templateOf(at: number, version: number): NonNullable<Task["spec"]> {
  return {
    runtime: {
      case: "container",
      value: {
        image: `registry.example.org/team-${at % 9}/app-${at}:1.${version}@sha256:${"5f".repeat(32)}`,
        labels: { "com.docker.stack.namespace": `stack-${at % 100}` },
        env: [`RELEASE=${version}`, `DATABASE_URL=postgres://app@db-${at % 100}/app`, "LOG_LEVEL=info", "TZ=UTC"],
        mounts: [{ type: 1, source: `data-${at}`, target: "/var/lib/app" }],
        secrets: [
          { secretId: id("secret", at), secretName: `app-${at}`, target: { case: "file", value: { name: "key" } } },
        ],
        healthcheck: {
          test: ["CMD-SHELL", "wget -qO- http://localhost:8080/health || exit 1"],
          interval: { seconds: 10n },
        },
        stopGracePeriod: { seconds: 10n },
      },
    },
    resources: { limits: { memoryBytes: 536_870_912n }, reservations: { nanoCpus: 100_000_000n } },
    restart: { condition: 2, delay: { seconds: 5n } },
    placement: { constraints: ["node.role==worker"], platforms: [{ architecture: "amd64", os: "linux" }] },
    networks: [{ target: id("network", at % 30), aliases: [`app-${at}`] }],
    forceUpdate: BigInt(version),
  };
}

function taskOf(at: number, version: number, service: Service): Task {
  return {
    id: id("task", version * 100_000 + at),
    meta: metaOf(version),
    spec: templateOf(at, version),
    serviceId: id("service", at),
    slot: 1n,
    serviceAnnotations: service.spec?.annotations ?? {},
    status: { state: 0, message: "created", timestamp: time(version) },
    desiredState: state.running,
    specVersion: { index: BigInt(version) },
  };
}

function attachment(at: number): NonNullable<Task["networks"]>[number] {
  const spec = { annotations: { name: `net-${at % 30}` }, driverConfig: { name: "overlay" } };
  return { network: { id: id("network", at % 30), spec }, addresses: [`10.0.${at % 250}.${3 + (at % 200)}/24`] };
}

function statusOf(reached: number): NonNullable<Task["status"]> {
  return { state: reached, message: `state ${reached}`, timestamp: time(reached) };
}

function containerOf(at: number): NonNullable<NonNullable<Task["status"]>["runtimeStatus"]> {
  return { case: "container", value: { containerId: at.toString(16).padStart(64, "c"), pid: 4000 + at } };
}

function metaOf(version: number): NonNullable<Task["meta"]> {
  return { version: { index: BigInt(version + 10) }, createdAt: time(0), updatedAt: time(version) };
}

function time(seconds: number): { seconds: bigint; nanos: number } {
  return { seconds: 1_750_000_000n + BigInt(seconds), nanos: 123_456_789 };
}

/** As long as swarm's. */
function id(of: string, number: number): string {
  return `${of}${number}`.padEnd(25, "x");
}
