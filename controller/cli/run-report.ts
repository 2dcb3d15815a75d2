// What a run covered and what not, as a person reads it: pure functions from run objects to text.
import { protectionOf, type Protection } from "../../shared/repository/protection.ts";
import type { NotCovered, Part, Run } from "../../shared/repository/run.ts";
import type { RunProgress, RunSummary } from "../api/schemas.ts";
import { describeProgress, type BoardLine } from "./board.ts";
import * as format from "./format.ts";
import type { Output } from "./output.ts";
import { facts, table } from "./table.ts";

type Styler = Pick<Output, "style">;
type Status = RunSummary["status"];

const statusStyles = { running: "cyan", done: "green", partial: "yellow", failed: "red" } as const;

export function styleStatus(output: Styler, status: Status): string {
  return output.style(statusStyles[status], status);
}

/** The line of `skep runs` that a run object makes. */
export function summaryOf(run: Run, protection: Protection | null = null): RunSummary {
  const count = (status: Part["status"]): number => run.parts.filter((part) => part.status === status).length;
  const sum = (field: "sourceBytes" | "storedBytes"): number =>
    run.parts.reduce((total, part) => total + (part.totals?.[field] ?? 0), 0);
  return {
    id: run.id,
    status: run.status,
    trigger: run.trigger,
    schedule: run.schedule,
    startedAt: run.startedAt,
    endedAt: run.endedAt,
    parts: { done: count("done"), partial: count("partial"), failed: count("failed") },
    notCovered: run.notCovered.length,
    warnings: run.warnings.length + run.parts.reduce((total, part) => total + warningsOf(part), 0),
    sourceBytes: sum("sourceBytes"),
    storedBytes: sum("storedBytes"),
    protection: protectionOf(protection, run.id),
  };
}

function warningsOf(part: Part): number {
  return part.warnings.length + part.warningsLeftOut;
}

/** `now` in ms since 1970. */
export function renderRuns(output: Output, runs: readonly RunSummary[], now: number): string {
  return table(
    output,
    [
      { head: "RUN", cell: ({ id }) => id },
      { head: "STATUS", cell: ({ status }) => styleStatus(output, status) },
      { head: "STARTED", cell: ({ startedAt }) => format.age(startedAt, now) },
      {
        head: "TOOK",
        align: "right",
        cell: ({ startedAt, endedAt }) => (endedAt === null ? "" : format.durationBetween(startedAt, endedAt)),
      },
      { head: "BY", cell: triggerOf },
      { head: "PARTS", cell: (run) => partCounts(output, run) },
      {
        head: "NOT COVERED",
        align: "right",
        cell: ({ notCovered }) => (notCovered === 0 ? "" : String(notCovered)),
      },
      { head: "SIZE", align: "right", cell: ({ sourceBytes }) => format.bytes(sourceBytes) },
      { head: "STORED", align: "right", cell: ({ storedBytes }) => format.bytes(storedBytes) },
      ...(runs.some(({ protection }) => protection !== null)
        ? [{ head: "PROTECTED", cell: (run: RunSummary) => protectedUntil(output, run, now) }]
        : []),
    ],
    runs,
  );
}

function protectedUntil(output: Styler, { protection }: RunSummary, now: number): string {
  if (protection === null) return "";
  const { until } = protection;
  return until !== null && Date.parse(until) > now ? `until ${until.slice(0, 10)}` : output.style("red", "no");
}

function triggerOf({ trigger, schedule }: Pick<RunSummary, "trigger" | "schedule">): string {
  return schedule === null ? trigger : `${trigger} ${format.visible(schedule)}`;
}

function partCounts(output: Styler, { parts }: RunSummary): string {
  return [
    `${parts.done} done`,
    ...(parts.partial > 0 ? [output.style("yellow", `${parts.partial} partial`)] : []),
    ...(parts.failed > 0 ? [output.style("red", `${parts.failed} failed`)] : []),
  ].join(", ");
}

/** The whole of `skep show` for a run that ended. */
export function renderRun(output: Output, run: Run, now: number): string {
  return [
    renderHead(output, run, now),
    ...section(output, "Parts", run.parts, (parts) => renderParts(output, parts)),
    ...section(output, "Not covered", run.notCovered, (left) => renderNotCovered(output, left)),
    ...section(output, "Stood still", quietOf(run), (lines) => lines.join("\n")),
    ...section(output, "Commands", commandsOf(run), (lines) => lines.join("\n")),
    ...section(output, "Faults", run.parts.filter(hasFault), (parts) =>
      parts.map((part) => renderFault(output, part)).join("\n"),
    ),
    ...section(output, "Warnings", warningLines(run), (lines) => lines.join("\n")),
  ].join("\n\n");
}

function section<T>(
  output: Styler,
  head: string,
  items: readonly T[],
  render: (items: readonly T[]) => string,
): string[] {
  return items.length === 0 ? [] : [`${output.style("bold", head)}\n${render(items)}`];
}

function renderHead(output: Output, run: Run, now: number): string {
  const policy = run.policyVersion === null ? "" : `, policy version ${run.policyVersion}`;
  return `${output.style("bold", `Run ${run.id}`)}  ${styleStatus(output, run.status)}\n${facts(output.style, [
    ["started", `${format.time(run.startedAt)}, ${format.age(run.startedAt, now)}`],
    ["took", format.durationBetween(run.startedAt, run.endedAt)],
    ["by", `${triggerOf(run)}${policy}`],
    [
      "cluster",
      run.clusterId === null
        ? "none: a host of its own"
        : `${run.clusterId}, ${format.plural(run.nodes.length, "node")}`,
    ],
    ["Raft", describeRaft(run)],
    ["written", `number ${run.sequence} of repository ${run.repositoryId}, by Skep ${run.skepVersion}`],
  ])}`;
}

function describeRaft(run: Run): string {
  const part = run.parts.find(({ kind }) => kind === "raft");
  if (part === undefined) return "not part of this run";
  if (part.raft === undefined) return part.status;
  const { raft } = part;
  const proof = raft.decrypted
    ? "every entry decrypted"
    : raft.walked
      ? "walked, not decrypted: content unproven"
      : "unproven";
  const until = raft.certificateExpiresAt === undefined ? "" : `, certificate until ${raft.certificateExpiresAt}`;
  return `to index ${raft.commitIndex} from ${part.hostname}, ${proof}${until}`;
}

function renderParts(output: Output, parts: readonly Part[]): string {
  const order: readonly Part["kind"][] = ["raft", "definitions", "node"];
  const rank = ({ kind }: Part): number => (order.includes(kind) ? order.indexOf(kind) : order.length);
  const size = (sizeBytes: number | undefined): string => (sizeBytes === undefined ? "" : format.bytes(sizeBytes));
  return table(
    output,
    [
      { head: "PART", cell: (part) => format.visible(partLabel(part)) },
      { head: "STATUS", cell: ({ status }) => styleStatus(output, status) },
      { head: "SIZE", align: "right", cell: ({ totals }) => size(totals?.sourceBytes) },
      { head: "NEW", align: "right", cell: ({ totals }) => size(totals?.newBytes) },
      { head: "STORED", align: "right", cell: ({ totals }) => size(totals?.storedBytes) },
      { head: "FILES", align: "right", cell: ({ totals }) => (totals === undefined ? "" : String(totals.files)) },
      { head: "TOOK", align: "right", cell: ({ startedAt, endedAt }) => format.durationBetween(startedAt, endedAt) },
      { head: "STATE", cell: stateOf },
      { head: "QUIET FOR", align: "right", cell: quietFor },
    ],
    parts.toSorted((a, b) => rank(a) - rank(b)),
  );
}

/** `quiet`, `quiet (reflink)`. */
function stateOf({ consistency, moment }: Part): string {
  return [consistency ?? "", ...(moment === undefined ? [] : [`(${moment})`])].join(" ");
}

/** The longest that something stood still for it. */
function quietFor({ quiet = [] }: Part): string {
  return quiet.length === 0 ? "" : format.duration(Math.max(...quiet.map(({ quietMs }) => quietMs)));
}

/** `raft (node1)`, `node node1`, `volume node1/db`. */
export function partLabel({ kind, name, hostname }: Pick<Part, "kind" | "name" | "hostname">): string {
  if (kind === "runbook") return kind;
  if (kind === "raft" || kind === "definitions") return hostname === "" ? kind : `${kind} (${hostname})`;
  return `${kind} ${name}`;
}

function renderNotCovered(output: Output, left: readonly NotCovered[]): string {
  return table(
    output,
    [
      { head: "REASON", cell: ({ reason }) => reason },
      { head: "WHAT", cell: ({ kind, name }) => format.visible(`${kind} ${name}`) },
      { head: "WHY", cell: ({ message }) => format.visible(message) },
    ],
    left,
  );
}

function hasFault({ error, stderr }: Part): boolean {
  return error !== undefined || (stderr !== undefined && stderr.trim() !== "");
}

function renderFault(output: Output, part: Part): string {
  const { error, stderr = "" } = part;
  const lines = stderr.trim() === "" ? [] : stderr.trimEnd().split("\n");
  return [
    `${format.visible(partLabel(part))}, attempt ${part.attempt}`,
    ...(error === undefined
      ? []
      : [
          `  ${output.style("red", "error:")} ${format.visible(error.message)}`,
          ...(error.hint === undefined ? [] : [`  ${output.style("cyan", "hint:")} ${format.visible(error.hint)}`]),
          output.style("dim", `  code: ${error.code}`),
        ]),
    ...lines.map((line) => `  ${output.style("dim", "stderr |")} ${format.visible(line)}`),
  ].join("\n");
}

/** Each service and container once: the parts of one unit all name it. */
function quietOf(run: Run): string[] {
  const lines = run.parts.flatMap(({ quiet = [] }) =>
    quiet.map(({ name, how, quietMs }) => {
      const did = how === "stop" ? "stopped" : "paused";
      return `- ${format.visible(name)} was ${did} for ${format.duration(quietMs)}`;
    }),
  );
  return [...new Set(lines)];
}

function commandsOf(run: Run): string[] {
  const lines = run.parts.flatMap(({ commands = [] }) =>
    commands.map(({ step, container, exitCode, stderr, stdout = "" }) => {
      const ended = exitCode === null ? "did not end by itself" : `ended with ${exitCode}`;
      const said = [["stderr", stderr] as const, ["stdout", stdout] as const]
        .filter(([, text]) => text.trim() !== "")
        .flatMap(([stream, text]) =>
          text
            .trimEnd()
            .split("\n")
            .map((line) => `\n    ${stream} | ${format.visible(line)}`),
        );
      return `- ${step} in ${format.visible(container)} ${ended}${said.join("")}`;
    }),
  );
  return [...new Set(lines)];
}

function warningLines(run: Run): string[] {
  return [
    ...run.warnings.map(({ message }) => `- ${format.visible(message)}`),
    ...run.parts.flatMap((part) => [
      ...part.warnings.map(({ message }) => `- ${format.visible(`${partLabel(part)}: ${message}`)}`),
      ...(part.warningsLeftOut > 0
        ? [`- ${format.visible(partLabel(part))}: and ${format.plural(part.warningsLeftOut, "more warning")}`]
        : []),
    ]),
  ];
}

/** Title and lines of the live board for a run under way. */
export function boardOf(progress: RunProgress): { title: string; lines: BoardLine[] } {
  return {
    title: `Run ${progress.id}: ${stageWords[progress.stage]}`,
    lines: progress.parts.map((part) => {
      const { detail, share } = part.progress === null ? { detail: "", share: null } : describeProgress(part.progress);
      const attempt = part.attempt > 1 ? `attempt ${part.attempt}${detail === "" ? "" : ", "}` : "";
      const next = part.state === "waiting" ? `attempt ${part.attempt} follows: ` : "";
      const fault = part.error === undefined ? undefined : `${next}${part.error.message}`;
      return {
        id: `${part.kind} ${part.hostname} ${part.name}`,
        label: partLabel(part),
        state: part.state,
        detail: fault ?? (part.totals === undefined ? `${attempt}${detail}` : describeTotals(part.totals)),
        share,
      };
    }),
  };
}

/** The last state of a board: what was still under way when it was last asked for has ended since. */
export function boardOfEnded({ id, status, parts }: Run): { title: string; lines: BoardLine[] } {
  return {
    title: `Run ${id}: ${status}`,
    lines: parts.map((part) => ({
      id: `${part.kind} ${part.hostname} ${part.name}`,
      label: partLabel(part),
      state: part.status,
      detail: part.error?.message ?? (part.totals === undefined ? "" : describeTotals(part.totals)),
      share: null,
    })),
  };
}

const stageWords = {
  starting: "starting",
  raft: "Raft state and definitions",
  snapshots: "volumes",
  release: "releasing what was held",
  commit: "writing the run",
} as const;

/** `1.2 GiB, 30 MiB stored`. */
export function describeTotals({ sourceBytes, storedBytes }: { sourceBytes: number; storedBytes: number }): string {
  return `${format.bytes(sourceBytes)}, ${format.bytes(storedBytes)} stored`;
}

/** The last line about a run, for stderr. */
export function concludingWords(run: Run): string {
  const { parts, notCovered } = summaryOf(run);
  const faulty = parts.partial + parts.failed;
  const left = run.notCovered.filter(({ reason }) => reason !== "not-selected").length;
  return [
    `run ${run.id} is ${run.status}: ${format.plural(run.parts.length, "part")}`,
    ...(faulty > 0 ? [`${faulty} not whole`] : []),
    ...(left > 0 ? [`${left} not covered`] : []),
    ...(notCovered > left ? [`${notCovered - left} not selected`] : []),
    format.durationBetween(run.startedAt, run.endedAt),
  ].join(", ");
}
