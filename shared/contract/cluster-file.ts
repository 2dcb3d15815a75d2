// skep.yaml, the one Docker config of the stack: which repository, where it is, whose signature counts, and the
// policy that seeds the first version kept in the store. No secret is in it.
import { z } from "zod";
import { SkepError } from "../errors.ts";
import { shapeFaults } from "../fault-list.ts";
import { isNestedTooDeep, parseYaml } from "../yaml-text.ts";
import { repositoryIdPattern } from "../repository/layout.ts";
import { publicKeySchema } from "../repository/signature.ts";

export const clusterFileSchema = z.strictObject({
  repository: z.string().regex(repositoryIdPattern),
  /** Pinned: whose signature counts on the repository object. */
  rootPublicKey: publicKeySchema,
  /** The store's address card; checked by shared/store/location.ts. */
  store: z.unknown(),
  /** Checked by controller/policy.ts; agents don't read it. */
  policy: z.unknown(),
});
export type ClusterFile = z.infer<typeof clusterFileSchema>;

/** Throws SKEP_CONFIG_INVALID with all faults; `place` names the file. */
export function decodeClusterFile(text: string, place: string): ClusterFile {
  const invalid = (why: string): SkepError =>
    new SkepError({
      code: "SKEP_CONFIG_INVALID",
      message: `${place}: ${why}`,
      permanent: true,
      hint: "`skep init` writes a valid one; docs/OPERATIONS.md tells each field",
    });
  if (isNestedTooDeep(text)) throw invalid("it is nested too deep");
  let parsed: unknown;
  try {
    parsed = parseYaml(text);
  } catch (error) {
    // Besides its own errors the parser throws a ReferenceError for an alias.
    throw invalid(error instanceof Error ? error.message : String(error));
  }
  const file = clusterFileSchema.safeParse(parsed);
  if (!file.success) throw invalid(shapeFaults(file.error));
  return file.data;
}
