// Who has a say in how a volume is taken: the containers that use it, their services, those whose definition mounts it
// though none of their containers runs (no replicas, restarting, held), the volume itself, and the policy. And what they
// say together. A volume that several nodes share is one thing: all of its nodes are heard. Who uses only a folder in it
// has a say in its quiet, and none in what is taken: the rest is not theirs.
import type { TaskResultOf } from "../shared/contract/task-result.ts";
import type { RunNode } from "../shared/repository/run.ts";
import { globFits } from "./name-glob.ts";
import { wordsOfLabels, type LabelFault, type VolumeRule, type VolumeWord, type VolumeWords } from "./volume-words.ts";

export type Service = TaskResultOf<"definitions">["services"][number];
export type FoundVolume = TaskResultOf<"node">["volumes"][number];

export interface WordSources {
  rules: readonly VolumeRule[];
  /** Null where the swarm has some, and they could not be read. */
  services: readonly Service[] | null;
  /** Of the swarm, which a host of its own has none of; null where it has some, and they could not be read. */
  nodes: readonly RunNode[] | null;
}
export const noWords: WordSources = { rules: [], services: [], nodes: [] };

/** `definitions`: null where they could not be read. */
export function wordSources(
  rules: readonly VolumeRule[],
  definitions: Pick<TaskResultOf<"definitions">, "services" | "nodes"> | null,
): WordSources {
  return { rules, services: definitions?.services ?? null, nodes: definitions?.nodes ?? null };
}

/** A volume as one node sees it. */
export interface VolumeView {
  nodeId: string;
  hostname: string;
  found: FoundVolume;
}

/** A container that runs on the volume. */
export interface VolumeUser {
  nodeId: string;
  container: string;
  serviceId: string | null;
  /** `part`: of a folder in it alone. */
  uses: "all" | "part";
}

/** Whose label a command is: it runs there, unless it names a container. */
export interface Speaker {
  /** Of a container or a service. */
  name: string;
  /** Where it uses the volume now. */
  nodeIds: string[];
}
export type Speakers = Partial<Record<"hook" | "dump" | "load", Speaker>>;

export interface Said {
  words: VolumeWords;
  /** Of those commands that neither the volume nor the policy says. */
  speakers: Speakers;
  /** What was not understood, or contradicts itself, and is settled by nobody who counts more. */
  faults: string[];
  users: VolumeUser[];
  /** Services that should run on it and do not at present. */
  missing: { serviceId: string; name: string }[];
}

/** Who uses what on all nodes. */
export interface Seen {
  /** How many containers of a service run on any volume, by service id. */
  services: ReadonlyMap<string, number>;
  /** Containers that use all of some volume, which is the one that their labels are about: as userKey names them. */
  owners: ReadonlySet<string>;
}

/** `nodes`: by id. */
export function seenOn(nodes: Iterable<readonly [string, { volumes: readonly FoundVolume[] }]>): Seen {
  const services = new Map<string, number>();
  const owners = new Set<string>();
  for (const [nodeId, { volumes }] of nodes) {
    const users = volumes.flatMap((volume) => volume.users);
    for (const { uses, container } of users) if (uses === "all") owners.add(userKey(nodeId, container));
    const here = new Map(users.filter(runs).map((user) => [user.container, user]));
    for (const { serviceId } of here.values()) {
      if (serviceId !== null) services.set(serviceId, (services.get(serviceId) ?? 0) + 1);
    }
  }
  return { services, owners };
}

function userKey(nodeId: string, container: string): string {
  return `${nodeId}/${container}`;
}

/** One of a volume's users with its labels, those that count less first. */
interface Voice {
  speaker: Speaker;
  labels: { place: string; labels: Readonly<Record<string, string>>; counts: (word: VolumeWord) => boolean }[];
  /** Who uses only a folder in the volume, and all of none: what it says of a content is said to nobody. */
  ofPart: string | null;
}

/**
 * `views`: of one volume; more than one where nodes share it. The nearer to the data, the more a label counts:
 * container, service, volume; the policy's rules, in order, most.
 */
export function listen(views: readonly VolumeView[], sources: WordSources, seen: Seen): Said {
  const users = views.flatMap(({ nodeId, found }) =>
    found.users.filter(runs).map(({ container, serviceId, uses }) => ({ nodeId, container, serviceId, uses })),
  );
  const { rules, services: known } = sources;
  const services = known ?? [];
  const absent = services.flatMap((service) => {
    if (users.some(({ serviceId }) => serviceId === service.id)) return [];
    const how = views.map((view) => absenceOf(service, view, seen)).filter((each) => each !== null);
    const [most] = how.sort((a, b) => absences.indexOf(a) - absences.indexOf(b));
    return most === undefined ? [] : [{ service, how: most }];
  });
  const voices: Voice[] = [
    ...views.flatMap((view) => containerVoices(view, { services, seen, users })),
    ...absent.map(({ service, how }) => absentVoice(service, how)),
  ];
  const name = views[0]?.found.facts.name ?? "";
  const said = voices.map(wordsOfVoice);
  const own = views.map(({ hostname, found: { facts } }) =>
    wordsOfLabels(facts.labels, `volume ${hostname}/${facts.name}`),
  );
  let settled: VolumeWords = {};
  for (const { match, ...rule } of rules)
    if (views.some((view) => fits(match, view))) settled = { ...settled, ...rule };
  const volumes: VolumeWords = Object.assign({}, ...own.map(({ words }) => words)) as VolumeWords;
  const clashes = [
    ...[...clashesOf(said, `those that use ${name} say`), ...unheeded(voices, name)].filter(
      ({ word }) => volumes[word] === undefined,
    ),
    ...clashesOf(own, `the volumes of ${name} on its nodes say`),
  ].filter(({ word }) => settled[word] === undefined);
  const faults: LabelFault[] = [...said, ...own].flatMap((each) => each.faults);
  const unheard = known === null ? users.filter(({ serviceId }) => serviceId !== null) : [];
  for (const { container } of unheard) {
    const message = `the labels of the service of ${container} are not known, as the swarm's definitions could not be read`;
    faults.push({ word: null, message });
  }
  const open = faults.filter(({ word }) => word === null || settled[word] === undefined);
  const words: VolumeWords = Object.assign({}, ...said.map((each) => each.words), volumes, settled) as VolumeWords;
  const speakers: Speakers = {};
  for (const word of ["hook", "dump", "load"] as const) {
    const last = said.findLastIndex((each) => each.words[word] !== undefined);
    const speaker = voices[last]?.speaker;
    if (speaker !== undefined && volumes[word] === undefined && settled[word] === undefined) speakers[word] = speaker;
  }
  // Where they disagree on it, it is taken.
  if (clashes.some(({ word }) => word === "enable")) delete words.enable;
  return {
    words,
    speakers,
    faults: [...new Set([...open, ...clashes].map(({ message }) => message))],
    users,
    missing: absent
      .filter(({ how }) => how === "missing")
      .map(({ service }) => ({ serviceId: service.id, name: service.name })),
  };
}

function runs(user: FoundVolume["users"][number]): boolean {
  return user.runs;
}

function fits(match: string, { hostname, found: { facts } }: VolumeView): boolean {
  return globFits(match, match.includes("/") ? `${hostname}/${facts.name}` : facts.name);
}

/**
 * Of a service none of whose containers runs on the volume. `missing`: one should. `retired`: it is to have none.
 * `elsewhere`: as many as it is to have run on other volumes of its name, and a former one left this one.
 */
type Absence = "missing" | "retired" | "elsewhere";
const absences: readonly Absence[] = ["missing", "retired", "elsewhere"];

/** Null for a service that has no say here. */
function absenceOf(service: Service, { nodeId, hostname, found }: VolumeView, seen: Seen): Absence | null {
  const { id, name, mode, replicas, volumes, labels, containerLabels, mayRunOn } = service;
  if (Object.keys(labels).length + Object.keys(containerLabels).length === 0) return null;
  const node = { nodeId, hostname };
  if (!volumes.some((source) => mounts(source, found.facts.name, { id, name }, node))) return null;
  if (mayRunOn !== null && !mayRunOn.includes(nodeId)) return null;
  if (mode === "replicated-job" || mode === "global-job" || replicas === 0) return "retired";
  if (mode === "global") return "missing";
  return (seen.services.get(id) ?? 0) >= (replicas ?? 1) ? "elsewhere" : "missing";
}

/** `source`: as a service names the volume, with Docker's templates in it. One that Skep does not know fits none. */
function mounts(
  source: string,
  volume: string,
  service: { id: string; name: string },
  node: { nodeId: string; hostname: string },
): boolean {
  if (!source.includes("{{")) return source === volume;
  const known: Record<string, string> = {
    ".Service.ID": service.id,
    ".Service.Name": service.name,
    ".Node.ID": node.nodeId,
    ".Node.Hostname": node.hostname,
    ".Task.ID": "*",
    ".Task.Slot": "*",
    ".Task.Name": `${service.name}.*`,
  };
  return globFits(
    source.replace(/\{\{\s*([^{}]*?)\s*\}\}/g, (template, field: string) => known[field] ?? template),
    volume,
  );
}

const all = (): boolean => true;

/** `users`: on all nodes. */
function containerVoices(
  { nodeId, found }: VolumeView,
  { services, seen, users }: { services: readonly Service[]; seen: Seen; users: readonly VolumeUser[] },
): Voice[] {
  return found.users.flatMap((user): Voice[] => {
    const { container, serviceId, labels, uses } = user;
    // One that is kept beside its successor has no say.
    const isLed = found.users.some((other) => other.runs && other.serviceId === null && other.uses === uses);
    if (!user.runs && isLed) return [];
    const counts = (word: VolumeWord): boolean => (user.runs || isForRest(word)) && (uses === "all" || isOfQuiet(word));
    const ofPart = uses === "part" && !seen.owners.has(userKey(nodeId, container)) ? container : null;
    const own = { place: `container ${container}`, labels, counts };
    const service = user.runs ? services.find(({ id }) => id === serviceId) : undefined;
    if (service === undefined) {
      return [{ speaker: { name: container, nodeIds: user.runs ? [nodeId] : [] }, labels: [own], ofPart }];
    }
    const nodeIds = new Set(users.filter((each) => each.serviceId === serviceId).map((each) => each.nodeId));
    const speaker = { name: service.name, nodeIds: [...nodeIds] };
    return [{ speaker, labels: [own, { place: `service ${service.name}`, labels: service.labels, counts }], ofPart }];
  });
}

function absentVoice({ name, labels, containerLabels }: Service, how: Absence): Voice {
  const counts = { missing: all, retired: isForRest, elsewhere: isOfData }[how];
  return {
    speaker: { name, nodeIds: [] },
    labels: [
      { place: `containers of service ${name}`, labels: containerLabels, counts },
      { place: `service ${name}`, labels, counts },
    ],
    ofPart: null,
  };
}

/** Of a program that is not meant to run: there is nothing to prepare. */
function isForRest(word: VolumeWord): boolean {
  return word !== "hook";
}

function isOfData(word: VolumeWord): boolean {
  return word === "enable" || word === "exclude";
}

/** Of standing still, and not of what is taken. */
function isOfQuiet(word: VolumeWord): boolean {
  return word === "quiesce" || word === "group" || word === "hook";
}

interface Words {
  words: VolumeWords;
  faults: LabelFault[];
}

function wordsOfVoice(voice: Voice): Words {
  const words: VolumeWords = {};
  const faults: LabelFault[] = [];
  for (const { place, labels, counts } of voice.labels) {
    const read = wordsOfLabels(labels, place);
    const counting = Object.entries(read.words).filter(([word]) => counts(word as VolumeWord));
    Object.assign(words, Object.fromEntries(counting));
    faults.push(...read.faults.filter(({ word }) => word === null || counts(word)));
  }
  return { words, faults };
}

/** What is said of a content by those that have none of their own. */
function unheeded(voices: readonly Voice[], volume: string): (LabelFault & { word: VolumeWord })[] {
  return voices.flatMap(({ ofPart, labels }) =>
    (ofPart === null ? [] : labels).flatMap(({ place, labels: own }) =>
      (Object.keys(wordsOfLabels(own, place).words) as VolumeWord[])
        .filter((word) => !isOfQuiet(word))
        .map((word) => ({
          word,
          message: `skep.${word} of ${place} does not count for volume ${volume}, of which it uses only a folder`,
        })),
    ),
  );
}

function clashesOf(said: readonly Words[], whoSays: string): (LabelFault & { word: VolumeWord })[] {
  const words = [...new Set(said.flatMap((each) => Object.keys(each.words)))] as VolumeWord[];
  return words.flatMap((word) => {
    const values = new Set(
      said.flatMap((each) => (each.words[word] === undefined ? [] : JSON.stringify(each.words[word]))),
    );
    if (values.size < 2) return [];
    const isShort = word === "enable" || word === "quiesce" || word === "group";
    const what = isShort
      ? `skep.${word}=${[...values].map((value) => value.replaceAll('"', "")).join(" and ")}`
      : `different skep.${word}`;
    return [{ word, message: `${whoSays} ${what}` }];
  });
}
