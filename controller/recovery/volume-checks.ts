// What is to be said of volumes before a recovery begins: where they come from, where they go, whose data does not come. Pure.
import { posix } from "node:path";
import { isRedacted } from "../../shared/volume-kind.ts";
import * as format from "../cli/format.ts";
import type { PresentVolume } from "./machine-facts.ts";
import { volumeStepId } from "./plan-steps.ts";
import { bindFolder, isSameStorage, type PlannedVolume } from "./planned-volumes.ts";
import type { ExaminedPlan, Finding } from "./recovery-plan.ts";
import type { VolumeSource } from "./volume-sources.ts";

type Say = (severity: Finding["severity"], code: string, text: string) => void;

export function examineVolumes(plan: ExaminedPlan, say: Say): void {
  for (const { id, why, asked, machine } of plan.leftOut) {
    const code = machine === null ? "volume-homeless" : "volume-left-out";
    say(asked ? "note" : "warning", code, `the data of ${id} does not come back: ${why}`);
  }
  for (const { source, service } of plan.dumps) {
    const when = "once its container is healthy, or has run for a while where it has no health check";
    say("note", "dump-loaded", `${source.id} is a dump: it is loaded into ${service} ${when}`);
  }
  const known = new Set([...plan.sources, ...plan.leftOut].map(({ id }) => id));
  for (const id of plan.withoutVolumes) {
    if (!known.has(id)) say("error", "volume-unknown", `no run has a volume ${id}, which --without-volume names`);
  }
  // What the operator is to make by hand has its name to itself, too.
  const byHand = plan.leftOut.flatMap(({ source, machine, asked }) =>
    source === null || machine === null || asked || !isRedacted(source.part.volume)
      ? []
      : [{ source, machine, how: null }],
  );
  examinePlaces([...plan.volumes, ...byHand], say);
  for (const volume of plan.volumes) examineExisting(plan, volume, say);
  examineLeftAsIs(plan, say);
  for (const { source } of [...plan.volumes, ...byHand]) {
    if (source.run.id !== plan.runId) {
      say(
        "warning",
        "volume-older",
        `${source.id} is not in run ${plan.runId}; it is taken from ${source.run.id}, which is ${format.duration(Date.parse(plan.takenAt) - Date.parse(source.run.startedAt))} older`,
      );
    }
    if (source.shrankFromBytes !== null) {
      say(
        "warning",
        "volume-shrank",
        `${source.id} has ${source.sizeBytes} bytes, and had ${source.shrankFromBytes} in the run before: was it emptied before it was backed up?`,
      );
    }
    if (source.part.status === "partial") {
      say("warning", "volume-incomplete", `${source.id} was not taken whole: ${source.part.error?.message ?? ""}`);
    }
  }
}

interface Placed {
  source: VolumeSource;
  machine: string;
  how: PlannedVolume["how"] | null;
}

/** Two volumes of one name, and data of two in one folder of the host. */
function examinePlaces(placed: readonly Placed[], say: Say): void {
  const taken = new Map<string, string>();
  const folders: { machine: string; folder: string; id: string }[] = [];
  for (const { source, machine, how } of placed) {
    const { id } = source;
    const { name } = source.part.volume;
    const ways = `map one node elsewhere, or leave one out: --without-volume ${id}`;
    const other = taken.get(`${machine} ${name}`);
    if (other !== undefined) {
      say("error", "volume-twice", `${other} and ${id} would both become volume ${name} of ${machine}: ${ways}`);
    }
    taken.set(`${machine} ${name}`, id);
    const folder = how === "folder" ? bindFolder(source) : null;
    if (folder === null) continue;
    const path = `${posix.resolve(folder)}/`;
    const within = folders.find(
      (one) => one.machine === machine && (path.startsWith(one.folder) || one.folder.startsWith(path)),
    );
    if (within !== undefined) {
      say("error", "folder-twice", `${within.id} and ${id} would both be put into ${folder} of ${machine}: ${ways}`);
    }
    folders.push({ machine, folder: path, id });
  }
}

/** What is done to a volume that is there already; nothing any more to one whose step was done. */
function examineExisting(plan: ExaminedPlan, volume: PlannedVolume, say: Say): void {
  const { source, machine, how } = volume;
  const { name } = source.part.volume;
  const there = presentOn(plan, machine, name);
  if (there === null || plan.begunSteps?.get(volumeStepId(volume)) === "done") return;
  if (!isSameStorage(source.part.volume, there)) {
    const ways = `remove it there, or let services run on it as it is: --without-volume ${source.id}`;
    say("error", "volume-exists", `${machine} has a volume ${name} of another driver or with other options: ${ways}`);
  } else if (how === "plain") {
    say("warning", "volume-exists", `${machine} has a volume ${name} already: its content is set aside beside it`);
  } else if (how === "make" && source.kind === "dump" && !plan.begun) {
    say("warning", "volume-exists", `${machine} has a volume ${name} already: the dump is loaded into what is in it`);
  }
}

/** Left out, and not made either: what is there is another. */
function examineLeftAsIs(plan: ExaminedPlan, say: Say): void {
  for (const { source, machine, asked } of plan.leftOut) {
    if (source === null || machine === null || !asked) continue;
    const { name } = source.part.volume;
    const isPlanned = plan.volumes.some((one) => one.machine === machine && one.source.part.volume.name === name);
    const there = presentOn(plan, machine, name);
    if (isPlanned || there === null || isSameStorage(source.part.volume, there)) continue;
    const what = `of another driver or with other options than ${source.id}`;
    say("warning", "volume-exists", `${machine} has a volume ${name} ${what}: services run on it as it is`);
  }
}

function presentOn({ facts }: ExaminedPlan, machine: string, name: string): PresentVolume | null {
  return facts.get(machine)?.volumes.find((volume) => volume.name === name) ?? null;
}
