// What the probes ask of machines, over SSH: facts of their kernels, whether a port of theirs answers, who listens inside a
// container, and how an overlay looks from there (agent/overlay-probe.ts). Nothing is changed and nothing stays behind.
import { isIPv4 } from "node:net";
import { z } from "zod";
import { SkepError } from "../../../shared/errors.ts";
import { connectInTime, isForbidden } from "../connect-in-time.ts";
import { stepIds } from "../plan-steps.ts";
import { kitOn, machineOf, plannedMachine, type RecoveryTools } from "../recovery-tools.ts";
import { overlayAnswerSchema, type OverlayAnswer, type OverlayProbe, type OverlayQuestion } from "./overlay-probes.ts";
import { unasked, type Unasked } from "./probes.ts";
import { localAddresses, openPorts, type MachineSight, type PortAnswer, type PortProbe } from "./port-probes.ts";

const bindingsSchema = z.looseObject({
  NetworkSettings: z.looseObject({
    Ports: z
      .record(z.string(), z.array(z.looseObject({ HostIp: z.string(), HostPort: z.string() })).nullable())
      .nullish(),
  }),
});

/** ip_vs is there once a kernel balances; esp_input is what takes encrypted packets in, built in or as a module. */
const sightScript =
  "test -e /proc/net/ip_vs && echo ipvs; grep -q ' esp_input' /proc/kallsyms && echo esp; cat /proc/net/fib_trie";
/** proc(5): of the network that the process is in; 0A is LISTEN. One round trip for all of a machine. */
const listenersScript = `for pid in "$@"; do
  test -r "/proc/$pid/net/tcp" || continue
  echo "pid $pid"
  grep -hs ' 0A ' "/proc/$pid/net/tcp" "/proc/$pid/net/tcp6"
done
true`;

/** Throws what SSH throws. */
export async function lookAtMachine(tools: RecoveryTools, name: string, signal: AbortSignal): Promise<MachineSight> {
  const { stdout } = await machineOf(tools, name).run(["/bin/sh", "-c", sightScript], { signal });
  return {
    advertise: plannedMachine(tools, name).advertise,
    hasIpvs: /^ipvs$/m.test(stdout),
    hasEsp: /^esp$/m.test(stdout),
    addresses: localAddresses(stdout),
  };
}

/** Ports on which the containers listen to which TCP ports lead, by task; a machine that can't be asked has none in it. */
export async function lookForListeners(
  tools: RecoveryTools,
  probes: readonly PortProbe[],
  signal: AbortSignal,
): Promise<Map<string, Set<number>>> {
  const found = new Map<string, Set<number>>();
  const backends = probes.filter(({ protocol }) => protocol === "tcp").flatMap((probe) => probe.backends);
  const byId = new Map(backends.filter(({ pid }) => pid > 0).map((task) => [task.id, task]));
  const look = async (name: string): Promise<void> => {
    const tasks = [...byId.values()].filter(({ machine }) => machine === name);
    if (tasks.length === 0) return;
    const argv = ["/bin/sh", "-c", listenersScript, "listeners", ...tasks.map(({ pid }) => String(pid))];
    const { stdout } = await machineOf(tools, name).run(argv, { signal });
    const texts = new Map(
      stdout.split(/^pid /m).flatMap((part) => {
        const [, pid, text] = /^(\d+)\n([^]*)$/.exec(part) ?? [];
        return pid === undefined || text === undefined ? [] : [[Number(pid), text] as const];
      }),
    );
    for (const { id, pid } of tasks) {
      const text = texts.get(pid);
      if (text !== undefined) found.set(id, openPorts(text));
    }
  };
  const names = tools.plan.machines.map(({ name }) => name);
  await Promise.all(
    names.map(async (name) => {
      try {
        await look(name);
      } catch (error) {
        signal.throwIfAborted();
        if (!(error instanceof SkepError)) throw error;
      }
    }),
  );
  return found;
}

/** On the machine itself: what stands between it and others is not asked. Throws what SSH and engine throw where it can't be asked. */
export async function askPort(tools: RecoveryTools, probe: PortProbe, signal: AbortSignal): Promise<PortAnswer> {
  const { machine, published } = probe;
  const address = (await boundAddress(tools, probe, signal)) ?? plannedMachine(tools, machine).advertise;
  try {
    (await connectInTime(machineOf(tools, machine).openTcp(address, published, signal))).destroy();
    return { address, connected: true };
  } catch (error) {
    if (!(error instanceof SkepError) || error.code !== "SKEP_SSH_FORWARD" || isForbidden(error)) throw error;
    return { address, connected: false, isRefused: /connection refused/i.test(error.message), why: error.message };
  }
}

/** An engine may publish on one address alone (`ip` of its settings). Null: on all, as ingress is. */
async function boundAddress(
  tools: RecoveryTools,
  { mode, machine, published, target, protocol, backends }: PortProbe,
  signal: AbortSignal,
): Promise<string | null> {
  const [task] = backends;
  if (mode === "ingress" || task === undefined || task.container === "") return null;
  const { NetworkSettings } = await machineOf(tools, machine).engine(
    bindingsSchema,
    { path: `/containers/${task.container}/json` },
    signal,
  );
  const bound = (NetworkSettings.Ports?.[`${target}/${protocol}`] ?? []).filter(
    ({ HostPort }) => HostPort === String(published),
  );
  const addresses = bound.map(({ HostIp }) => HostIp).filter(isIPv4);
  return addresses.includes("0.0.0.0") ? null : (addresses[0] ?? null);
}

/** Throws what SSH throws. */
export async function askOverlay(
  tools: RecoveryTools,
  { machine, asker }: OverlayProbe,
  question: OverlayQuestion,
  signal: AbortSignal,
): Promise<OverlayAnswer | Unasked> {
  if (!tools.plan.steps.some(({ id }) => id === stepIds.kit(machine)))
    return unasked("nothing of Skep was brought there to ask by");
  if (question.names.length + question.addresses.length === 0) return { isThere: true, names: {}, addresses: {} };
  const { code, stdout, stderr } = await kitOn(tools, machine).inNetworkOf(
    asker.pid,
    "agent/overlay-probe.ts",
    question,
    signal,
  );
  const answer = code === 0 ? overlayAnswerSchema.safeParse(parseJson(stdout)) : null;
  if (answer?.success === true) return answer.data;
  // The shell's code for a program that is not there.
  if (code === 127) return unasked("nsenter (util-linux), or Skep's kit, is not there to ask by");
  return unasked(`could not be asked from the network of ${asker.service}: ${stderr.trim().slice(-500)}`, true);
}

/** Null for what is none. */
function parseJson(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return null;
  }
}
