// Which node a person means: by hostname, by id, or by the beginning of an id.
import { SkepError } from "../../shared/errors.ts";

export interface NamedNode {
  nodeId: string;
  hostname: string;
}

/** Throws SKEP_CLI_NODE_UNKNOWN or SKEP_CLI_NODE_AMBIGUOUS, with the names that there are. */
export function findNode<N extends NamedNode>(nodes: readonly N[], wanted: string): N {
  const exact = nodes.filter(({ nodeId, hostname }) => nodeId === wanted || hostname === wanted);
  const found =
    exact.length > 0 ? exact : nodes.filter(({ nodeId }) => wanted.length >= 4 && nodeId.startsWith(wanted));
  const [node] = found;
  if (node !== undefined && found.length === 1) return node;
  const named = (some: readonly N[]): string =>
    some.map(({ nodeId, hostname }) => `${hostname} (${nodeId})`).join(", ") || "none";
  if (node !== undefined) {
    throw new SkepError({
      code: "SKEP_CLI_NODE_AMBIGUOUS",
      message: `several nodes are called ${wanted}: ${named(found)}`,
      permanent: true,
      hint: "name the node by its id",
    });
  }
  throw new SkepError({
    code: "SKEP_CLI_NODE_UNKNOWN",
    message: `there is no node ${wanted}; known are: ${named(nodes)}`,
    permanent: true,
    hint: "`skep agents` lists the nodes that are there now, `skep show RUN` those of a run",
  });
}
