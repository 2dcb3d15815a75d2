// What is to be said of a recovery in mode quorum before it begins. Pure.
import * as format from "../../cli/format.ts";
import { parseReference } from "../../../shared/image-reference.ts";
import { nodeGone, nodeSurvives } from "../inventory.ts";
import type { ExaminedPlan, Finding } from "../recovery-plan.ts";
import { entryText, isOfConsequence, wayOf, type PlannedSurvivor } from "./planned-survivor.ts";
import { keptAwayServices, reboundServices } from "./rebound-services.ts";

type Say = (severity: Finding["severity"], code: string, text: string) => void;

/** More entries are only counted. */
const entriesNamed = 20;

export function examineQuorum(plan: ExaminedPlan, say: Say): void {
  const { survivor } = plan;
  if (survivor === null) {
    say("error", "no-survivor", "no manager that survived is among the machines: without one it is --mode raft");
    return;
  }
  const lost = examineMajority(plan, survivor, say);
  examinePlaces(plan, survivor, say);
  // Managers that are a majority are about to agree upon the last ones.
  if (lost) examineEntries(survivor, say);
  const { waves } = plan;
  examineNames(plan, say);
  for (const { name } of reboundServices(waves.flat(), plan)) {
    say("note", "service-rebound", `${name} was bound to a dead node and is updated: its tasks start on the new one`);
  }
  for (const { name } of keptAwayServices(waves.flat(), plan)) {
    say(
      "warning",
      "service-kept-away",
      `${name} is kept away from a dead node by name; the machine that replaces it has another: see to it later, an update now would restart its tasks`,
    );
  }
}

/** A service that is not updated goes on asking for its image by a digest, which a load can't give. */
function examineNames(plan: ExaminedPlan, say: Say): void {
  const rebound = new Set(reboundServices(plan.waves.flat(), plan).map(({ name }) => name));
  for (const { machine, reference, services, how } of plan.images) {
    const left = services.filter((name) => !rebound.has(name));
    if ((how !== "load" && how !== "given") || left.length === 0 || parseReference(reference)?.digest == null) continue;
    say(
      "warning",
      "image-unnamed",
      `${left.join(", ")} may not start on ${machine}: what is loaded there has no registry's digest, and an update would restart tasks that run; later: docker service update --image`,
    );
  }
}

/** Whether it is lost. */
function examineMajority({ begun }: ExaminedPlan, survivor: PlannedSurvivor, say: Say): boolean {
  const { managers, majority, others } = survivor;
  const living = others.length + 1;
  // What this very recovery made is a majority of one.
  if (living < majority || begun) return true;
  say(
    "error",
    "quorum-lives",
    `${living} of ${managers} managers survive, which is a majority: the quorum is not lost. Add managers by docker swarm join, and remove the dead by docker node rm`,
  );
  return false;
}

function examinePlaces({ machines, view, homes }: ExaminedPlan, survivor: PlannedSurvivor, say: Say): void {
  const going = machines.find(({ name }) => name === survivor.machine);
  if (going?.stays !== true) {
    say("error", "survivor-unmapped", `${survivor.machine} is node ${survivor.hostname} itself: map that node to it`);
  } else if (going.advertise !== survivor.host) {
    say(
      "error",
      "survivor-address",
      `${survivor.machine} is known to the other nodes as ${survivor.host}, the inventory says ${going.advertise}: give advertise: ${survivor.host}`,
    );
  }
  // Nothing is restored onto a machine that stays, and who took its place would be bound to it without its volumes.
  for (const { name, stays, replaces } of machines) {
    if (!stays || replaces.length === 1) continue;
    const mapped = replaces.map(({ hostname }) => hostname).join(", ");
    say(
      "error",
      "survivor-shared",
      `${mapped} are mapped to ${name}, which survives and gets nobody's volumes: map the dead to new machines, or say that they are gone`,
    );
  }
  const listed = new Set([survivor.nodeId, ...survivor.others.map(({ nodeId }) => nodeId)]);
  for (const { id, hostname, role } of view.nodes) {
    const home = homes.get(id);
    const machine = machines.find(({ name }) => name === home);
    if (home === nodeSurvives && role === "manager" && !listed.has(id)) {
      say(
        "error",
        "manager-unlisted",
        `${hostname} is a manager that survives: list its machine too, since its log may reach further than that of ${survivor.machine}`,
      );
    }
    if (listed.has(id) && home === nodeGone) {
      say("error", "node-lives", `${hostname} is said to be gone, and is a manager that answers`);
    }
    if (machine?.stays === true && machine.role !== role) {
      say("error", "survivor-role", `${hostname} survives as ${role}, and the inventory makes it a ${machine.role}`);
    }
    if (machine !== undefined && !machine.stays && listed.has(id)) {
      say("error", "node-lives", `${hostname} is to be replaced by ${machine.name}, and is a manager that answers`);
    }
  }
}

function examineEntries(survivor: PlannedSurvivor, say: Say): void {
  const { newer, choice, machine, commitIndex } = survivor;
  const weighty = newer.filter(isOfConsequence);
  if (newer.length > 0) {
    const entries = format.plural(newer.length, "entry", "entries");
    const head = `above its commit index ${commitIndex} the log of ${machine} has ${entries}, acknowledged or not`;
    if (weighty.length > 0 && choice === null) {
      say("error", "entries-undecided", `${head}: decide with --newer-entries keep or drop`);
    } else {
      const fate = wayOf(survivor) === "rebase" ? "they are kept" : "they are dropped";
      say(weighty.length > 0 ? "warning" : "note", "entries-newer", `${head}; ${fate}`);
    }
    for (const entry of newer.slice(0, entriesNamed)) say("note", "entry", entryText(entry));
    if (newer.length > entriesNamed) say("note", "entry", `and ${newer.length - entriesNamed} more`);
  }
  if (wayOf(survivor) === "force") {
    say("note", "survivor-tasks", `swarm starts its tasks on ${machine} anew; those of all other nodes run on`);
  } else {
    say(
      "warning",
      "survivor-restarts",
      `to keep them the engine of ${machine} is stopped, and every container of this one machine starts anew; dropping them needs only swarm's tasks there to start anew`,
    );
  }
}
