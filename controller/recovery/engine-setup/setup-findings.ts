// What is to be said about how the machines' engines are set up, before anything is done. Pure.
import type { RecoveryMode } from "../journal.ts";
import type { Finding } from "../recovery-plan.ts";
import type { SetupDifferences } from "./engine-setup.ts";

/** `setUp`: machines for which the operator asked for it (--apply-node-facts), which mode quorum does not take. */
export function examineSetup(
  differences: ReadonlyMap<string, SetupDifferences>,
  { mode, setUp }: { mode: RecoveryMode; setUp: readonly string[] },
): Finding[] {
  const findings: Finding[] = [];
  const say = (severity: Finding["severity"], code: string, text: string): void => {
    findings.push({ severity, code, text });
  };
  for (const [machine, { settings, files, plugins, clashes }] of differences) {
    const isApplied = setUp.includes(machine);
    const offered = mode === "quorum" ? "set it up by hand first" : "--apply-node-facts brings it there";
    const way = isApplied ? "which is brought there" : offered;
    const severity = isApplied ? "note" : "warning";
    if (settings.length > 0) {
      const text = `daemon.json of ${machine} differs from the run's in ${settings.join(", ")}: ${way}`;
      say(severity, "engine-settings", isApplied ? `${text}, and its engine is restarted` : text);
    }
    if (files.length > 0) {
      say(severity, "engine-files", `${machine} lacks ${files.map(({ path }) => path).join(", ")}: ${way}`);
    }
    for (const name of plugins) {
      say("warning", "plugin", `${machine} lacks the plugin ${name}: docker plugin install ${name} there`);
    }
    for (const what of clashes) {
      say("warning", "setup-clash", `the nodes whose place ${machine} takes had ${what} in two ways: the first counts`);
    }
  }
  return findings;
}
