// A recovery's report as Markdown, for people.
import * as format from "../cli/format.ts";
import type { RecoveryReport } from "./report.ts";

export function renderReport(report: RecoveryReport): string {
  const row = (cells: readonly string[]): string => `| ${cells.map(cellText).join(" | ")} |`;
  const table = (head: readonly string[], rows: readonly (readonly string[])[]): string =>
    [row(head), row(head.map(() => "---")), ...rows.map(row)].join("\n");
  const counts = new Map<string, number>();
  for (const { kind, state } of report.objects) {
    counts.set(`${kind} ${state}`, (counts.get(`${kind} ${state}`) ?? 0) + 1);
  }
  const notEqual = report.objects.filter(({ state }) => state !== "equal");
  const list = (lines: readonly string[]): string => lines.map((line) => `- ${line}`).join("\n");
  return [
    `# Recovery ${report.recoveryId}: ${report.outcome}`,
    `Mode ${report.mode}, from run ${report.runId} of ${format.time(report.takenAt)}. Begun ${format.time(report.startedAt)}, ended ${format.time(report.endedAt)}.`,
    `**RTO ${format.duration(report.rtoMs)}**`,
    "## Time by phase",
    table(
      ["phase", "time"],
      report.phases.map(({ phase, ms }) => [phase, format.duration(ms)]),
    ),
    "## Volumes",
    table(
      ["volume", "machine", "size", "files", "run", "age of the data (RPO)"],
      report.volumes.map((volume) => [
        volume.volume,
        volume.machine,
        format.bytes(volume.bytes),
        String(volume.files),
        volume.runId,
        format.duration(volume.rpoMs),
      ]),
    ),
    ...(report.dumps.length === 0
      ? []
      : [
          "## Dumps",
          table(
            ["dump of", "machine", "size", "run", "age of the data (RPO)", "loaded"],
            report.dumps.map((dump) => [
              dump.volume,
              dump.machine,
              format.bytes(dump.bytes),
              dump.runId,
              format.duration(dump.rpoMs),
              `${dump.loaded ? "into" : dump.mayBeLoaded ? "perhaps:" : "no:"} ${dump.detail}`,
            ]),
          ),
        ]),
    ...(report.leftOut.length === 0
      ? []
      : [
          "## Data that did not come back",
          list(
            report.leftOut.map(
              ({ volume, machine, why, command }) =>
                `${format.visible(volume)}, on ${machine ?? "no machine"}: ${format.visible(why)}${command === null ? "" : `. From the run: \`${command}\``}`,
            ),
          ),
        ]),
    "## Services",
    table(
      ["service", "health"],
      report.services.map(({ service, health }) => [service, health]),
    ),
    "## Objects",
    table(
      ["kind and state", "objects"],
      [...counts].map(([what, count]) => [what, String(count)]),
    ),
    ...(notEqual.length === 0
      ? []
      : [
          table(
            ["kind", "name", "state", "detail"],
            notEqual.map((one) => [one.kind, one.name, one.state, one.detail]),
          ),
        ]),
    ...(report.absent.length === 0
      ? []
      : [
          "## Nodes that did not come back",
          list(
            report.absent.map(
              (hostname) => `${hostname} survives: look whether its engine runs and reaches the manager`,
            ),
          ),
        ]),
    ...(report.probes.length === 0
      ? []
      : ["## Probes", table(["what", "on", "outcome", "detail"], probeRows(report.probes))]),
    ...(report.rotated.length === 0 ? [] : ["## Rotated", list(report.rotated)]),
    "## Mappings",
    list(report.mappings),
    "## Not looked at",
    list(report.skipped),
    "## What to do now",
    list(report.next),
    "",
  ].join("\n\n");
}

/** What is the same of several machines in one row; what answered is told whole in the JSON alone. */
function probeRows(probes: RecoveryReport["probes"]): string[][] {
  const rows = new Map<string, { what: string; machines: string[]; state: string; detail: string }>();
  for (const { kind, subject, machine, state, detail } of probes) {
    const said = state === "answers" ? "" : detail;
    const key = JSON.stringify([kind, subject, state, said]);
    const row = rows.get(key) ?? { what: `${kind} ${subject}`.trim(), machines: [], state, detail: said };
    rows.set(key, row);
    row.machines.push(machine);
  }
  return [...rows.values()].map(({ what, machines, state, detail }) => [what, machines.join(", "), state, detail]);
}

/** Names come from outside: a bar would break the table. */
function cellText(text: string): string {
  return format.visible(text).replaceAll("|", "\\|");
}
