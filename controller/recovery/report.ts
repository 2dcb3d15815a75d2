// What a recovery comes to, from its journal: what was restored, what is equal, what is not; how long it took by phase
// (RTO), how old the data is by volume (RPO); what to do next. As JSON, and as Markdown for people. Pure.
import * as format from "../cli/format.ts";
import { comparedOf, type ComparedObject } from "./compare-step.ts";
import { imageNamesOf, loadedImages } from "./images/image-names.ts";
import type { Journal, JournalEvent, JournalHead, StepResult } from "./journal.ts";
import { stepIds } from "./plan-steps.ts";
import type { RecoveryPlan } from "./recovery-plan.ts";

export interface RecoveryReport {
  recoveryId: string;
  mode: string;
  runId: string;
  /** When the run began: what is newer is lost. */
  takenAt: string;
  startedAt: string;
  endedAt: string;
  /** `complete`: all is equal or mapped, all services are healthy, every node that survives is back. */
  outcome: "complete" | "partial";
  /** From the start of the first step to the end of the last one but for cleaning up, ms. */
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
  services: { service: string; health: string }[];
  objects: ComparedObject[];
  /** Hostnames of nodes that survive, and did not come back in time; mode quorum alone. */
  absent: string[];
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
  const absent = (resultOf(stepIds.nodes)?.["absent"] ?? []) as string[];
  const whole =
    absent.length === 0 &&
    objects.every(({ state }) => state === "equal" || state === "mapped" || state === "held") &&
    services.every(({ health }) => health === "healthy");
  const working = events.filter(({ step }) => !step.startsWith("clean:"));
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
    volumes: plan.volumes.map(({ source, machine }) => {
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
    services,
    objects,
    absent,
    mappings: mappingsOf(plan, resultOf),
    skipped: skippedOf(plan, resultOf),
    next: nextSteps(plan, head),
  };
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
    "published ports (ingress) and virtual IPs were not probed: connect to each once",
    mode === "rebuild"
      ? "secrets' data can't be read through the API; they were made with that of the copy"
      : "secrets' data can't be read through the API; they are the same objects, by id",
  ];
}

function nextSteps(plan: RecoveryPlan, { mode }: JournalHead): string[] {
  if (mode === "quorum") return nextOfQuorum(plan);
  const rotate = [
    "docker swarm join-token --rotate worker; docker swarm join-token --rotate manager",
    "docker swarm ca --rotate",
    "docker swarm unlock-key --rotate, where the swarm is autolocked",
  ];
  return [
    `what was written after ${plan.takenAt} is lost: tell whom it concerns`,
    ...(mode === "rebuild"
      ? ["the swarm is another, with an unlock key of its own: docker swarm unlock-key, where it is autolocked"]
      : rotate.map((command) => `whoever has a disk of the old machines has their keys: ${command}`)),
    "credentials for registries may have ended since: docker service update --with-registry-auth",
    "replace controller.key in the kit by the one beside this report, then: skep backup --wait",
    ...(mode === "rebuild"
      ? []
      : ["a rollback of a service would go to its held state until it is deployed again: deploy each stack once"]),
  ];
}

function nextOfQuorum({ takenAt, gone, machines, survivor }: RecoveryPlan): string[] {
  const dead = [...gone, ...machines.flatMap(({ stays, replaces }) => (stays ? [] : replaces))];
  const names = dead.map(({ hostname }) => hostname).join(", ");
  return [
    `${names} must never come back: together they could be a majority of the old quorum. Their disks are to be wiped`,
    `what was written to volumes of ${names} after ${takenAt} is lost: tell whom it concerns`,
    "whoever has one of those disks has the swarm's keys: docker swarm ca --rotate, docker swarm join-token --rotate worker, … manager, and with autolock docker swarm unlock-key --rotate",
    `keep ${survivor?.machine ?? "the survivor"}'s saved state beside this report until all is well: skep swarm inspect reads it`,
    "replace controller.key in the kit by the one beside this report, then: skep backup --wait",
  ];
}

export function renderReport(report: RecoveryReport): string {
  const row = (cells: readonly string[]): string => `| ${cells.map(cellText).join(" | ")} |`;
  const table = (head: readonly string[], rows: readonly (readonly string[])[]): string =>
    [row(head), row(head.map(() => "---")), ...rows.map(row)].join("\n");
  const counts = new Map<string, number>();
  for (const { kind, state } of report.objects) {
    counts.set(`${kind} ${state}`, (counts.get(`${kind} ${state}`) ?? 0) + 1);
  }
  const notEqual = report.objects.filter(({ state }) => state !== "equal");
  const list = (lines: readonly string[]): string => lines.map((line) => `- ${line}`).join("\n");
  return [
    `# Recovery ${report.recoveryId}: ${report.outcome}`,
    `Mode ${report.mode}, from run ${report.runId} of ${format.time(report.takenAt)}. Begun ${format.time(report.startedAt)}, ended ${format.time(report.endedAt)}.`,
    `**RTO ${format.duration(report.rtoMs)}**`,
    "## Time by phase",
    table(
      ["phase", "time"],
      report.phases.map(({ phase, ms }) => [phase, format.duration(ms)]),
    ),
    "## Volumes",
    table(
      ["volume", "machine", "size", "files", "run", "age of the data (RPO)"],
      report.volumes.map((volume) => [
        volume.volume,
        volume.machine,
        format.bytes(volume.bytes),
        String(volume.files),
        volume.runId,
        format.duration(volume.rpoMs),
      ]),
    ),
    "## Services",
    table(
      ["service", "health"],
      report.services.map(({ service, health }) => [service, health]),
    ),
    "## Objects",
    table(
      ["kind and state", "objects"],
      [...counts].map(([what, count]) => [what, String(count)]),
    ),
    ...(notEqual.length === 0
      ? []
      : [
          table(
            ["kind", "name", "state", "detail"],
            notEqual.map((one) => [one.kind, one.name, one.state, one.detail]),
          ),
        ]),
    ...(report.absent.length === 0
      ? []
      : [
          "## Nodes that did not come back",
          list(
            report.absent.map(
              (hostname) => `${hostname} survives: look whether its engine runs and reaches the manager`,
            ),
          ),
        ]),
    "## Mappings",
    list(report.mappings),
    "## Not looked at",
    list(report.skipped),
    "## What to do now",
    list(report.next),
    "",
  ].join("\n\n");
}

/** Names come from outside: a bar would break the table. */
function cellText(text: string): string {
  return format.visible(text).replaceAll("|", "\\|");
}
