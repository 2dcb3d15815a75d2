// What the parts of a run have in common, whatever they take.
import { writeArchive, type ArchiveFile } from "../shared/repository/archive-writer.ts";
import type { Part, PartTotals, Warning } from "../shared/repository/run.ts";
import type { AgentContext, Attempt } from "./context.ts";

type Subject = Pick<Part, "kind" | "name" | "hostname">;

/** Fields of a part that are the same for all kinds. */
export function partOf(
  subject: Subject,
  context: AgentContext,
  attempt: Attempt,
  startedAt: Date,
): Omit<Part, "status"> {
  return {
    ...subject,
    nodeId: context.writerId,
    startedAt: startedAt.toISOString(),
    endedAt: new Date().toISOString(),
    attempt: attempt.number,
    warnings: [],
    warningsLeftOut: 0,
    epoch: context.epoch.number,
  };
}

/** Writes one archive; its key, and what it holds. */
export async function storeArchive(
  files: Iterable<ArchiveFile>,
  runId: string,
  context: AgentContext,
  signal: AbortSignal,
): Promise<Pick<Part, "archive" | "totals">> {
  let count = 0;
  const counted = function* (): Generator<ArchiveFile> {
    for (const file of files) {
      count++;
      yield file;
    }
  };
  const { store, epoch } = context;
  const { archive, sourceBytes } = await writeArchive({ store, runId, epoch, files: counted(), signal });
  const totals: PartTotals = {
    files: count,
    directories: 0,
    others: 0,
    sourceBytes,
    newBytes: sourceBytes,
    storedBytes: archive.reduce((sum, piece) => sum + piece.sizeBytes, 0),
  };
  return { archive, totals };
}

const maxPartWarnings = 1000;

export function cutWarnings(warnings: readonly Warning[], leftOut: number): Pick<Part, "warnings" | "warningsLeftOut"> {
  return {
    warnings: warnings.slice(0, maxPartWarnings),
    warningsLeftOut: leftOut + Math.max(0, warnings.length - maxPartWarnings),
  };
}
