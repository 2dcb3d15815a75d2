// What the API asks of the rest of the controller. Everything throws SkepErrors, which the API tells as they are.
import type { MetricFacts } from "./metrics.ts";
import type { Agent, Finding, Restore, RolledBack, RunAnswer, RunSummary, StartRestore } from "./schemas.ts";

export interface Backend {
  agents(): Promise<Agent[]>;
  /** The agent that waits with that key is enrolled. Throws SKEP_AGENT_UNKNOWN. */
  approveAgent(nodeId: string, fingerprint: string): Promise<Agent>;
  /** Its id. Throws SKEP_RUN_IN_PROGRESS, SKEP_POLICY_NO_SCHEDULE. */
  startRun(schedule: string | null): Promise<string>;
  /** Newest first, those under way included. */
  runs(limit: number): Promise<RunSummary[]>;
  /** By id, or `latest`. Throws SKEP_RUN_UNKNOWN. */
  run(id: string): Promise<RunAnswer>;
  policy(): Promise<{ version: number; policy: unknown }>;
  /** Throws SKEP_POLICY_INVALID with all faults. */
  setPolicy(yaml: string): Promise<{ version: number; policy: unknown }>;
  doctor(): Promise<Finding[]>;
  metrics(): Promise<MetricFacts>;
  /** Throws SKEP_SERVICE_…, once a manager's agent answered. */
  rollBackService(name: string): Promise<RolledBack>;
  startRestore(request: StartRestore): Promise<string>;
  restores(): Promise<Restore[]>;
  restore(id: string): Promise<Restore>;
  giveRestoreKeys(id: string, sealedKeys: string): Promise<void>;
  takeBackRestore(id: string, kind: "undo" | "discard"): Promise<void>;
}
