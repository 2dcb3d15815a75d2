// What a restore is to do, as the controller wrote it down when it was asked: signed, since it lies in Redis, where
// somebody else could write another.
import { z } from "zod";
import { chosenFilesSchema } from "../shared/contract/chosen-files.ts";
import { commandSchema, restoreIdSchema, volumeNameSchema, type ContainerCommand } from "../shared/contract/job.ts";
import { SkepError } from "../shared/errors.ts";
import { shapeFaults } from "../shared/fault-list.ts";
import { parseJsonText } from "../shared/json-text.ts";
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
  /** Of a dump that goes back into its server: by this command. */
  load: commandSchema.optional(),
  files: chosenFilesSchema.optional(),
});
export type RestoreOrder = z.infer<typeof restoreOrderSchema>;

/** How long its steps may take, ms: a quarter of an hour, and the data at 5 MB/s, or what a dump's command may take. */
export function restoreTimeoutMs({ load, sourceBytes }: RestoreOrder): number {
  return 15 * 60_000 + (load === undefined ? sourceBytes / 5000 : load.timeoutSeconds * 1000);
}

/** What one is asked for beside the run and the volume. */
export interface RestoreWish {
  targetName: string;
  /** Hold the services that use the volume. */
  stop: boolean;
  /** In which container or service a dump is to be loaded; undefined: as its labels said. */
  loadInto: string | undefined;
  /** Chosen files of it, and not all of it. */
  isOfFiles: boolean;
}

/** Where the part's record does not say, as those who give no timeout get it. */
const loadSeconds = 4 * 3600;

/**
 * The command that takes a dump back into its server; null for a restore of files, as also of a dump beside its volume. A
 * dump is one file: laid over the volume that it was made of, it would take its place. Throws SKEP_RESTORE_IS_DUMP where
 * no command was said when it was taken, SKEP_LOAD_UNFIT for what can't be wished of it.
 */
export function loadOf({ kind, load }: Part, volume: string, wish: RestoreWish): ContainerCommand | null {
  const { targetName, stop, loadInto, isOfFiles } = wish;
  const unfit = (message: string, hint: string): SkepError =>
    new SkepError({ code: "SKEP_LOAD_UNFIT", message, permanent: true, hint });
  if (isOfFiles && kind === "dump" && targetName === volume) {
    throw unfit(
      `what the run has of volume ${volume} is a dump: none of its files go back into that volume`,
      "`skep restore volume` loads a dump; `--into NODE/OTHER-NAME` puts it, as a file, into another volume",
    );
  }
  if (isOfFiles || kind !== "dump" || targetName !== volume) {
    if (loadInto === undefined) return null;
    throw kind === "dump"
      ? unfit(
          `a dump goes into container ${loadInto}, or beside its volume as a file`,
          "leave --as or --load-into away",
        )
      : unfit(`what the run has of volume ${volume} is no dump: nothing is to be loaded`, "leave --load-into away");
  }
  if (load === undefined) {
    throw new SkepError({
      code: "SKEP_RESTORE_IS_DUMP",
      message: `what the run has of volume ${volume} is a dump, which would replace its files, and no skep.load was set`,
      permanent: true,
      hint: `restore it beside, --as ${volume}-dump, and load the file "dump" that is in it`,
    });
  }
  if (stop) throw unfit(`the dump of volume ${volume} is loaded into a server that runs`, "leave --stop away");
  const { argv, container, saidBy, user, timeoutSeconds = loadSeconds } = load;
  const said = loadInto === undefined && saidBy !== undefined ? { saidBy } : {};
  return { volume, argv, container: loadInto ?? container, ...said, user, timeoutSeconds };
}

/** Throws SKEP_RESTORE_IS_DUMP, SKEP_LOAD_UNFIT, and SKEP_RESTORE_NOT_IN_RUN where the run has no such volume, or no whole snapshot of it. */
export function planRestore(run: Run, request: StartRestore, restoreId: string, startedAt: string): RestoreOrder {
  const { nodeId: source, volume: name, toNodeId, targetName, stop, loadInto, files } = request;
  const part = run.parts.find(
    ({ kind, nodeId, volume: facts }) =>
      (kind === "volume" || kind === "dump") && nodeId === source && facts?.name === name,
  );
  const load =
    part === undefined ? null : loadOf(part, name, { targetName, stop, loadInto, isOfFiles: files !== undefined });
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
    sourceBytes: files?.sourceBytes ?? totals?.sourceBytes ?? 0,
    manifest,
    refs,
    ...(load === null ? {} : { load }),
    ...(files !== undefined && { files: { paths: files.paths, existing: files.existing } }),
  };
}

/** The order in a flow's data, once this controller's signature fits. Throws SKEP_RESTORE_FORGED. */
export function openRestoreOrder(signed: unknown, repository: Repository): RestoreOrder {
  return openSignedInQueue(signed, restoreOrderSchema, "a restore", repository);
}

/** What lay in the queue, as this controller signed it there. `what`: `a restore`. Throws SKEP_RESTORE_FORGED, SKEP_SIGNATURE_INVALID. */
export function openSignedInQueue<T>(signed: unknown, schema: z.ZodType<T>, what: string, repository: Repository): T {
  const envelope = signedSchema.safeParse(signed);
  if (!envelope.success) throw forgedInQueue(what, "is not signed");
  const payload = schema.safeParse(parseJsonText(repository.verify(envelope.data, `${what} in the queue`)));
  if (!payload.success) throw forgedInQueue(what, `has another shape: ${shapeFaults(payload.error)}`);
  return payload.data;
}

export function forgedInQueue(what: string, why: string): SkepError {
  return new SkepError({
    code: "SKEP_RESTORE_FORGED",
    message: `${what} in the queue ${why}`,
    permanent: true,
    hint: "somebody other than the controller wrote to Redis",
  });
}
