// What came of the probes of a swarm that is back. A finding is of one thing that was asked for: good once it was good,
// bad where it failed each time, early where it may be too soon to ask, unsure where nobody can tell. Pure.
import type { StepResult } from "../journal.ts";
import { stepIds } from "../plan-steps.ts";

export interface Probe {
  /** `overlay`: a network as tasks of one machine see it; `port`: a published one, on a machine; `swarm`: all of it. */
  kind: "overlay" | "port" | "swarm";
  /** Name of the network; service, port and protocol. */
  subject: string;
  /** "" for none. */
  machine: string;
  state: "answers" | "failed" | "skipped";
  /** What answers, what failed, or why nobody can tell. */
  detail: string;
}

export interface Finding extends Pick<Probe, "kind" | "subject" | "machine"> {
  /** Unique within its kind, subject and machine. */
  item: string;
  outcome: "good" | "bad" | "early" | "unsure";
  detail: string;
}

/** Why something was not asked. */
export interface Unasked {
  unasked: string;
  /** It may be possible in a moment. */
  passing: boolean;
}

export function unasked(why: string, passing = false): Unasked {
  return { unasked: why, passing };
}

export function verdictOf({ unasked: why, passing }: Unasked): [outcome: Finding["outcome"], detail: string] {
  return [passing ? "early" : "unsure", why];
}

/** How often something has to be bad, one time after the other, before it counts; until then it is early. */
const badTimes = 2;
/** Of one row. */
const mostDetails = 20;

/** What earlier rounds found. */
export class FormerFindings {
  readonly #good = new Map<string, Finding>();
  readonly #bad = new Map<string, number>();

  /** What need not be asked again. */
  isGood(finding: Omit<Finding, "outcome" | "detail">): boolean {
    return this.#good.has(keyOf(finding));
  }

  /** With what was good before, and with nothing bad that was so once only. */
  judge(round: readonly Finding[]): Finding[] {
    return round.map((finding) => {
      const key = keyOf(finding);
      if (finding.outcome === "good") this.#good.set(key, finding);
      const before = this.#good.get(key);
      if (before !== undefined) return before;
      const times = finding.outcome === "bad" ? (this.#bad.get(key) ?? 0) + 1 : 0;
      this.#bad.set(key, times);
      if (times === 0 || times >= badTimes) return finding;
      return { ...finding, outcome: "early", detail: `${finding.detail}, but it was asked once only` };
    });
  }
}

function keyOf({ kind, subject, machine, item }: Omit<Finding, "outcome" | "detail">): string {
  return JSON.stringify([kind, subject, machine, item]);
}

/** A row for each thing, machine and outcome; most to be looked at first. */
export function concludeProbes(findings: readonly Finding[]): Probe[] {
  const states = { bad: "failed", early: "skipped", unsure: "skipped", good: "answers" } as const;
  const rows = new Map<string, { of: Finding; details: string[] }>();
  for (const finding of findings) {
    const { kind, subject, machine, outcome, detail } = finding;
    const key = JSON.stringify([kind, subject, machine, states[outcome]]);
    const row = rows.get(key) ?? { of: finding, details: [] };
    rows.set(key, row);
    row.details.push(detail);
  }
  const order: Probe["state"][] = ["failed", "skipped", "answers"];
  return [...rows.values()]
    .map(({ of: { kind, subject, machine, outcome }, details }): Probe => {
      const distinct = [...new Set(details)];
      const more = distinct.length - mostDetails;
      const said = [...distinct.slice(0, mostDetails), ...(more > 0 ? [`and ${more} more`] : [])];
      return { kind, subject, machine, state: states[outcome], detail: said.join("; ") };
    })
    .sort((a, b) => order.indexOf(a.state) - order.indexOf(b.state));
}

/** Of the step that probed; none before it is done. */
export function probesOf(resultOf: (step: string) => StepResult | null): Probe[] {
  return (resultOf(stepIds.probe)?.["probes"] ?? []) as Probe[];
}
