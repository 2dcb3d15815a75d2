// What Skep writes down for itself in a swarm, as labelled configs: of a hold, of a restore. Its agents and commands relabel
// and remove them as time goes by, so they are nothing that a copy and a living swarm could be asked to agree on.
import { holdLabels } from "../../shared/contract/hold-record.ts";
import { marksRecordLabel } from "./marks.ts";

/** By a config's labels. */
export function isOwnRecord(labels: Readonly<Record<string, unknown>> | null | undefined): boolean {
  return labels != null && (holdLabels.hold in labels || marksRecordLabel in labels);
}
