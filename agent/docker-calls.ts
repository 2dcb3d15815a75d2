// What Skep asks of a Docker engine, in its own words. The one that asks is docker.ts.
import type { DockerImages } from "./docker-images.ts";
import type {
  Container,
  EngineEvent,
  EngineInfo,
  InspectedContainer,
  NamedObject,
  Network,
  Plugin,
  SwarmNode,
  SwarmService,
  SwarmTask,
  Volume,
} from "./docker-objects.ts";

export type Filters = Readonly<Record<string, readonly string[]>>;

export interface HelperContainer {
  image: string;
  command: readonly string[];
  /** Whose mounts and network it shares (the agent's own container). */
  like: string;
  volume: { name: string; target: string; readOnly: boolean };
  /** The job it works for. */
  label: string;
  stdin: Uint8Array;
  /** Called with each piece of its standard output. */
  onStdout: (bytes: Uint8Array) => void;
  signal: AbortSignal;
}

export interface ContainerExec {
  container: string;
  argv: readonly string[];
  /** Null: the container's own. */
  user: string | null;
  /** What it reads from its standard input; null: nothing. */
  stdin: AsyncIterable<Uint8Array> | null;
  /** While its promise is open nothing more is read of the program's output. */
  onStdout: (bytes: Buffer) => Promise<void> | void;
  onStderr: (bytes: Buffer) => void;
  signal: AbortSignal;
}

/**
 * Every method rejects with a SkepError: SKEP_DOCKER_UNREACHABLE, SKEP_DOCKER_NOT_MANAGER, SKEP_DOCKER_MANAGER_STOPPED
 * (it was one when it was asked), SKEP_DOCKER_CONFLICT (changed meanwhile, or in use), SKEP_DOCKER_NOT_FOUND,
 * SKEP_DOCKER_ANSWER_INVALID, SKEP_DOCKER_FAILED.
 * Aborting rejects with the signal's reason.
 */
export interface Docker extends DockerImages {
  info(signal?: AbortSignal): Promise<EngineInfo>;
  /** The swarm's object as it is, join tokens and all. Managers only. */
  swarm(signal?: AbortSignal): Promise<Record<string, unknown>>;
  nodes(signal?: AbortSignal): Promise<SwarmNode[]>;
  node(id: string, signal?: AbortSignal): Promise<SwarmNode>;
  /** Writes a node's spec if its version is still `version`; else SKEP_DOCKER_CONFLICT. Resolves once the swarm has it. */
  updateNode(id: string, version: number, spec: SwarmNode["Spec"], signal?: AbortSignal): Promise<void>;
  services(signal?: AbortSignal): Promise<SwarmService[]>;
  /** Null where there is none. */
  service(id: string, signal?: AbortSignal): Promise<SwarmService | null>;
  /** Writes a service's spec if its version is still `version`; else SKEP_DOCKER_CONFLICT. Keeps its registry credentials. */
  updateService(id: string, version: number, spec: SwarmService["Spec"], signal?: AbortSignal): Promise<void>;
  /** Docker's own rollback: the previous spec changes places with the present one. Else as updateService. */
  rollbackService(id: string, version: number, spec: SwarmService["Spec"], signal?: AbortSignal): Promise<void>;
  tasks(filters: Filters, signal?: AbortSignal): Promise<SwarmTask[]>;
  configs(filters: Filters, signal?: AbortSignal): Promise<NamedObject[]>;
  /** Its id. A taken name is SKEP_DOCKER_CONFLICT. */
  createConfig(
    config: { name: string; labels: Record<string, string>; data: Uint8Array },
    signal?: AbortSignal,
  ): Promise<string>;
  /** Replaces a config's labels (its data never changes); no error where it is gone. */
  relabelConfig(config: NamedObject, labels: Record<string, string>, signal?: AbortSignal): Promise<void>;
  /** Removing what is not there is no error. */
  removeConfig(id: string, signal?: AbortSignal): Promise<void>;
  /** Without their data, which the API never gives. */
  secrets(signal?: AbortSignal): Promise<NamedObject[]>;
  networks(signal?: AbortSignal): Promise<Network[]>;
  volumes(signal?: AbortSignal): Promise<Volume[]>;
  /** Null where there is none. */
  volume(name: string, signal?: AbortSignal): Promise<Volume | null>;
  createVolume(
    volume: { name: string; driver: string; options: Record<string, string>; labels: Record<string, string> },
    signal?: AbortSignal,
  ): Promise<Volume>;
  removeVolume(name: string, signal?: AbortSignal): Promise<void>;
  /** All containers, also stopped ones. */
  containers(filters: Filters, signal?: AbortSignal): Promise<Container[]>;
  /** Null where there is none. */
  container(id: string, signal?: AbortSignal): Promise<InspectedContainer | null>;
  /** Its own signal, its own patience; resolves when it has ended, or after `waitMs` with SKEP_DOCKER_UNREACHABLE. No error where it is gone, or ended before. */
  stopContainer(id: string, waitMs: number, signal?: AbortSignal): Promise<void>;
  /** No error where it is gone, or runs. */
  startContainer(id: string): Promise<void>;
  /** Image id of a container; null where there is no such container. */
  imageOf(containerId: string, signal?: AbortSignal): Promise<string | null>;
  removeContainer(id: string, signal?: AbortSignal): Promise<void>;
  /** Freezes a running container; one that is frozen already is SKEP_DOCKER_CONFLICT. */
  pauseContainer(id: string): Promise<void>;
  /** No error where it is gone, or not paused. */
  unpauseContainer(id: string): Promise<void>;
  /** Runs a program in a running container and gives its exit code, as the engine has it after the end. */
  exec(exec: ContainerExec): Promise<{ exitCode: number }>;
  /** Tells of each event from now on, once it resolves, until the signal. `ended` resolves when no more can come. */
  watch(
    filters: Filters,
    onEvent: (event: EngineEvent) => void,
    signal: AbortSignal,
  ): Promise<{ ended: Promise<void>; hasEnded: () => boolean }>;
  plugins(signal?: AbortSignal): Promise<Plugin[]>;
  /** `SWMKEY-1-…` of an autolocked swarm, asked of a manager; "" where the swarm is not locked. */
  unlockKey(signal?: AbortSignal): Promise<string>;
  /** Runs a container to its end, removes it, and gives its exit code and the last 8 KiB of its stderr. */
  runHelper(helper: HelperContainer): Promise<{ exitCode: number; stderr: string }>;
}
