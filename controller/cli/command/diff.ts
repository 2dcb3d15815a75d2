// skep diff: what changed between two runs, by volume; or in one volume, by path.
import type { Command } from "commander";
import { SkepError } from "../../../shared/errors.ts";
import { diffTrees, type EntryChange } from "../../../shared/repository/open/tree-diff.ts";
import type { Part, Run } from "../../../shared/repository/run.ts";
import {
  addIdentityOption,
  addKitOption,
  addStoreOptions,
  type IdentityOptions,
  type StoreOptions,
} from "../access.ts";
import { withOperator } from "../catalogue-access.ts";
import { describeEntryChange, describeVolumeChange, documentOfChange } from "../diff-report.ts";
import type { VolumeChange } from "../documents.ts";
import type { ExitCode } from "../exit-code.ts";
import { printListing } from "../listing.ts";
import { withSnapshot, type OpenedOperator } from "../operator-snapshot.ts";
import {
  parseRunAddress,
  parseVolumeOfRun,
  passingOver,
  resolveRun,
  resolveSnapshot,
  runArgument,
  type RunAddress,
} from "../run-address.ts";
import { describe, run, type Session } from "../session.ts";

type DiffOptions = StoreOptions & IdentityOptions;

const example = `skep diff 20261120 latest --identity identity-anna.txt
skep diff 20261120:node2/www latest --json`;

export function register(program: Command): void {
  const command = program
    .command("diff")
    .argument(`<${runArgument}>`, "the run to begin with, a volume in it, a path in that")
    .argument("<run[:node/volume]>", "the run to compare with; a volume only where it is another one")
    .description("tell what changed between two runs, or in a volume");
  addIdentityOption(addStoreOptions(addKitOption(command)));
  run(describe(command, example), diff);
}

async function diff(session: Session, options: DiffOptions, before: string, after: string): Promise<ExitCode> {
  const was = parseRunAddress(before);
  const is = parseRunAddress(after);
  if (was.volume === null && is.volume !== null) {
    throw new SkepError({
      code: "SKEP_CLI_USAGE",
      message: "the second run names a volume, the first one none",
      permanent: true,
      hint: "name the volume with the first run: skep diff RUN:NODE/VOLUME RUN",
    });
  }
  return await withOperator(session, options, async (opened) =>
    was.volume === null
      ? await diffRuns(session, opened, was.run, is.run)
      : await diffVolumes(session, opened, parseVolumeOfRun(before), is),
  );
}

async function diffVolumes(
  session: Session,
  opened: OpenedOperator,
  was: ReturnType<typeof parseVolumeOfRun>,
  is: RunAddress,
): Promise<ExitCode> {
  if (is.path.length > 0 && !is.path.equals(was.path)) {
    throw new SkepError({
      code: "SKEP_CLI_USAGE",
      message: "the two name different paths",
      permanent: true,
      hint: "one path of a volume is compared with the same path",
    });
  }
  const { signal } = session;
  const old = await resolveSnapshot(session, opened.catalogue, was);
  const now = await resolveSnapshot(session, opened.catalogue, { run: is.run, volume: is.volume ?? was.volume });
  return await withSnapshot(opened, old, signal, async (before) =>
    withSnapshot(opened, now, signal, async (after) =>
      printListing<EntryChange>(session, {
        head: { before: old.run.id, after: now.run.id, volume: old.part.volume.name },
        field: "changes",
        rows: diffTrees(before, after, was.path),
        toLine: describeEntryChange,
        toDocument: documentOfChange,
      }),
    ),
  );
}

async function diffRuns(session: Session, opened: OpenedOperator, before: string, after: string): Promise<ExitCode> {
  const options = passingOver(session);
  const was = (await resolveRun(opened.catalogue, before, options)).run;
  const is = (await resolveRun(opened.catalogue, after, options)).run;
  return await printListing<VolumeChange>(session, {
    head: { before: was.id, after: is.id },
    field: "volumes",
    rows: volumeChanges(session, opened, was, is),
    toLine: describeVolumeChange,
    toDocument: (change) => change,
  });
}

async function* volumeChanges(
  { signal }: Session,
  opened: OpenedOperator,
  was: Run,
  is: Run,
): AsyncGenerator<VolumeChange> {
  const now = new Map(is.parts.flatMap((part) => (isSnapshot(part) ? [[keyOf(part), part] as const] : [])));
  for (const old of was.parts) {
    if (!isSnapshot(old)) continue;
    const { nodeId, name } = old;
    const part = now.get(keyOf(old));
    now.delete(keyOf(old));
    if (part === undefined) yield { nodeId, name, change: "removed", counts: null };
    else yield { nodeId, name, ...(await compareParts(opened, old, part, signal)) };
  }
  for (const { nodeId, name } of now.values()) yield { nodeId, name, change: "added", counts: null };
}

function isSnapshot({ manifest, refs }: Part): boolean {
  return manifest !== undefined && refs !== undefined;
}

function keyOf({ kind, nodeId, name }: Part): string {
  return `${kind} ${nodeId} ${name}`;
}

async function compareParts(
  opened: OpenedOperator,
  old: Part,
  now: Part,
  signal: AbortSignal,
): Promise<Pick<VolumeChange, "change" | "counts">> {
  return await withSnapshot(opened, { part: old }, signal, async (before) =>
    withSnapshot(opened, { part: now }, signal, async (after) => {
      if (before.root.linesDigest === after.root.linesDigest) return { change: "same", counts: null };
      const counts = { added: 0, removed: 0, changed: 0 };
      for await (const { change } of diffTrees(before, after, Buffer.alloc(0))) counts[change]++;
      const isSame = counts.added + counts.removed + counts.changed === 0;
      return isSame ? { change: "same", counts: null } : { change: "changed", counts };
    }),
  );
}
