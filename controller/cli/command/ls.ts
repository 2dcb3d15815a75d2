// skep ls: what is in a run, or in a volume of it, as it was then.
import type { Command } from "commander";
import { entriesBelow } from "../../../shared/repository/open/subtree.ts";
import type { Snapshot as OpenedSnapshot, SnapshotEntry } from "../../../shared/repository/open/snapshot-reader.ts";
import { pathBytes } from "../../../shared/repository/path-order.ts";
import {
  addIdentityOption,
  addKitOption,
  addStoreOptions,
  type IdentityOptions,
  type StoreOptions,
} from "../access.ts";
import { withCatalogue, withOperator } from "../catalogue-access.ts";
import type { PartsDocument } from "../documents.ts";
import { documentOfEntry, entryLine } from "../entry-line.ts";
import type { ExitCode } from "../exit-code.ts";
import { exitCodes } from "../exit-code.ts";
import * as format from "../format.ts";
import { printListing } from "../listing.ts";
import { withSnapshot } from "../operator-snapshot.ts";
import {
  parseRunAddress,
  passingOver,
  pathUnknown,
  resolveRun,
  resolveSnapshot,
  runArgument,
  type RunAddress,
} from "../run-address.ts";
import { describe, run, type Session } from "../session.ts";
import { table } from "../table.ts";

interface LsOptions extends StoreOptions, IdentityOptions {
  recursive?: boolean;
}

const example = `skep ls latest --kit skep-kit
skep ls latest:node2/pgdata:base --identity identity-anna.txt
skep ls 20261121:node2/www --recursive --json`;

export function register(program: Command): void {
  const command = program
    .command("ls")
    .argument(`<${runArgument}>`, "a run (latest, an id, its beginning), a volume in it, a path in that")
    .description("list the parts of a run, or what is in a volume")
    .option("-r, --recursive", "all that is below, not just what is in that folder");
  addIdentityOption(addStoreOptions(addKitOption(command)));
  run(describe(command, example), ls);
}

async function ls(session: Session, options: LsOptions, given: string): Promise<ExitCode> {
  const address = parseRunAddress(given);
  const { volume } = address;
  return volume === null
    ? await listParts(session, options, address)
    : await listEntries(session, options, { ...address, volume });
}

async function listParts(session: Session, options: LsOptions, address: RunAddress): Promise<ExitCode> {
  const { output } = session;
  return await withCatalogue(session, options, async ({ catalogue }) => {
    const found = await resolveRun(catalogue, address.run, passingOver(session));
    const { id, startedAt, parts } = found.run;
    const rows = parts.map(({ kind, name, nodeId, hostname, status, totals }) => {
      return { kind, name, nodeId, hostname, status, ...(totals === undefined ? {} : { totals }) };
    });
    const document: PartsDocument = { runId: id, takenAt: startedAt, parts: rows };
    output.document(document);
    output.print(
      table(
        output,
        [
          { head: "KIND", cell: ({ kind }) => kind },
          { head: "NAME", cell: ({ name }) => format.visible(name) },
          { head: "STATUS", cell: ({ status }) => status },
          { head: "FILES", cell: ({ totals }) => String(totals?.files ?? "-"), align: "right" },
          {
            head: "SIZE",
            cell: ({ totals }) => (totals === undefined ? "-" : format.bytes(totals.sourceBytes)),
            align: "right",
          },
        ],
        rows,
      ),
    );
    return exitCodes.done;
  });
}

async function listEntries(
  session: Session,
  options: LsOptions,
  address: RunAddress & { volume: NonNullable<RunAddress["volume"]> },
): Promise<ExitCode> {
  return await withOperator(session, options, async (opened) => {
    const found = await resolveSnapshot(session, opened.catalogue, address);
    return await withSnapshot(opened, found, session.signal, async (snapshot) => {
      const { nodeId, hostname, volume } = found.part;
      return await printListing<SnapshotEntry>(session, {
        head: {
          runId: found.run.id,
          takenAt: found.part.startedAt,
          volume: { nodeId, hostname, name: volume.name },
        },
        field: "entries",
        rows: listed(snapshot, address.path, options.recursive ?? false),
        toLine: entryLine,
        toDocument: documentOfEntry,
      });
    });
  });
}

/** What the path names and, of a folder, what is in it. Throws SKEP_PATH_UNKNOWN. */
async function* listed(snapshot: OpenedSnapshot, path: Buffer, recursive: boolean): AsyncGenerator<SnapshotEntry> {
  let isThere = false;
  const inFolder = path.length === 0 ? 0 : path.length + 1;
  for await (const entry of entriesBelow(snapshot, path)) {
    isThere = true;
    const here = pathBytes(entry.path, entry.pathBase64);
    if (recursive || here.length <= inFolder || !here.includes(0x2f, inFolder)) yield entry;
  }
  if (!isThere) throw pathUnknown(path, snapshot);
}
