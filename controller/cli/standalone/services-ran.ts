// What is said of a volume whose service a standalone run did not stop, as it could not: only a manager's engine does.
import type { Part } from "../../../shared/repository/run.ts";
import { quietOf } from "../../quiet-units.ts";
import type { Outcome, VolumeJob } from "../../run-plan.ts";

/** The outcome of a volume on a worker: that its quiet broke because its service ran is told as SKEP_QUIET_STANDALONE. */
export function servicesRan(outcome: Outcome<Part>, job: Pick<VolumeJob, "words" | "users">): Outcome<Part> {
  const service = job.users.find(({ serviceId }) => serviceId !== null);
  if (outcome.state === "failed" || quietOf(job) !== "stop" || service === undefined) return outcome;
  if (outcome.result.error?.code !== "SKEP_QUIET_BROKEN") return outcome;
  const error = {
    code: "SKEP_QUIET_STANDALONE" as const,
    message: `${service.container} belongs to a service, which a standalone run stops on a manager only`,
    permanent: true,
    hint: "let the swarm's own Skep take it, run this on a manager, or say skep.quiesce=pause",
  };
  return { state: "done", result: { ...outcome.result, error } };
}
