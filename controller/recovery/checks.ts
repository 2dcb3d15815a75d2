// What is to be said about a recovery before it begins: errors stop it, warnings are for the operator to judge, notes are
// good to know. Pure functions over what was gathered.
import { BlockList, isIP } from "node:net";
import * as format from "../cli/format.ts";
import { nodeSurvives } from "./inventory.ts";
import { examineSetup } from "./engine-setup/setup-findings.ts";
import type { MachineFacts } from "./machine-facts.ts";
import { examineImages, loadedBytes } from "./images/planned-image.ts";
import { examineNewerTasks } from "./newer-task-checks.ts";
import { examineNeeds } from "./machine-needs.ts";
import { stepIds } from "./plan-steps.ts";
import { mayMeet, parseConstraint, placesFor } from "./placement.ts";
import { examineQuorum } from "./quorum/quorum-checks.ts";
import type { ExaminedPlan, Finding } from "./recovery-plan.ts";
import { examineRotations } from "./rotation/rotations.ts";
import { kitArchitecture } from "./runtime-kit.ts";
import { usualDataPathPort } from "./swarm-view.ts";
import { examineVolumes } from "./volume-checks.ts";

/** Docker's ports between nodes (docs.docker.com, "Open protocols and ports between the hosts"). */
const gossipPort = 7946;
const clusterPorts = [2377, gossipPort];
const mostClockOffsetMs = 30_000;
/** Room for folders, inodes, the filesystem's reserve. */
const roomFactor = 1.05;
const roomBytes = 64 * 1024 * 1024;
/** The kit as it comes and unpacked. */
const kitBytes = 300 * 1024 * 1024;
/** swarmkit's mathematics: an even number of managers bears no more failures than the odd one below. */
const mostManagers = 7;

type Say = (severity: Finding["severity"], code: string, text: string) => void;

export function examine(plan: ExaminedPlan): Finding[] {
  const findings: Finding[] = [];
  const say: Say = (severity, code, text) => findings.push({ severity, code, text });
  if (plan.mode === "rebuild") examineRebuild(plan, say);
  if (plan.mode === "quorum") examineQuorum(plan, say);
  examineRepository(plan, say);
  examineNewerTasks(plan, say);
  examineNodes(plan, say);
  // One that survived is left as it is.
  for (const machine of plan.machines) if (!machine.stays) examineMachine(plan, machine.facts, say);
  examineClocks(plan, say);
  examineVolumes(plan, say);
  examineServices(plan, say);
  examineNeeds(plan, say);
  examineNetworks(plan, say);
  examineAuthority(plan, say);
  const surviving = plan.surviving.map(({ hostname }) => hostname);
  examineRotations(plan.rotate, plan.view, surviving, say);
  findings.push(...examineImages(plan.images, plan.allowMissingImages));
  findings.push(...examineSetup(plan.setup ?? new Map(), plan));
  const order = ["error", "warning", "note"];
  return findings.sort((a, b) => order.indexOf(a.severity) - order.indexOf(b.severity));
}

/** What the take-over would refuse, once volumes and images are there. */
function examineRepository({ unproven, acceptForeign }: ExaminedPlan, say: Say): void {
  if (unproven == null) return;
  const { message, hint = "" } = unproven;
  if (acceptForeign === true) say("warning", "repository-unproven", `the repository is taken over though ${message}`);
  else say("error", "repository-unproven", `the repository is not taken over: ${message}; ${hint}`);
}

/** What is other than in mode raft. */
function examineRebuild({ subnets, view }: ExaminedPlan, say: Say): void {
  const identity =
    "a new swarm: its id, CA, join tokens and unlock key are new, and so is the id of every object and node";
  say("note", "rebuild-identity", `${identity}; names, specs, labels and data are those of the copy`);
  say("note", "rebuild-key", "the secret with Skep's controller key is made anew under another name, not the old one");
  for (const [from, to] of subnets) {
    const network = view.networks.find((one) => one.subnets.includes(from));
    if (network === undefined) say("error", "subnet-unknown", `no network has the subnet ${from} of --remap-subnet`);
    else say("note", "subnet-moved", `network ${network.name} gets ${to} in place of ${from}`);
    for (const { name, subnets: taken } of view.networks) {
      const other = taken.find((subnet) => subnet !== from && overlap(subnets.get(subnet) ?? subnet, to));
      if (other !== undefined)
        say("error", "subnet-clash", `${to} of --remap-subnet overlaps ${other} of network ${name}`);
    }
  }
}

function examineNodes(plan: ExaminedPlan, say: Say): void {
  const { inventory, view, homes } = plan;
  const named = new Set(Object.keys(inventory.nodes));
  for (const { id, hostname, role } of view.nodes) {
    if (!homes.has(id)) {
      say(
        "error",
        "node-unmapped",
        `${hostname} (${id}), a ${role}, is not in the inventory: map it, or say that it is gone`,
      );
    } else if (homes.get(id) === nodeSurvives && plan.mode !== "quorum") {
      say(
        "error",
        "node-survives",
        `${hostname} survives: mode ${plan.mode} makes the swarm anew; a surviving machine leaves the old swarm first (docker swarm leave --force) and is listed as a machine`,
      );
    }
    named.delete(id);
    named.delete(hostname);
  }
  for (const name of named) say("error", "node-unknown", `the inventory names ${name}, which the run does not know`);
  const hostnames = view.nodes.map(({ hostname }) => hostname);
  for (const hostname of new Set(hostnames)) {
    const twins = view.nodes.filter((node) => node.hostname === hostname);
    if (twins.length > 1 && twins.some(({ id }) => inventory.nodes[id] === undefined)) {
      say(
        "error",
        "node-ambiguous",
        `${twins.length} nodes are called ${hostname}: name them by id: ${twins.map(({ id }) => id).join(", ")}`,
      );
    }
  }
  const managers = plan.machines.filter(({ role }) => role === "manager").length;
  if (managers > 0 && managers % 2 === 0) {
    say("warning", "managers-even", `${managers} managers bear no more failures than ${managers - 1}`);
  }
  if (managers > mostManagers) say("warning", "managers-many", `${managers} managers make every write slow`);
  for (const machine of plan.machines) {
    const [, ...more] = machine.replaces;
    if (more.length > 0) {
      const taken = machine.replaces.map(({ hostname }) => hostname).join(", ");
      say("note", "nodes-merged", `${machine.name} takes the place of ${taken}: it gets the labels of all`);
    }
    for (const { label, values, taken } of machine.dress.clashes) {
      say(
        "warning",
        "label-clash",
        `the nodes whose place ${machine.name} takes had label ${label} as ${values.join(" and ")}; it gets ${taken}`,
      );
    }
    for (const { hostname } of machine.replaces) {
      if (hostname !== machine.facts.hostname) {
        say(
          "note",
          "hostname-changed",
          `${hostname} will be called ${machine.facts.hostname}; constraints on its name are rewritten`,
        );
      }
    }
  }
}

function examineMachine(plan: ExaminedPlan, facts: MachineFacts, say: Say): void {
  const { name } = facts;
  // A worker does not know its swarm's id, and a rebuilt swarm has another: the steps look whether it is ours.
  const maybeOurs = plan.begun && (plan.mode === "rebuild" || facts.clusterId === "");
  if (facts.swarmState !== "inactive" && facts.clusterId !== plan.clusterId && !maybeOurs) {
    say(
      "error",
      "swarm-active",
      `${name} is in a swarm already (${facts.swarmState}): docker swarm leave --force there`,
    );
  }
  if (kitArchitecture(facts.architecture) === null) {
    say(
      "error",
      "architecture",
      `${name} is a machine of architecture ${facts.architecture}, for which there is no kit`,
    );
  }
  examineRoom(plan, facts, say);
  if (facts.swarmState === "inactive") {
    const ports = [
      ...clusterPorts.map((port) => ({ port, protocol: "tcp", taken: facts.listening })),
      ...[gossipPort, plan.view.dataPathPort].map((port) => ({ port, protocol: "udp", taken: facts.listeningUdp })),
    ];
    for (const { port, protocol, taken } of ports) {
      if (!taken.includes(port)) continue;
      say("error", "port-taken", `on ${name} somebody has port ${port}/${protocol}, which the swarm needs`);
    }
  }
  const oldVersions = plan.machines.find((machine) => machine.name === name)?.replaces ?? [];
  for (const { engineVersion, hostname } of oldVersions) {
    const [older, newer] = [majorOf(facts.engineVersion), majorOf(engineVersion)];
    if (older !== null && newer !== null && older < newer) {
      say(
        "warning",
        "engine-version",
        `${name} has Docker ${facts.engineVersion}, ${hostname} had ${engineVersion}: newer state on an older engine`,
      );
    }
  }
}

/** What this recovery brought before has its room already; of what it was about to bring nobody knows how much. */
function examineRoom(plan: ExaminedPlan, { name, freeBytes, dataRoot, kit }: MachineFacts, say: Say): void {
  const wanted = [
    ...plan.volumes
      .filter(({ machine, how }) => machine === name && how !== "make")
      .map(({ source, how }) => ({
        step: stepIds.volume(name, source.id),
        bytes: source.sizeBytes * (how === "folder" ? 2 : 1) * roomFactor,
      })),
    // Of rows a server makes about as many bytes as their dump has.
    ...plan.dumps
      .filter(({ machine }) => machine === name)
      .map(({ source }) => ({ step: stepIds.load(name, source.id), bytes: source.sizeBytes * roomFactor })),
    { step: stepIds.images(name), bytes: loadedBytes(plan.images, name) },
  ].map(({ step, bytes }) => ({ bytes, event: plan.begunSteps?.get(step) }));
  const left = wanted.filter(({ event }) => event !== "done");
  const isKitThere = plan.begunSteps?.get(stepIds.kit(name)) === "done";
  const comes =
    plan.mode !== "quorum" || [...plan.volumes, ...plan.dumps, ...plan.images].some((one) => one.machine === name);
  if (comes && !isKitThere && kit.freeBytes < kitBytes) {
    say("error", "kit-room", `${name} has ${kit.freeBytes} bytes free in /var/lib, Skep's kit needs ${kitBytes} there`);
  }
  const pulled = plan.images.filter(({ machine, how }) => machine === name && how === "pull").length;
  if (pulled > 0) {
    const images = format.plural(pulled, "image");
    say("note", "image-room", `${images} of registries come to ${name}, whose size is not counted`);
  }
  const needed = left.reduce(
    (sum, { bytes }) => sum + bytes,
    roomBytes + (isKitThere || !kit.isDataRoots ? 0 : kitBytes),
  );
  if (freeBytes >= needed) return;
  const underWay = left.some(({ event }) => event !== undefined);
  const text = `${name} has ${freeBytes} bytes free in ${dataRoot}, its volumes and images need ${Math.ceil(needed)}`;
  say(underWay ? "warning" : "error", "disk-room", underWay ? `${text} less what is there of them already` : text);
}

function majorOf(version: string): number | null {
  const major = Number(/^(\d+)\./.exec(version)?.[1] ?? NaN);
  return Number.isNaN(major) ? null : major;
}

function examineClocks(plan: ExaminedPlan, say: Say): void {
  for (const { name, facts } of plan.machines) {
    if (Math.abs(facts.clockOffsetMs) < mostClockOffsetMs) continue;
    const seconds = Math.round(facts.clockOffsetMs / 1000);
    say("error", "clock", `the clock of ${name} is ${seconds} s off from this machine's: certificates would not count`);
  }
}

function examineServices(plan: ExaminedPlan, say: Say): void {
  const { view, machines } = plan;
  const hostnameOf = (name: string): string => machines.find((one) => one.name === name)?.facts.hostname ?? name;
  const restored = new Set([...plan.volumes, ...plan.dumps].map(({ source }) => source.part.volume.name));
  for (const service of view.services) {
    const possible = placesFor(service, plan);
    const elsewhere = plan.surviving.filter((place) => mayMeet(place, service.constraints));
    if (service.constraints.length > 0 && possible.length + elsewhere.length === 0) {
      say(
        "warning",
        "constraint",
        `no machine will meet the constraints of ${service.name}: ${service.constraints.join(", ")}`,
      );
    }
    const local = service.volumes.filter((volume) => restored.has(volume));
    if (service.mode === "replicated" && local.length > 0 && possible.length > 1 && !service.own) {
      say(
        "warning",
        "volume-not-pinned",
        `${service.name} may start on ${possible.map(hostnameOf).join(", ")}, its volume ${local.join(", ")} is on one of them: pin it (node.hostname==…)`,
      );
    }
    if (service.mode === "job") {
      const what = service.ended ? "ended before and is not run again" : "was under way: it stays held";
      if (!plan.runJobs && plan.mode !== "quorum")
        say(
          "note",
          "job",
          `job ${service.name} ${plan.mode === "rebuild" ? "is made held" : what} (--run-jobs runs it)`,
        );
    }
  }
  for (const { id, constraints, name } of view.services) {
    for (const text of constraints) {
      const constraint = parseConstraint(text);
      if (constraint?.key === "node.id" && !view.nodes.some((node) => node.id === constraint.value)) {
        say(
          "warning",
          "constraint-unknown",
          `${name} (${id}) is bound to node ${constraint.value}, which the run does not know`,
        );
      }
    }
  }
}

/** Certificates of nodes: an expired one is made anew, but not by a swarm that has no key of its CA. */
function examineAuthority({ mode, view, takenAt }: ExaminedPlan, say: Say): void {
  const { externalCas = [], certificateExpiresAt = null } = view;
  if (mode === "rebuild") {
    if (externalCas.length > 0)
      say("warning", "external-ca", `the new swarm has a CA of its own, not ${externalCas[0]}`);
    return;
  }
  if (externalCas.length > 0) {
    const ca = externalCas.join(", ");
    say(
      "warning",
      "external-ca",
      `each machine asks the external CA ${ca} for its certificate: is it reached from there?`,
    );
  }
  if (certificateExpiresAt === null || mode === "quorum") return;
  const leftMs = Date.parse(certificateExpiresAt) - Date.parse(takenAt);
  const until = `the certificate of the copied manager counts until ${certificateExpiresAt}`;
  if (externalCas.length > 0) {
    say("warning", "certificate", `${until}; once it has ended mode raft can't make it anew, and it is --mode rebuild`);
  } else say("note", "certificate", `${until}, ${format.duration(leftMs)} from the copy on; an ended one is made anew`);
}

function examineNetworks(plan: ExaminedPlan, say: Say): void {
  for (const { name, driver, subnets } of plan.view.networks) {
    if (driver !== "overlay") continue;
    for (const machine of plan.machines) {
      for (const route of machine.facts.routes) {
        for (const subnet of subnets.map((former) => plan.subnets.get(former) ?? former)) {
          if (overlap(subnet, route)) {
            say(
              "error",
              "subnet",
              `network ${name} has subnet ${subnet}, and ${machine.name} reaches ${route} directly: they overlap`,
            );
          }
        }
      }
    }
  }
  if (plan.view.dataPathPort !== usualDataPathPort) {
    const port = `UDP port ${plan.view.dataPathPort}`;
    say("note", "data-path-port", `traffic of overlays has ${port}: open it between the machines in place of 4789`);
  }
  const drivers = new Set(plan.view.networks.map(({ driver }) => driver));
  for (const driver of drivers) {
    if (["overlay", "bridge", "host", "null", ""].includes(driver)) continue;
    for (const { name, facts } of plan.machines) {
      if (!facts.drivers.includes(`network ${driver}`))
        say("warning", "driver", `${name} lacks the network driver ${driver}`);
    }
  }
}

/** Of two networks as CIDR, IPv4 or IPv6. */
export function overlap(a: string, b: string): boolean {
  const [first, second] = [parseCidr(a), parseCidr(b)];
  if (first === null || second === null) return false;
  if (first.family !== second.family) return false;
  const { family } = first;
  const contains = (outer: { address: string; bits: number }, address: string): boolean => {
    const list = new BlockList();
    list.addSubnet(outer.address, outer.bits, family);
    return list.check(address, family);
  };
  return contains(first, second.address) || contains(second, first.address);
}

function parseCidr(text: string): { address: string; bits: number; family: "ipv4" | "ipv6" } | null {
  const [address = "", bits = ""] = text.split("/");
  const version = isIP(address);
  if (version === 0 || !/^\d{1,3}$/.test(bits) || Number(bits) > (version === 4 ? 32 : 128)) return null;
  return { address, bits: Number(bits), family: version === 4 ? "ipv4" : "ipv6" };
}
