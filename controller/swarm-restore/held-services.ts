// What a restore held, in a file beside the swarm directory: what each service is to be again when it is released. The engine
// knows nothing of it, so it lies there until all are released.
import { isDeepStrictEqual } from "node:util";
import { z } from "zod";
import { SkepError } from "../../shared/errors.ts";
import { specJsonSchema, withoutHold, type SpecJson } from "../../shared/held-spec.ts";
import type { RebasedSwarm } from "../../shared/raft/rebase.ts";
import { mustRun, writeFile, type SwarmHost } from "./host.ts";
import { readJsonFile } from "./json-file.ts";

const heldServiceSchema = z.strictObject({
  id: z.string().regex(/^[a-z0-9]{1,64}$/),
  name: z.string().max(1024),
  mode: z.enum(["replicated", "global", "replicatedJob", "globalJob"]),
  /** Version index of the service as it was held. */
  version: z.int().min(0),
  /** Engine-API JSON. */
  spec: specJsonSchema,
});
export type HeldServiceRecord = z.infer<typeof heldServiceSchema>;

const heldServicesSchema = z.strictObject({
  format: z.literal(1),
  clusterId: z.string().max(64),
  heldAt: z.iso.datetime(),
  services: z.array(heldServiceSchema).max(100_000),
});
export type HeldServices = z.infer<typeof heldServicesSchema>;

export const heldServicesName = "skep-held-services.json";

/** `now`: milliseconds since 1970. */
export function heldServicesOf({ state, held }: RebasedSwarm, now: number): HeldServices {
  const services = held.map((service) => heldServiceSchema.parse(JSON.parse(JSON.stringify(service))));
  return { format: 1, clusterId: state.clusterId, heldAt: new Date(now).toISOString(), services };
}

/** Null where nothing is held. Throws SKEP_SWARM_HELD_FILE. */
export async function readHeldServices(
  host: SwarmHost,
  dataRoot: string,
  signal: AbortSignal,
): Promise<HeldServices | null> {
  const path = `${dataRoot}/${heldServicesName}`;
  const found = await readJsonFile(host, path, heldServicesSchema, signal);
  if (found === null) return null;
  if (found.content !== null) return found.content;
  throw new SkepError({
    code: "SKEP_SWARM_HELD_FILE",
    message: `${path} on ${host.name} does not say what a restore held`,
    permanent: true,
    hint: "bring the services back from the file of the restore: skep restore service NAME --from FILE --existing update",
  });
}

/** The file goes with the last service. */
export async function writeHeldServices(
  host: SwarmHost,
  dataRoot: string,
  held: HeldServices,
  signal: AbortSignal,
): Promise<void> {
  const path = `${dataRoot}/${heldServicesName}`;
  if (held.services.length === 0) {
    await mustRun(host, ["rm", "-f", path], { signal });
    return;
  }
  const bytes = Buffer.from(`${JSON.stringify(held, null, 2)}\n`);
  await writeFile(host, { path, mode: 0o600, bytes }, signal);
}

/**
 * In place of what an earlier restore held: that belongs to the swarm directory that this one moves aside, and is kept like
 * that, under a name with `id`.
 */
export async function noteHeldServices(
  host: SwarmHost,
  dataRoot: string,
  held: HeldServices,
  id: string,
  signal: AbortSignal,
): Promise<void> {
  const former = await readHeldServices(host, dataRoot, signal);
  if (former !== null && !isDeepStrictEqual(former.services, held.services)) {
    const path = `${dataRoot}/${heldServicesName}`;
    await mustRun(host, ["mv", "-T", path, `${path}.before-${id}`], { signal });
  }
  await writeHeldServices(host, dataRoot, held, signal);
}

export interface PresentService {
  ID: string;
  Version: { Index: number };
  Spec: SpecJson;
}

/**
 * What the service is to be: as it was before the hold, or where somebody changed it since, that without the hold. Null where
 * it is not held any more.
 */
export function releasedSpec(held: HeldServiceRecord, { Version, Spec }: PresentService): SpecJson | null {
  return Version.Index === held.version ? held.spec : withoutHold(Spec, held.spec);
}
