// `skep service rollback`: what `docker service rollback` means, also where a hold lies between a service and its
// previous spec: there the engine would go to the held spec, and the record of the hold has the real one.
import type { TaskOf } from "../../shared/contract/job.ts";
import type { TaskResultOf } from "../../shared/contract/task-result.ts";
import { SkepError } from "../../shared/errors.ts";
import { heldSpec, sameSpec } from "../../shared/held-spec.ts";
import type { Docker } from "../docker.ts";
import { findRecords, markRecord } from "./hold-book.ts";
import { previousOf } from "./verdict.ts";

/** Throws SKEP_SERVICE_UNKNOWN, SKEP_SERVICE_NOT_UPDATED, SKEP_SERVICE_HELD, SKEP_DOCKER_CONFLICT. */
export async function rollBack(
  task: TaskOf<"rollback">,
  docker: Docker,
  signal: AbortSignal,
): Promise<TaskResultOf<"rollback">> {
  const service = await docker.service(task.service, signal);
  if (service === null) {
    throw new SkepError({
      code: "SKEP_SERVICE_UNKNOWN",
      message: `there is no service ${task.service}`,
      permanent: true,
      hint: "`docker service ls` lists them",
    });
  }
  const { ID: serviceId, Spec, PreviousSpec, Version } = service;
  const [last] = await findRecords(docker, { serviceId }, signal);
  if (last?.releasedAt === null) {
    throw new SkepError({
      code: "SKEP_SERVICE_HELD",
      message: `service ${Spec.Name} is held until ${last.record.deadlineAt} at the latest`,
      permanent: true,
      hint: "wait for the end of the run or restore that holds it",
    });
  }
  const target = previousOf(service, last?.record ?? null);
  if (target === null) {
    throw new SkepError({
      code: "SKEP_SERVICE_NOT_UPDATED",
      message: `service ${Spec.Name} has no previous spec`,
      permanent: true,
      hint: "it was never updated, but for what Skep did to it",
    });
  }
  const fromRecord = last !== undefined && sameSpec(PreviousSpec, heldSpec(last.record.former));
  if (!fromRecord) {
    await docker.rollbackService(serviceId, Version.Index, Spec, signal);
    return { kind: "rollback", service: Spec.Name, fromRecord };
  }
  await docker.updateService(serviceId, Version.Index, target, signal);
  // The present spec lies behind the new one now, as after Docker's own rollback.
  const version = (await docker.service(serviceId, signal))?.Version.Index;
  if (version !== undefined) await markRecord(docker, last, { version });
  return { kind: "rollback", service: Spec.Name, fromRecord };
}
