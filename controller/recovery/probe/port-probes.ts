// Of each published TCP port: does it answer on the machines that shall have it, asked on those machines themselves? Where
// nobody listens inside the container, or the kernel has not what ingress needs, nobody can tell. Pure.
import { isIPv6 } from "node:net";
import { unasked, verdictOf, type Finding, type Unasked } from "./probes.ts";
import type { PublishedPort, RunningTask, SwarmSight } from "./running-tasks.ts";

export interface PortProbe extends PublishedPort {
  service: string;
  machine: string;
  mode: "ingress" | "host";
  /** To which the port may lead. */
  backends: RunningTask[];
}

/** What is known of a machine before it is asked. */
export interface MachineSight {
  /** By which other machines reach it. */
  advertise: string;
  hasIpvs: boolean;
  hasEsp: boolean;
  /** IPv4 addresses of its own. */
  addresses: ReadonlySet<string>;
}

/** `address`: where it was asked. */
export type PortAnswer = { address: string } & (
  { connected: true } | { connected: false; isRefused: boolean; why: string }
);

export function planPortProbes(
  { tasks, ingress, hostMode }: SwarmSight,
  machines: readonly string[],
): { probes: PortProbe[]; leftOut: Finding[] } {
  const probes: PortProbe[] = [];
  const leftOut: Finding[] = [];
  for (const { service, ...port } of ingress) {
    const backends = tasks.filter((task) => task.service === service);
    if (backends.length === 0) leftOut.push(unaskedPort(service, port, "", noTask));
    else probes.push(...machines.map((machine) => ({ ...port, service, machine, mode: "ingress" as const, backends })));
  }
  for (const task of tasks) {
    const { service, machine } = task;
    for (const port of task.hostPorts) {
      if (machine !== null) probes.push({ ...port, service, machine, mode: "host", backends: [task] });
      else leftOut.push(unaskedPort(service, port, "", "its task runs on a node that is no machine of the inventory"));
    }
  }
  for (const service of hostMode) {
    if (tasks.some((task) => task.service === service)) continue;
    leftOut.push({ kind: "port", subject: service, machine: "", item: "", outcome: "unsure", detail: noTask });
  }
  return { probes, leftOut };
}

const noTask = "no task of it runs, so its ports have nothing to lead to";

export function findingOf(
  { service, machine, ...port }: Pick<PortProbe, keyof PublishedPort | "service" | "machine">,
  outcome: Finding["outcome"],
  detail: string,
): Finding {
  const subject = `${service} ${port.published}/${port.protocol}`;
  return { kind: "port", subject, machine, item: "", outcome, detail };
}

function unaskedPort(service: string, port: PublishedPort, machine: string, detail: string): Finding {
  return findingOf({ ...port, service, machine }, "unsure", detail);
}

/** Why it is not to be asked; null where it is. */
export function whyUnasked({ protocol, mode, target }: PortProbe, machine: MachineSight | Unasked): Unasked | null {
  if (protocol !== "tcp") return unasked(`${protocol} gives no sign of an answer`);
  if ("unasked" in machine) return machine;
  if (mode === "ingress" && !machine.hasIpvs)
    return unasked("the machine's kernel has no IPVS, by which ingress works");
  if (isIPv6(machine.advertise)) return unasked(`${machine.advertise} is IPv6: ports are asked for over IPv4 alone`);
  return target === 0 ? unasked("the engine does not say on which port its container listens") : null;
}

/** `listening`: of each backend's container that could be looked into, whether it listens on the port's target. */
export function judgePort(
  probe: PortProbe,
  answer: PortAnswer | Unasked,
  seen: {
    machine: MachineSight | Unasked;
    listening: readonly boolean[];
    settled: ReadonlySet<string>;
    stayed: ReadonlySet<string>;
  },
): Finding {
  const { machine, listening, settled, stayed } = seen;
  const { service, mode, target, backends } = probe;
  const said = (outcome: Finding["outcome"], detail: string): Finding => findingOf(probe, outcome, detail);
  if ("unasked" in answer) return said(...verdictOf(answer));
  if ("unasked" in machine) return said(...verdictOf(machine));
  const isSettled = mode === "host" ? backends.every(({ id }) => stayed.has(id)) : settled.has(service);
  if (!isSettled) return said("early", `tasks of ${service} come and go`);
  // Also where it connected: an engine holds its ports open, whoever is behind them.
  if (!listening.includes(true)) {
    return listening.length === 0
      ? said("unsure", "nobody could look whether its container listens")
      : said("early", `nothing listens on ${target}/tcp in its container, or not yet: connect to it once that does`);
  }
  const at = `${answer.address}:${probe.published}`;
  if (answer.connected) return said("good", `${at}, asked on the machine itself`);
  const isOwn = machine.addresses.has(answer.address);
  if (!answer.isRefused && !isOwn) return said("unsure", `${answer.address} is no address of the machine itself`);
  if (backends.some(({ guarded }) => guarded)) {
    return said("unsure", `${service} may have a firewall of its own (NET_ADMIN): its silence says nothing`);
  }
  return said("bad", `${at}: ${answer.why}, though its container listens on ${target}/tcp`);
}

/** proc(5), /proc/PID/net/tcp and tcp6: ports on which somebody listens but on the loopback. Addresses are little-endian words. */
export function openPorts(text: string): Set<number> {
  const ports = new Set<number>();
  for (const line of text.split("\n")) {
    const [, address = "", port] = /^\s*\d+: ([0-9A-F]+):([0-9A-F]{4}) [0-9A-F]+:[0-9A-F]{4} 0A /.exec(line) ?? [];
    if (port === undefined || isLoopback(address)) continue;
    ports.add(Number.parseInt(port, 16));
  }
  return ports;
}

/** 127.0.0.0/8, ::1, ::ffff:127.0.0.0/104. */
function isLoopback(address: string): boolean {
  if (address.length === 8) return address.endsWith("7F");
  return address === "00000000000000000000000001000000" || /^0{16}FFFF0000[0-9A-F]{6}7F$/.test(address);
}

/** proc(5), /proc/net/fib_trie: an address stands on the line before that of its host's LOCAL. */
export function localAddresses(fibTrie: string): Set<string> {
  const found = new Set<string>();
  let last = "";
  for (const line of fibTrie.split("\n")) {
    const [, address] = /\|-- ([\d.]+)/.exec(line) ?? [];
    if (address !== undefined) last = address;
    else if (line.includes("/32 host LOCAL")) found.add(last);
  }
  return found;
}
