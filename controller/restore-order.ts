// What a restore is to do, as the controller wrote it down when it was asked: signed, since it lies in Redis, where
// somebody else could write another.
import { z } from "zod";
import { restoreIdSchema, volumeNameSchema } from "../shared/contract/job.ts";
import { SkepError } from "../shared/errors.ts";
import { runIdPattern, writerIdPattern } from "../shared/repository/layout.ts";
import { storedObjectSchema, volumeFactsSchema, type Part, type Run } from "../shared/repository/run.ts";
import { signedSchema } from "../shared/repository/signature.ts";
import type { StartRestore } from "./api/schemas.ts";
import type { Repository } from "./repository.ts";

const nodeId = z.string().regex(writerIdPattern);

export const restoreOrderSchema = z.strictObject({
  kind: z.literal("restore"),
  restoreId: restoreIdSchema,
  runId: z.string().regex(runIdPattern),
  /** Where the snapshot was taken: also who wrote it. */
  nodeId,
  toNodeId: nodeId,
  targetName: volumeNameSchema,
  /** Hold the services that use the volume, and release them afterwards. */
  stop: z.boolean(),
  startedAt: z.iso.datetime(),
  volume: volumeFactsSchema,
  sourceBytes: z.int().min(0),
  manifest: storedObjectSchema,
  refs: storedObjectSchema,
});
export type RestoreOrder = z.infer<typeof restoreOrderSchema>;

/** How long its steps may take, ms: a quarter of an hour, and the data at 5 MB/s. */
export function restoreTimeoutMs(order: RestoreOrder): number {
  return 15 * 60_000 + order.sourceBytes / 5000;
}

/** A dump is one file: laid over the volume that it was made of, it would take its place. Throws SKEP_RESTORE_IS_DUMP. */
export function refuseDumpOver({ kind, load }: Part, name: string, targetName: string): void {
  if (kind !== "dump" || targetName !== name) return;
  const how = load === undefined ? "" : `, with what it was taken with: ${JSON.stringify(load.argv)}`;
  throw new SkepError({
    code: "SKEP_RESTORE_IS_DUMP",
    message: `what the run has of volume ${name} is a dump, which would replace its files`,
    permanent: true,
    hint: `restore it beside, --as ${name}-dump, and load the file "dump" that is in it${how}`,
  });
}

/** Throws SKEP_RESTORE_IS_DUMP, and SKEP_RESTORE_NOT_IN_RUN where the run has no such volume, or no whole snapshot of it. */
export function planRestore(run: Run, request: StartRestore, restoreId: string, startedAt: string): RestoreOrder {
  const { nodeId: source, volume: name, toNodeId, targetName, stop } = request;
  const part = run.parts.find(
    ({ kind, nodeId, volume: facts }) =>
      (kind === "volume" || kind === "dump") && nodeId === source && facts?.name === name,
  );
  if (part !== undefined) refuseDumpOver(part, name, targetName);
  const { volume, manifest, refs, totals } = part ?? ({} as Partial<Part>);
  if (volume === undefined || manifest === undefined || refs === undefined) {
    throw new SkepError({
      code: "SKEP_RESTORE_NOT_IN_RUN",
      message: `run ${run.id} has no snapshot of volume ${name} of node ${source}`,
      permanent: true,
      hint: `\`skep show ${run.id}\` lists what it has, and why a part failed`,
    });
  }
  return {
    kind: "restore",
    restoreId,
    runId: run.id,
    nodeId: source,
    toNodeId,
    targetName,
    stop,
    startedAt,
    volume,
    sourceBytes: totals?.sourceBytes ?? 0,
    manifest,
    refs,
  };
}

/** The order in a flow's data, once this controller's signature fits. Throws SKEP_RESTORE_FORGED. */
export function openRestoreOrder(signed: unknown, repository: Repository): RestoreOrder {
  const forged = (why: string): SkepError =>
    new SkepError({
      code: "SKEP_RESTORE_FORGED",
      message: `a restore in the queue ${why}`,
      permanent: true,
      hint: "somebody other than the controller wrote to Redis",
    });
  const envelope = signedSchema.safeParse(signed);
  if (!envelope.success) throw forged("is not signed");
  const order = restoreOrderSchema.safeParse(JSON.parse(repository.verify(envelope.data, "a restore in the queue")));
  if (!order.success) throw forged(`has another shape: ${z.prettifyError(order.error)}`);
  return order.data;
}
