// What an agent finds on its node when a run asks: volumes and images, and who uses them.
import { z } from "zod";
import { imageFactsSchema, volumeFactsSchema } from "../repository/run.ts";

/** As swarm has them. */
export const serviceId = z.string().regex(/^[a-z0-9]{1,64}$/);

export const foundVolumeSchema = z.strictObject({
  facts: volumeFactsSchema,
  /** Equal on all nodes that see the same bytes (NFS and the like); null for a volume of this node alone. */
  sharedId: z.string().max(4096).nullable(),
  /** Service and container names that mount it now. */
  usedBy: z.array(z.string().max(1024)).max(1000),
  /** The containers that run on it, and those of no service that do not: with their labels that begin with `skep.`. */
  users: z
    .array(
      z.strictObject({
        container: z.string().max(1024),
        serviceId: serviceId.nullable(),
        /** `part`: of a folder in it alone. */
        uses: z.enum(["all", "part"]),
        /** Or is paused. */
        runs: z.boolean(),
        labels: z.record(z.string().max(1024), z.string().max(65_536)),
      }),
    )
    .max(1000),
});
export const foundImageSchema = z.strictObject({
  id: imageFactsSchema.shape.id,
  tags: imageFactsSchema.shape.names,
  digests: imageFactsSchema.shape.digests,
  sizeBytes: z.int().min(0),
  /** Services whose containers run it now. */
  serviceIds: z.array(serviceId).max(1000),
  /** Running containers of no service that ask for it by their label `io.skep.image`, with what they call it. */
  containers: z.array(z.strictObject({ container: z.string().max(1024), name: z.string().max(1024) })).max(1000),
});
