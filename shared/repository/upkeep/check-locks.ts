// Whether the store keeps the locks that the record says: of someone who took them away by other means, of a bucket that was
// copied to one without, or of a store that only pretends.
import type { Protection } from "../protection.ts";
import type { Finding } from "./finding.ts";

/** `recorded`: by the last pass that locked. `found`: by one that only looked. `now` in ms since 1970. */
export function compareLocks(recorded: Protection, found: Protection, now: number): Finding[] {
  if (recorded.fault !== null) {
    const message = `no run is protected by locks: ${recorded.fault.code}: ${recorded.fault.message}`;
    return [{ level: "warning", code: "SKEP_RUN_NOT_PROTECTED", key: null, message, hurts: [] }];
  }
  const lockedUntil = new Map(found.runs.map((run) => [run.id, run]));
  const findings: Finding[] = [];
  for (const { id, until, fault } of recorded.runs) {
    const seen = lockedUntil.get(id);
    if (fault !== null) {
      const message = `run ${id} is not protected by locks: ${fault.code}: ${fault.message}`;
      findings.push({ level: "warning", code: "SKEP_RUN_NOT_PROTECTED", key: null, message, hurts: [id] });
    } else if (until !== null && Date.parse(until) > now && (found.fault !== null || seen !== undefined)) {
      const why = found.fault ?? seen?.fault ?? null;
      if (why === null && Date.parse(seen?.until ?? "") >= Date.parse(until)) continue;
      if (why?.code === "SKEP_STORE_DENIED") {
        const message = `the locks of run ${id} may not be looked at: ${why.message}`;
        findings.push({ level: "warning", code: why.code, key: null, message, hurts: [] });
        continue;
      }
      const message =
        `run ${id} should be locked until ${until}, and is ` +
        (why === null ? `until ${seen?.until ?? "now"} only` : `not: ${why.code}: ${why.message}`);
      findings.push({ level: "error", code: "SKEP_LOCK_MISSING", key: null, message, hurts: [id] });
    }
  }
  return findings;
}
