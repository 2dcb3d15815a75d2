// skep export: a volume, or something in it, as a tar stream with all its metadata.
import type { Command } from "commander";
import { once } from "node:events";
import { open, unlink } from "node:fs/promises";
import { SkepError } from "../../../shared/errors.ts";
import { readSubtree, type SubtreeEntry } from "../../../shared/repository/open/subtree.ts";
import type { Snapshot as OpenedSnapshot } from "../../../shared/repository/open/snapshot-reader.ts";
import {
  addIdentityOption,
  addKitOption,
  addStoreOptions,
  type IdentityOptions,
  type StoreOptions,
} from "../access.ts";
import { withOperator } from "../catalogue-access.ts";
import type { ExportDocument } from "../documents.ts";
import { exitCodes, type ExitCode } from "../exit-code.ts";
import * as format from "../format.ts";
import { withSnapshot } from "../operator-snapshot.ts";
import { parseVolumeOfRun, pathUnknown, resolveSnapshot } from "../run-address.ts";
import { describe, run, type Session } from "../session.ts";
import { exportTar, type ExportTotals } from "../tar-export.ts";

interface ExportOptions extends StoreOptions, IdentityOptions {
  out?: string;
  /** False with --no-sparse. */
  sparse: boolean;
}

const example = `skep export latest:node2/pgdata --identity identity-anna.txt | tar t
skep export 20261121:node2/www:htdocs --out htdocs.tar`;

export function register(program: Command): void {
  const command = program
    .command("export")
    .argument("<run:node/volume[:path]>", "a volume of a run, or a path in it")
    .description("write a volume, or what is at a path of it, as a tar to standard output")
    .option("--out <file>", "to this file, which is not there yet, instead of standard output")
    .option("--no-sparse", "holes as the zeros that they read as, for a tar that knows no sparse files");
  addIdentityOption(addStoreOptions(addKitOption(command)));
  run(describe(command, example), exportVolume);
}

async function exportVolume(session: Session, options: ExportOptions, given: string): Promise<ExitCode> {
  const address = parseVolumeOfRun(given);
  const { output, signal } = session;
  if (options.out === undefined && (output.json || process.stdout.isTTY)) {
    throw new SkepError({
      code: "SKEP_CLI_USAGE",
      message: output.json
        ? "with --json standard output has the document, so the tar needs --out FILE"
        : "standard output is a terminal, and a tar is no text",
      permanent: true,
      hint: "skep export … | tar x, or skep export … --out FILE",
    });
  }
  return await withOperator(session, options, async (opened) => {
    const found = await resolveSnapshot(session, opened.catalogue, address);
    const totals: ExportTotals = { entries: 0, files: 0, tarBytes: 0 };
    await withSnapshot(opened, found, signal, async (snapshot) => {
      const entries = existing(snapshot, address.path);
      const tar = exportTar(snapshot, entries, { holes: options.sparse }, totals);
      await (options.out === undefined ? writeToStdout(tar, signal) : writeToFile(tar, options.out, signal));
    });
    const document: ExportDocument = { runId: found.run.id, out: options.out ?? null, ...totals };
    output.document(document);
    const size = `${format.plural(totals.files, "file")}, ${format.bytes(totals.tarBytes)} of tar`;
    output.say(`${format.plural(totals.entries, "entry", "entries")} exported from run ${found.run.id}: ${size}`);
    return exitCodes.done;
  });
}

/** Throws SKEP_PATH_UNKNOWN before the first byte is written. */
async function* existing(snapshot: OpenedSnapshot, path: Buffer): AsyncGenerator<SubtreeEntry> {
  let isThere = false;
  for await (const entry of readSubtree(snapshot, path)) {
    isThere = true;
    yield entry;
  }
  if (!isThere) throw pathUnknown(path, snapshot);
}

async function writeToStdout(tar: AsyncIterable<Uint8Array>, signal: AbortSignal): Promise<void> {
  for await (const bytes of tar) {
    signal.throwIfAborted();
    if (!process.stdout.write(bytes)) await once(process.stdout, "drain", { signal });
  }
}

/** A file that is not whole is not left behind. */
async function writeToFile(tar: AsyncIterable<Uint8Array>, path: string, signal: AbortSignal): Promise<void> {
  const file = await open(path, "wx", 0o600).catch((error: unknown) => {
    throw unwritable(path, error);
  });
  try {
    await file.writeFile(tar, { signal });
    await file.sync();
  } catch (error) {
    await unlink(path);
    throw error instanceof SkepError || signal.aborted ? error : unwritable(path, error);
  } finally {
    await file.close();
  }
}

function unwritable(path: string, error: unknown): SkepError {
  return new SkepError({
    code: "SKEP_CLI_FILE_UNWRITABLE",
    message: `${path} cannot be written: ${error instanceof Error ? error.message : String(error)}`,
    permanent: true,
    hint: "name a file that is not there yet, on a disk with room",
    cause: error,
  });
}
