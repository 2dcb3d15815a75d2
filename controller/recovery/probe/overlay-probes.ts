// Of each overlay, from the network of one task on each machine: do the names of its services lead to their tasks, and does
// each task's address answer? What was asked, and what the answers mean. Pure.
import { z } from "zod";
import { verdictOf, type Finding, type Unasked } from "./probes.ts";
import type { RunningTask, TaskAddress } from "./running-tasks.ts";

export interface OverlayProbe {
  network: string;
  machine: string;
  /** In whose network it is asked, and its address there. */
  asker: RunningTask;
  own: string;
  names: AskedName[];
  addresses: AskedAddress[];
  /** Of a large network there is no room for all. */
  leftOut: number;
}

export interface AskedName {
  /** `tasks.SERVICE`. */
  name: string;
  service: string;
  /** Right answers: a container asks all its networks, and gets the addresses of one that both are in. */
  right: string[][];
}

export interface AskedAddress {
  address: string;
  task: RunningTask;
  encrypted: boolean;
}

/** What agent/overlay-probe.ts is asked. */
export interface OverlayQuestion {
  server: string;
  own: string;
  names: string[];
  addresses: string[];
}

/** What it says; `isThere` false: it was not in that network. Null: it answers. */
export const overlayAnswerSchema = z.strictObject({
  isThere: z.boolean(),
  names: z.record(
    z.string(),
    z.union([z.strictObject({ addresses: z.array(z.string()) }), z.strictObject({ error: z.string() })]),
  ),
  addresses: z.record(z.string(), z.string().nullable()),
});
export type OverlayAnswer = z.infer<typeof overlayAnswerSchema>;

/** Docker's resolver in a container's network. Source: moby libnetwork resolver.go. */
const overlayResolver = "127.0.0.11";
/** Of names, and of addresses; each is a socket. */
const mostAsked = 100;
/** Nothing came back; any other code is of the asker's own machine, and says nothing. */
const silentCodes: ReadonlySet<string> = new Set(["ETIMEDOUT", "EHOSTUNREACH", "ENETUNREACH"]);

export function planOverlayProbes(tasks: readonly RunningTask[]): OverlayProbe[] {
  const inNetworks = new Map<string, RunningTask[]>();
  for (const task of tasks) {
    for (const network of new Set(task.addresses.map((one) => one.network))) {
      inNetworks.set(network, [...(inNetworks.get(network) ?? []), task]);
    }
  }
  return [...inNetworks].flatMap(([network, members]) => {
    const isOverlay = members.some((task) => addressIn(task, network)?.driver === "overlay");
    return isOverlay ? askersIn(members).map((asker) => overlayProbe(network, asker, members, inNetworks)) : [];
  });
}

/** One on each machine, best one without a firewall of its own. */
function askersIn(members: readonly RunningTask[]): RunningTask[] {
  const askers = new Map<string, RunningTask>();
  for (const task of members) {
    if (task.machine === null || task.pid === 0) continue;
    const other = askers.get(task.machine);
    if (other === undefined || (other.guarded && !task.guarded)) askers.set(task.machine, task);
  }
  return [...askers.values()];
}

function overlayProbe(
  network: string,
  asker: RunningTask,
  members: readonly RunningTask[],
  inNetworks: ReadonlyMap<string, readonly RunningTask[]>,
): OverlayProbe {
  const networks = [...new Set(asker.addresses.map((one) => one.network))];
  const names = [...new Set(members.map(({ service }) => service))].map((service): AskedName => ({
    ...{ name: `tasks.${service}`, service },
    right: networks
      .map((one) => addressesOf(service, one, inNetworks.get(one) ?? []))
      .filter((addresses) => addresses.length > 0),
  }));
  const addresses = members.flatMap((task) => {
    const found = addressIn(task, network);
    return found === null ? [] : [{ address: found.address, task, encrypted: found.encrypted }];
  });
  // What lies on other machines is what an overlay is for.
  addresses.sort((a, b) => Number(a.task.machine === asker.machine) - Number(b.task.machine === asker.machine));
  return {
    ...{ network, machine: asker.machine ?? "", asker, own: addressIn(asker, network)?.address ?? "" },
    names: names.slice(0, mostAsked),
    addresses: addresses.slice(0, mostAsked),
    leftOut: Math.max(0, names.length - mostAsked) + Math.max(0, addresses.length - mostAsked),
  };
}

function addressIn({ addresses }: RunningTask, network: string): TaskAddress | null {
  return addresses.find((one) => one.network === network) ?? null;
}

function addressesOf(service: string, network: string, members: readonly RunningTask[]): string[] {
  return members
    .filter((task) => task.service === service)
    .flatMap((task) => task.addresses.filter((one) => one.network === network).map(({ address }) => address))
    .sort();
}

/** What of it is still to be asked. */
export function questionOf(
  { network, machine, own, names, addresses }: OverlayProbe,
  isGood: (of: Pick<Finding, "kind" | "subject" | "machine" | "item">) => boolean,
): OverlayQuestion {
  const isOpen = (item: string): boolean => !isGood({ kind: "overlay", subject: network, machine, item });
  return {
    ...{ server: overlayResolver, own },
    names: names.map(({ name }) => name).filter(isOpen),
    addresses: addresses.map(({ address }) => address).filter(isOpen),
  };
}

export interface OverlayCircumstances {
  settled: ReadonlySet<string>;
  /** Ids of tasks that ran before and after. */
  stayed: ReadonlySet<string>;
  /** Whether the kernels of both ends have what encrypted overlays need; null: nobody knows. */
  hasEsp: (machine: string | null) => boolean | null;
}

export function judgeOverlay(
  probe: OverlayProbe,
  answer: OverlayAnswer | Unasked,
  circumstances: OverlayCircumstances,
): Finding[] {
  const { network, machine, asker, names, addresses, leftOut } = probe;
  const at = { kind: "overlay", subject: network, machine } as const;
  const unasked = whyUnasked(probe, answer, circumstances);
  const finding = (item: string, [outcome, detail]: Verdict): Finding => ({ ...at, item, outcome, detail });
  const findings = [
    ...names.map((asked) =>
      finding(asked.name, unasked ?? judgeName(asked, asker, answer as OverlayAnswer, circumstances)),
    ),
    ...addresses.map((asked) =>
      finding(asked.address, unasked ?? judgeAddress(asked, asker, answer as OverlayAnswer, circumstances)),
    ),
  ];
  if (leftOut === 0) return findings;
  const more: Verdict = ["unsure", `${leftOut} more names and addresses: no more than ${mostAsked} of each are asked`];
  return [...findings, finding("more", more)];
}

type Verdict = [outcome: Finding["outcome"], detail: string];

function whyUnasked(
  { asker }: OverlayProbe,
  answer: OverlayAnswer | Unasked,
  { stayed }: OverlayCircumstances,
): Verdict | null {
  if ("unasked" in answer) return verdictOf(answer);
  if (stayed.has(asker.id) && answer.isThere) return null;
  return ["early", `the task of ${asker.service} from which it was asked came or went`];
}

function judgeName(
  { name, service, right }: AskedName,
  asker: RunningTask,
  answer: OverlayAnswer,
  { settled }: OverlayCircumstances,
): Verdict {
  const found = answer.names[name];
  if (found === undefined) return ["unsure", `${name} was not asked`];
  const addresses = "error" in found ? [] : found.addresses.toSorted();
  if (right.some((one) => one.join() === addresses.join())) return ["good", name];
  if (!settled.has(service)) return ["early", `tasks of ${service} come and go`];
  if (asker.guarded && "error" in found) return ["unsure", guardedText(asker)];
  const wanted = right[0]?.join(" ") ?? "none";
  return [
    "bad",
    "error" in found ? `${name}: ${found.error}` : `${name} leads to ${addresses.join(" ")}, its tasks have ${wanted}`,
  ];
}

function judgeAddress(
  { address, task, encrypted }: AskedAddress,
  asker: RunningTask,
  answer: OverlayAnswer,
  { stayed, hasEsp }: OverlayCircumstances,
): Verdict {
  const said = answer.addresses[address];
  const where = `${address} of ${task.service} on ${task.machine ?? "another node"}`;
  if (said === undefined) return ["unsure", `${where} was not asked`];
  if (said === null) return ["good", `${address} (${task.machine ?? "another node"})`];
  if (!stayed.has(task.id)) return ["early", `tasks of ${task.service} come and go`];
  if (!silentCodes.has(said)) return ["unsure", `${where} could not be asked: ${said}`];
  const guard = [task, asker].find(({ guarded }) => guarded);
  if (guard !== undefined) return ["unsure", guardedText(guard)];
  const isAcross = task.machine !== asker.machine;
  const blind = encrypted && isAcross ? [asker.machine, task.machine].find((one) => hasEsp(one) !== true) : undefined;
  if (blind !== undefined) {
    return [
      "unsure",
      `${where}: the kernel of ${blind ?? "that node"} has no ESP, by which encrypted overlays work, as far as can be seen`,
    ];
  }
  return [
    "bad",
    `${where}: ${said}${encrypted && isAcross ? " (encrypted: do the machines let each other's ESP through?)" : ""}`,
  ];
}

function guardedText({ service }: RunningTask): string {
  return `${service} may have a firewall of its own (NET_ADMIN): its silence says nothing`;
}
