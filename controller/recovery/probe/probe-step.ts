// Probes the swarm that is back, as the last look at it. Services that have just started get a while, and each round asks
// the swarm anew what runs where. What fails to the end is told in the report, and stops nothing; no more does a machine
// that can't be asked.
import { setTimeout as sleep } from "node:timers/promises";
import { SkepError } from "../../../shared/errors.ts";
import { isForbidden } from "../connect-in-time.ts";
import type { StepResult } from "../journal.ts";
import type { RecoveryTools } from "../recovery-tools.ts";
import type { StepContext } from "../steps.ts";
import { askOverlay, askPort, lookAtMachine, lookForListeners } from "./ask-machines.ts";
import {
  judgeOverlay,
  planOverlayProbes,
  questionOf,
  type OverlayAnswer,
  type OverlayProbe,
} from "./overlay-probes.ts";
import {
  findingOf,
  judgePort,
  planPortProbes,
  whyUnasked,
  type MachineSight,
  type PortAnswer,
  type PortProbe,
} from "./port-probes.ts";
import { concludeProbes, FormerFindings, unasked, type Finding, type Unasked } from "./probes.ts";
import { lookAtTasks, settledServices } from "./running-tasks.ts";

/** How long something that fails is asked again, and something that may be too early. */
const failingMs = 60_000;
const earlyMs = 20_000;
const pauseMs = 2_000;
/** What could not be asked by then in one round is left out of it. */
const roundMs = 60_000;
/** Of one machine: each may be a session of its SSH connection, and sshd opens ten by default. */
const askedAtOnce = 4;

/** What is known from the rounds before. */
interface Memory {
  former: FormerFindings;
  machines: Map<string, MachineSight | Unasked>;
}

/** `mostMs`: how long services may take, if that is less. */
export async function probeSwarm(tools: RecoveryTools, mostMs: number, context: StepContext): Promise<StepResult> {
  const { onProgress, signal } = context;
  const memory: Memory = { former: new FormerFindings(), machines: new Map() };
  let findings: Finding[] = [];
  const startedAt = tools.now();
  for (let rounds = 1; ; rounds++) {
    try {
      findings = memory.former.judge(await probeOnce(tools, memory, context));
    } catch (error) {
      signal.throwIfAborted();
      const detail = `could not be looked at: ${messageOf(error)}`;
      const unseen = { kind: "swarm", subject: "", machine: "", item: "", outcome: "early", detail } as const;
      findings = [...findings.filter(({ kind }) => kind !== "swarm"), unseen];
    }
    const waitedMs = tools.now() - startedAt;
    const failing = findings.filter(({ outcome }) => outcome === "bad");
    const early = findings.filter(({ outcome }) => outcome === "early");
    const open = [...failing, ...early];
    const patienceMs = Math.min(failing.length > 0 ? failingMs : earlyMs, mostMs);
    if (open.length === 0 || (rounds > 1 && waitedMs > patienceMs)) return { probes: concludeProbes(findings) };
    onProgress(`not all answers yet: ${open[0]?.subject ?? ""} on ${open[0]?.machine ?? ""}`, null);
    await sleep(pauseMs, undefined, { signal });
  }
}

async function probeOnce(tools: RecoveryTools, { former, machines }: Memory, context: StepContext): Promise<Finding[]> {
  const { signal } = context;
  const inRound = AbortSignal.any([signal, AbortSignal.timeout(roundMs)]);
  const names = tools.plan.machines.map(({ name }) => name);
  const sightOf = (name: string): MachineSight | Unasked => machines.get(name) ?? unasked("it was not looked at");
  await Promise.all(
    names.map(async (name) => {
      if (!("unasked" in sightOf(name))) return;
      machines.set(name, await orWhy(signal, () => lookAtMachine(tools, name, signal)));
    }),
  );

  const before = await lookAtTasks(tools, context);
  const ports = planPortProbes(before, names);
  const overlays = planOverlayProbes(before.tasks);
  const listeners = await lookForListeners(tools, ports.probes, signal);
  const ofPorts: { probe: PortProbe; answer: PortAnswer | Unasked }[] = [];
  const ofOverlays: { probe: OverlayProbe; answer: OverlayAnswer | Unasked }[] = [];
  const askThisPort = async (probe: PortProbe): Promise<void> => {
    const why = whyUnasked(probe, sightOf(probe.machine));
    const wasGood = former.isGood(findingOf(probe, "good", ""));
    const ask = (): ReturnType<typeof askPort> => askPort(tools, probe, inRound);
    ofPorts.push({
      probe,
      answer: why ?? (wasGood ? unasked("it answered before") : await orWhy(signal, ask, inRound)),
    });
  };
  const askThisOverlay = async (probe: OverlayProbe): Promise<void> => {
    const question = questionOf(probe, (of) => former.isGood(of));
    const ask = (): ReturnType<typeof askOverlay> => askOverlay(tools, probe, question, inRound);
    ofOverlays.push({ probe, answer: await orWhy(signal, ask, inRound) });
  };
  await Promise.all(
    names.map(async (name) => {
      await inTurns([
        ...ports.probes.filter(({ machine }) => machine === name).map((probe) => () => askThisPort(probe)),
        ...overlays.filter(({ machine }) => machine === name).map((probe) => () => askThisOverlay(probe)),
      ]);
    }),
  );
  const after = await lookAtTasks(tools, context);

  const settled = settledServices(before, after);
  const stayed = new Set(after.tasks.map(({ id }) => id));
  const hasEsp = (name: string | null): boolean | null => {
    const sight = name === null ? unasked("no machine") : sightOf(name);
    return "unasked" in sight ? null : sight.hasEsp;
  };
  return [
    ...ports.leftOut,
    ...ofPorts.map(({ probe, answer }) => {
      const listening = probe.backends.flatMap(({ id }) => listeners.get(id)?.has(probe.target) ?? []);
      return judgePort(probe, answer, { machine: sightOf(probe.machine), listening, settled, stayed });
    }),
    ...ofOverlays.flatMap(({ probe, answer }) => judgeOverlay(probe, answer, { settled, stayed, hasEsp })),
  ];
}

/** What it comes to, or why it can't be asked. `inRound`: until when there is time. */
async function orWhy<T>(signal: AbortSignal, ask: () => Promise<T>, inRound = signal): Promise<T | Unasked> {
  try {
    inRound.throwIfAborted();
    return await ask();
  } catch (error) {
    signal.throwIfAborted();
    if (inRound.aborted) return unasked("there was no time left to ask");
    return unasked(`could not be asked: ${messageOf(error)}`, !isForbidden(error));
  }
}

/** Only what Skep knows to fail: anything else is a fault of its own, and is thrown. */
function messageOf(error: unknown): string {
  if (error instanceof SkepError) return error.message;
  throw error;
}

async function inTurns(asking: readonly (() => Promise<void>)[]): Promise<void> {
  const left = asking[Symbol.iterator]();
  const work = async (): Promise<void> => {
    for (const ask of left) await ask();
  };
  await Promise.all(Array.from({ length: askedAtOnce }, work));
}
