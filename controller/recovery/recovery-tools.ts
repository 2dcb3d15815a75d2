// What the steps of a recovery work with.
import { createHash, randomInt } from "node:crypto";
import type { Operator } from "../../shared/repository/open/operator.ts";
import type { StoreCredentials, StoreLocation } from "../../shared/store/location.ts";
import type { Store } from "../../shared/store/store.ts";
import type { RegistryAccess } from "./images/registry-access.ts";
import { MachineKit } from "./machine-kit.ts";
import type { PlannedMachine, RecoveryPlan } from "./recovery-plan.ts";
import type { RecoverySource } from "./recovery-source.ts";
import type { SurvivorChoice } from "./quorum/survivor.ts";
import type { RemoteMachine } from "./remote-machine.ts";
import type { KitArchitecture, RuntimeKit } from "./runtime-kit.ts";

export interface RecoveryTools {
  plan: RecoveryPlan;
  source: RecoverySource;
  /** Mode quorum alone; `source` has the state of the chosen one. */
  survivors: SurvivorChoice | null;
  store: Store;
  location: StoreLocation;
  credentials: StoreCredentials | null;
  operator: Operator;
  /** Signs the next repository object. */
  rootPrivateKey: string;
  machines: ReadonlyMap<string, RemoteMachine>;
  /** Packed when the first machine asks for it. */
  kit: (architecture: KitArchitecture) => Promise<RuntimeKit>;
  recoveryId: string;
  registryAccess: RegistryAccess;
  /** What can be had nowhere stops nothing. */
  allowMissingImages: boolean;
  /** A take-over goes on where a newer repository object may have been put over. */
  acceptForeign?: boolean;
  runJobs: boolean;
  /** Old subnet → new one; mode rebuild alone. */
  subnets: ReadonlyMap<string, string>;
  /** On the operator's machine, with the journal: holds the new controller key. */
  folder: string;
  now: () => number;
}

/** Twelve of digits and small letters. */
export function newRecoveryId(): string {
  return Array.from({ length: 12 }, () => randomInt(36).toString(36)).join("");
}

/** The same for one thing of one recovery, however often it is begun. */
export function derivedId(recoveryId: string, name: string): string {
  const hash = createHash("sha256").update(`${recoveryId} ${name}`).digest();
  return Array.from(hash.subarray(0, 12), (byte) => (byte % 36).toString(36)).join("");
}

export function machineOf({ machines }: RecoveryTools, name: string): RemoteMachine {
  const machine = machines.get(name);
  if (machine === undefined) throw new TypeError(`no machine ${name}`);
  return machine;
}

export function kitOn(tools: RecoveryTools, name: string): MachineKit {
  return new MachineKit(machineOf(tools, name), tools.recoveryId);
}

export function plannedMachine({ plan }: RecoveryTools, name: string): PlannedMachine {
  const machine = plan.machines.find((candidate) => candidate.name === name);
  if (machine === undefined) throw new TypeError(`no machine ${name} in the plan`);
  return machine;
}

/** The one whose copy is laid down; the plan has at least this. */
export function firstMachine({ plan }: RecoveryTools): PlannedMachine {
  const [first] = plan.machines;
  if (first === undefined) throw new TypeError("a plan without machines");
  return first;
}
