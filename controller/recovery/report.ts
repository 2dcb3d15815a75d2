// What a recovery comes to, from its journal: what was restored, what is equal, what is not; how long it took by phase
// (RTO), how old the data is by volume (RPO); what to do next. Pure; report-text.ts has it as Markdown.
import { comparedOf, type ComparedObject } from "./compare-step.ts";
import { imageNamesOf, loadedImages } from "./images/image-names.ts";
import type { Journal, JournalEvent, JournalHead, StepResult } from "./journal.ts";
import { loadOutcome } from "./load-step.ts";
import { stepIds } from "./plan-steps.ts";
import type { RecoveryPlan } from "./recovery-plan.ts";
import { probesOf, type Probe } from "./probe/probes.ts";
import { rotationCommands, rotationStepId, rotationTexts, type Rotation } from "./rotation/rotations.ts";
import type { VolumeSource } from "./volume-sources.ts";

export interface RecoveryReport {
  recoveryId: string;
  mode: string;
  runId: string;
  /** When the run began: what is newer is lost. */
  takenAt: string;
  startedAt: string;
  endedAt: string;
  /** `complete`: all is equal or mapped, no probe failed, all services are healthy, every node that survives is back. */
  outcome: "complete" | "partial";
  /** From the start of the first step to the end of the last one but for probing, cleaning up and rotating, ms. */
  rtoMs: number;
  phases: { phase: string; ms: number }[];
  volumes: {
    volume: string;
    machine: string;
    bytes: number;
    files: number;
    runId: string;
    takenAt: string;
    rpoMs: number;
  }[];
  /** Dumps, by whether their command took them back. */
  dumps: {
    volume: string;
    machine: string;
    bytes: number;
    runId: string;
    takenAt: string;
    rpoMs: number;
    loaded: boolean;
    /** It was begun, and nobody saw its good end. */
    mayBeLoaded: boolean;
    /** Into which container, or why not. */
    detail: string;
  }[];
  /** Data that did not come back, and, where the run has it, the command that brings it. */
  leftOut: {
    volume: string;
    /** Null where nothing takes its node's place. */
    machine: string | null;
    why: string;
    asked: boolean;
    command: string | null;
  }[];
  services: { service: string; health: string }[];
  objects: ComparedObject[];
  /** Hostnames of nodes that survive, and did not come back in time; mode quorum alone. */
  absent: string[];
  probes: Probe[];
  /** What of the swarm's keys was rotated. */
  rotated: string[];
  /** Names and ids of nodes, and what else the plan mapped. */
  mappings: string[];
  /** What was not looked at, and why. */
  skipped: string[];
  next: string[];
}

export function reportRecovery(
  plan: RecoveryPlan,
  journal: Pick<Journal, "events" | "head" | "resultOf">,
): RecoveryReport {
  const { head, events } = journal;
  const resultOf = (step: string): StepResult | null => journal.resultOf(step);
  const objects = comparedOf(resultOf);
  const services = [...plan.waves.map((_, index) => stepIds.release(index + 1)), stepIds.own].flatMap((step) =>
    Object.entries((resultOf(step)?.["services"] ?? {}) as Record<string, string>).map(([service, health]) => ({
      service,
      health,
    })),
  );
  const rotated = plan.rotations.filter((kind) => resultOf(rotationStepId(kind))?.["rotated"] === true);
  const absent = (resultOf(stepIds.nodes)?.["absent"] ?? []) as string[];
  const dumps = dumpsOf(plan, resultOf, Date.parse(events[0]?.at ?? head.startedAt));
  const leftOut = leftOutOf(plan, dumps);
  const probes = probesOf(resultOf);
  const whole =
    probes.every(({ state }) => state !== "failed") &&
    absent.length === 0 &&
    leftOut.every(({ asked }) => asked) &&
    objects.every(({ state }) => state === "equal" || state === "mapped" || state === "held") &&
    services.every(({ health }) => health === "healthy");
  const working = events.filter(({ step }) => !/^(probe$|clean:|rotate:)/.test(step));
  const startedAt = events[0]?.at ?? head.startedAt;
  const endedAt = working.at(-1)?.at ?? startedAt;
  return {
    recoveryId: head.recoveryId,
    mode: head.mode,
    runId: plan.runId,
    takenAt: plan.takenAt,
    startedAt,
    endedAt,
    outcome: whole ? "complete" : "partial",
    rtoMs: Date.parse(endedAt) - Date.parse(startedAt),
    phases: phaseTimes(plan, events),
    volumes: plan.volumes.flatMap(({ source, machine, how }) => {
      if (how === "make") return [];
      const result = resultOf(stepIds.volume(machine, source.id)) ?? {};
      return {
        volume: source.id,
        machine,
        bytes: source.sizeBytes,
        files: Number(result["files"] ?? source.part.totals?.files ?? 0),
        runId: source.run.id,
        takenAt: source.part.startedAt,
        rpoMs: Date.parse(startedAt) - Date.parse(source.part.startedAt),
      };
    }),
    ...{ dumps, leftOut, services, objects, absent },
    probes,
    rotated: rotated.map((kind) => rotationTexts[kind]),
    mappings: mappingsOf(plan, resultOf),
    skipped: skippedOf(plan, resultOf),
    next: [...nextOfProbes(probes), ...nextSteps(plan, head, rotated)],
  };
}

function dumpsOf(
  plan: RecoveryPlan,
  resultOf: (step: string) => StepResult | null,
  startedMs: number,
): RecoveryReport["dumps"] {
  return plan.dumps.map(({ source, machine }) => {
    const { loaded, mayBeLoaded, detail, machine: at } = loadOutcome(resultOf(stepIds.load(machine, source.id)));
    return {
      ...{ volume: source.id, machine: at ?? machine, bytes: source.sizeBytes, loaded, mayBeLoaded, detail },
      runId: source.run.id,
      takenAt: source.part.startedAt,
      rpoMs: startedMs - Date.parse(source.part.startedAt),
    };
  });
}

function leftOutOf(plan: RecoveryPlan, dumps: RecoveryReport["dumps"]): RecoveryReport["leftOut"] {
  const hostnames = new Map(plan.machines.map(({ name, facts }) => [name, facts.hostname]));
  const command = (source: VolumeSource, machine: string | null, isLoad: boolean): string => {
    const { name } = source.part.volume;
    const as = isLoad ? "" : ` --as ${name}-of-run`;
    return `skep restore volume ${source.id} --run ${source.run.id}${as} --to-node ${machine === null ? "NODE" : (hostnames.get(machine) ?? machine)} --identity FILE`;
  };
  const notLoaded = plan.dumps.flatMap(({ source }, index) => {
    const dump = dumps[index];
    if (dump === undefined || dump.loaded) return [];
    const { machine, detail, mayBeLoaded } = dump;
    const why = mayBeLoaded
      ? `its dump may be loaded, whole or in part; look there before it is loaded again: ${detail}`
      : `its dump was not loaded: ${detail}`;
    return [{ volume: source.id, machine, why, asked: false, command: command(source, machine, true) }];
  });
  const planned = plan.leftOut.map(({ id, source, machine, why, asked, mayLoad }) => ({
    ...{ volume: id, machine, why, asked },
    command: source === null ? null : command(source, machine, mayLoad),
  }));
  return [...planned, ...notLoaded];
}

/** From the first step's beginning to the last one's end; phases may overlap. */
function phaseTimes(plan: RecoveryPlan, events: readonly JournalEvent[]): RecoveryReport["phases"] {
  const phaseOf = new Map(plan.steps.map(({ id, phase }) => [id, phase]));
  const spans = new Map<string, { from: number; to: number }>();
  for (const { step, at } of events) {
    const phase = phaseOf.get(step);
    if (phase === undefined) continue;
    const time = Date.parse(at);
    const span = spans.get(phase);
    spans.set(phase, { from: Math.min(span?.from ?? time, time), to: Math.max(span?.to ?? time, time) });
  }
  return [...spans].map(([phase, { from, to }]) => ({ phase, ms: to - from }));
}

function mappingsOf(plan: RecoveryPlan, resultOf: (step: string) => StepResult | null): string[] {
  const nodes = (resultOf(stepIds.nodes)?.["nodes"] ?? {}) as Record<string, string>;
  const filled = resultOf(stepIds.nodes) ?? {};
  const made = [...((filled["mappings"] ?? []) as string[]), ...((filled["notes"] ?? []) as string[])];
  const lines = plan.machines.flatMap(({ name, advertise, replaces }) =>
    replaces.map(
      ({ hostname, id }) => `node ${hostname} (${id}) is ${name} at ${advertise} (${nodes[name] ?? "not joined"})`,
    ),
  );
  for (const { reference, how, why, machines } of loadedImages(plan, resultOf)) {
    if (how === "loaded") lines.push(`image ${reference} was loaded from the store on ${machines.join(", ")}`);
    if (how === "given") lines.push(`image ${reference} was there on ${machines.join(", ")}, loaded by hand`);
    if (how === "missing") lines.push(`image ${reference} could be had nowhere for ${machines.join(", ")}: ${why}`);
  }
  for (const [old, now] of imageNamesOf(plan, resultOf)) {
    lines.push(`services name image ${now} in place of ${old}: a loaded image has no registry's digest`);
  }
  for (const [old, now] of plan.renamed) lines.push(`hostname ${old} is ${now}`);
  for (const name of (resultOf(stepIds.swarm)?.["undone"] ?? []) as string[]) {
    lines.push(`service ${name} was held by Skep in the copy, and is as before that`);
  }
  const secret = resultOf(stepIds.own)?.["controllerKeySecret"];
  if (typeof secret === "string") lines.push(`Skep's controller has its key from the secret ${secret}`);
  return [...lines, ...made];
}

function skippedOf({ mode }: RecoveryPlan, resultOf: (step: string) => StepResult | null): string[] {
  const fence = resultOf(stepIds.fence) ?? {};
  const blind = (fence["notAskedFrom"] ?? []) as string[];
  return [
    ...(blind.length === 0
      ? []
      : [`old managers were not looked for from ${blind.join(", ")}: sshd forbids forwarding there`]),
    "ports were asked for on their own machines: whether firewalls let others in was not; nor were virtual IPs of services",
    mode === "rebuild"
      ? "secrets' data can't be read through the API; they were made with that of the copy"
      : "secrets' data can't be read through the API; they are the same objects, by id",
  ];
}

function nextSteps(plan: RecoveryPlan, { mode }: JournalHead, rotated: readonly Rotation[]): string[] {
  if (mode === "quorum") return nextOfQuorum(plan, rotated);
  const managers = plan.machines.filter(({ role }) => role === "manager").map(({ advertise }) => advertise);
  const addresses = [
    `the swarm's managers are at ${managers.join(", ")}: in the kit's cli.json set the host of api to one of them, or give --api`,
  ];
  return [
    `what was written after ${plan.takenAt} is lost: tell whom it concerns`,
    ...(mode === "rebuild"
      ? ["the swarm is another, with an unlock key of its own: docker swarm unlock-key, where it is autolocked"]
      : rotationsLeft(plan, rotated).map(
          (command) => `whoever has a disk of the old machines has their keys; on a manager: ${command}`,
        )),
    ...keyToKeep(rotated),
    "credentials for registries may have ended since: docker service update --with-registry-auth",
    "replace controller.key in the kit by the one beside this report, then: skep backup --wait",
    ...addresses,
    ...rollbackOfSecrets(plan),
    ...(mode === "rebuild"
      ? []
      : ["docker service rollback changes nothing until a service was deployed again: what it was before is not kept"]),
  ];
}

function nextOfProbes(probes: readonly Probe[]): string[] {
  const of = (state: Probe["state"], kind: Probe["kind"]): string[] => [
    ...new Set(probes.filter((probe) => probe.state === state && probe.kind === kind).map(({ subject }) => subject)),
  ];
  const broken = of("failed", "overlay");
  const silent = of("failed", "port");
  const unasked = of("skipped", "port");
  return [
    ...(broken.length === 0
      ? []
      : [
          `not all answers in ${broken.join(", ")}: do the machines let each other's overlay traffic through? docker service update --force SERVICE makes a service's endpoint anew`,
        ]),
    ...(silent.length === 0
      ? []
      : [`${silent.join(", ")} did not answer: is a firewall, or another program, in the port's way on that machine?`]),
    ...(unasked.length === 0 ? [] : [`connect once to what could not be probed: ${unasked.join(", ")}`]),
  ];
}

/** What was changed because somebody knew it is known again. */
function rollbackOfSecrets({ takenAt, secrets }: RecoveryPlan): string[] {
  if (secrets.length === 0) return [];
  return [
    `secrets have the values of ${takenAt} again, and so have users and keys that were removed since: rotate once more what was rotated after it, of ${secrets.join(", ")}`,
  ];
}

/** Commands for what was not rotated. */
function rotationsLeft({ rotatable }: RecoveryPlan, rotated: readonly Rotation[]): string[] {
  return rotatable.filter((kind) => !rotated.includes(kind)).map((kind) => rotationCommands[kind]);
}

function keyToKeep(rotated: readonly Rotation[]): string[] {
  if (!rotated.includes("unlock-key")) return [];
  return [
    "the swarm's new unlock key is in unlock-key beside this report, for you alone: put it where you keep such keys, and remove the file; keep the former one until each manager has started anew once",
  ];
}

function nextOfQuorum(plan: RecoveryPlan, rotated: readonly Rotation[]): string[] {
  const { takenAt, gone, machines, survivor } = plan;
  const dead = [...gone, ...machines.flatMap(({ stays, replaces }) => (stays ? [] : replaces))];
  const names = dead.map(({ hostname }) => hostname).join(", ");
  return [
    `${names} must never come back: together they could be a majority of the old quorum. Their disks are to be wiped`,
    `what was written to volumes of ${names} after ${takenAt} is lost: tell whom it concerns`,
    ...rotationsLeft(plan, rotated).map(
      (command) => `whoever has one of those disks has the swarm's keys; on a manager: ${command}`,
    ),
    ...keyToKeep(rotated),
    `keep ${survivor?.machine ?? "the survivor"}'s saved state beside this report until all is well: skep swarm inspect reads it`,
    "replace controller.key in the kit by the one beside this report, then: skep backup --wait",
  ];
}
