// Orders to hold services, and the program that the services run: it is told apart by its last argument.
import { randomBytes } from "node:crypto";
import type { SwarmService } from "../../agent/docker-objects.ts";
import type { TaskOf } from "../../shared/contract/job.ts";

const script = "process.on('SIGTERM', () => process.exit()); setInterval(() => {}, 1e6)";
export const newId = (): string => randomBytes(6).toString("hex");

/** `name`: `old`, `new`. */
export const program = (name: string): string[] => ["node", "-e", script, name];

/** The same for `docker service update`. */
export const args = (name: string): string => `node -e "${script}" ${name}`;

export const programOf = (spec: SwarmService["Spec"] | null | undefined): unknown =>
  (spec?.TaskTemplate.ContainerSpec?.["Args"] as string[] | undefined)?.at(-1);

export const orderFor = (ids: string[], more: Partial<TaskOf<"hold">> = {}): TaskOf<"hold"> => ({
  kind: "hold",
  holdId: newId(),
  serviceIds: ids,
  deadlineAt: new Date(Date.now() + 120_000).toISOString(),
  allOrNone: false,
  sharedVolumes: [],
  ...more,
});
