// The write just before a copy. A manager's disk learns that an entry is committed only with the next write: once it says
// so of this one, everything that was acknowledged before is within the copy.
import { SkepError } from "../errors.ts";

/** The manager's own node, through its API. */
export interface OwnNode<Spec> {
  read(): Promise<{ version: number; spec: Spec }>;
  /** Throws SKEP_DOCKER_CONFLICT where the node has another version by now. */
  write(version: number, spec: Spec): Promise<void>;
}

const triesOnConflict = 5;

/** Writes the node's own spec, which changes nothing; gives the version index that the write got. Throws SKEP_RAFT_MARKER. */
export async function writeMarker<Spec>(node: OwnNode<Spec>): Promise<number> {
  for (let tries = 1; ; tries++) {
    const { version, spec } = await node.read();
    try {
      await node.write(version, spec);
    } catch (error) {
      const conflict = error instanceof SkepError && error.code === "SKEP_DOCKER_CONFLICT";
      if (conflict && tries < triesOnConflict) continue;
      throw error;
    }
    const marker = (await node.read()).version;
    if (Number.isSafeInteger(marker) && marker > 0) return marker;
    throw new SkepError({
      code: "SKEP_RAFT_MARKER",
      message: "the engine gave no usable version for the write before the Raft copy",
      permanent: false,
    });
  }
}
