// What a plan is: machines in order, volumes with their homes, services in waves, findings, steps.
import type { SkepError } from "../../shared/errors.ts";
import type { SetupDifferences } from "./engine-setup/engine-setup.ts";
import type { ImageSource } from "./images/image-sources.ts";
import type { ImageAnswer, PlannedImage } from "./images/planned-image.ts";
import type { Inventory } from "./inventory.ts";
import type { JournalEvent, RecoveryMode } from "./journal.ts";
import type { MachineFacts } from "./machine-facts.ts";
import type { NewerTask } from "./newer-tasks.ts";
import type { MergedNode } from "./merged-node.ts";
import type { PlannedSurvivor } from "./quorum/planned-survivor.ts";
import type { Rotation } from "./rotation/rotations.ts";
import type { PlannedStep } from "./steps.ts";
import type { OldNode, OldService, SwarmView } from "./swarm-view.ts";
import type { PlannedDump } from "./planned-dumps.ts";
import type { FolderState, LeftOutVolume, PlannedVolume } from "./planned-volumes.ts";
import type { MissingVolume, VolumeSource } from "./volume-sources.ts";

export interface PlannedMachine {
  name: string;
  address: string;
  /** IP address by which other nodes reach it. */
  advertise: string;
  dataPath: string | null;
  dockerSocket: string;
  role: "manager" | "worker";
  /** Old nodes whose place it takes. */
  replaces: OldNode[];
  /** Labels and availability that it gets from them. */
  dress: MergedNode;
  /** It is that node itself, which survived: nothing of it is stopped, held or overwritten. */
  stays: boolean;
  facts: MachineFacts;
}

export interface Finding {
  severity: "error" | "warning" | "note";
  /** Stable: `engine-version`, `disk-room`. */
  code: string;
  text: string;
}

export interface RecoveryPlan {
  mode: RecoveryMode;
  runId: string;
  takenAt: string;
  clusterId: string;
  /** Mode quorum: the manager that goes on; else null. */
  survivor: PlannedSurvivor | null;
  /** The first is the first manager. */
  machines: PlannedMachine[];
  gone: OldNode[];
  /** Those that the inventory says to survive, and that are no machine of it. */
  surviving: OldNode[];
  volumes: PlannedVolume[];
  dumps: PlannedDump[];
  /** Data of the run that does not come back by itself, and why. */
  leftOut: LeftOutVolume[];
  /** One for each machine and image. */
  images: PlannedImage[];
  /** All that the swarm had. */
  services: OldService[];
  /** Those that are let go, in order. */
  waves: OldService[][];
  /** Skep's own, let go last. */
  own: OldService[];
  /** Ids of jobs that ended before the copy: never touched, or they would run again. */
  endedJobs: string[];
  /** What the swarm has of them. */
  rotatable: Rotation[];
  /** At the end, in this order. */
  rotations: Rotation[];
  /** When the newest object of the state was made or changed, ISO 8601; null where nobody looked. */
  stateChangedAt: string | null;
  /** Tasks that run, and end since the state has them not. */
  newerTasks: NewerTask[];
  /** Names of the copy's secrets. */
  secrets: string[];
  /** Machines whose engine is set up as on the nodes whose place they take. */
  setUp: string[];
  /** Old hostname → new one, where they differ. */
  renamed: ReadonlyMap<string, string>;
  findings: Finding[];
  steps: PlannedStep[];
}

export interface PlanInput {
  run: { id: string; startedAt: string };
  /** Of the manager whose copy it is. */
  copiedNodeId: string;
  view: SwarmView;
  /** Mode quorum alone. */
  survivor: PlannedSurvivor | null;
  volumes: readonly VolumeSource[];
  /** Default: none. */
  nowhere?: readonly MissingVolume[];
  /** HOSTNAME/NAME of volumes whose data the operator leaves out. */
  withoutVolumes?: readonly string[];
  /** What is in folders of machines (folderKey); one that nobody looked into counts as empty. */
  folders?: ReadonlyMap<string, FolderState>;
  /** Default: none. */
  images?: readonly ImageSource[];
  /** What engines said of the images (answerKey); without it nobody was asked. */
  imageAnswers?: ReadonlyMap<string, ImageAnswer>;
  allowMissingImages?: boolean;
  /** What machines lack of how the nodes' engines were set up, by machine; without it nobody was asked. */
  setup?: ReadonlyMap<string, SetupDifferences>;
  applyNodeFacts?: boolean;
  /** What the operator wants rotated; default: nothing. */
  rotate?: readonly Rotation[];
  /** What runs on machines of the old swarm and is newer than the state; without it nobody was asked. */
  newerTasks?: ReadonlyMap<string, NewerTask[]>;
  inventory: Inventory;
  facts: ReadonlyMap<string, MachineFacts>;
  mode: RecoveryMode;
  runJobs: boolean;
  /** This recovery's journal says that its swarm was begun: machines may be in it already. */
  begun: boolean;
  /** Last event of each step of this recovery's journal; default: none. */
  begunSteps?: ReadonlyMap<string, JournalEvent["event"]>;
  /** SKEP_REPOSITORY_UNPROVEN, which the take-over would throw; default: none, as where that is done. */
  unproven?: SkepError | null;
  /** The take-over goes on all the same. */
  acceptForeign?: boolean;
  /** Old subnet → new one; mode rebuild alone. */
  subnets: ReadonlyMap<string, string>;
}

/** What checks.ts judges: the plan without what it is about to say. */
export type ExaminedPlan = Omit<RecoveryPlan, "findings" | "steps"> &
  Pick<
    PlanInput,
    | "view"
    | "inventory"
    | "facts"
    | "runJobs"
    | "begun"
    | "begunSteps"
    | "subnets"
    | "setup"
    | "unproven"
    | "acceptForeign"
  > & {
    allowMissingImages: boolean;
    rotate: readonly Rotation[];
    /** All that the run has, also those without a home. */
    sources: readonly VolumeSource[];
    withoutVolumes: readonly string[];
    /** Node id → machine, `gone` or `survives`. */
    homes: ReadonlyMap<string, string>;
  };
