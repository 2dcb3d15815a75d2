// skep restore files: single files and folders of a volume, as they were, into a folder on this machine; or into a volume of
// a node, which is restore-into-volume.ts.
//
// Each is written beside its place, in a folder of its own, flushed, and then renamed: what stands under its name is
// whole, and nothing that was there is touched. Where this is not root, files belong to who restores them.
import { Option, type Command } from "commander";
import { lstat, mkdir, mkdtemp, rename, rm, rmdir } from "node:fs/promises";
import { join, resolve } from "node:path";
import { SkepError } from "../../shared/errors.ts";
import type { ManifestEntry } from "../../shared/repository/manifest.ts";
import { readSubtree, type SubtreeEntry } from "../../shared/repository/open/subtree.ts";
import type { Snapshot as OpenedSnapshot, SnapshotEntry } from "../../shared/repository/open/snapshot-reader.ts";
import { flushTree } from "../../shared/tree/tree-disk.ts";
import { writeTree, type WrittenTree } from "../../shared/tree/tree-writer.ts";
import { describeProgress, makeBoard } from "./board.ts";
import { withOperator } from "./catalogue-access.ts";
import type { RestoredFilesDocument } from "./restore-documents.ts";
import { showName } from "./entry-name.ts";
import { exitCodes, type ExitCode } from "./exit-code.ts";
import * as format from "./format.ts";
import { withSnapshot, type OpenedOperator } from "./operator-snapshot.ts";
import { restoreIntoVolume, type IntoOptions } from "./restore-into-volume.ts";
import { addPlaceOptions } from "./restore-options.ts";
import { parseVolumeOfRun, pathUnknown, resolveSnapshot } from "./run-address.ts";
import { describe, run, type Session } from "./session.ts";

interface FilesOptions extends Omit<IntoOptions, "into"> {
  to?: string;
  into?: string;
}

const example = `skep restore files latest:node2/www:htdocs/index.html --to . --identity identity-anna.txt
skep restore files 20261120:node2/pgdata:conf 20261120:node2/www --to /tmp/found
skep restore files latest:node2/www:htdocs latest:node2/www:conf --into node2/www --existing update
skep restore files latest:host1/www:htdocs --into host1/www --standalone --kit skep-kit`;

export function registerRestoreFiles(restore: Command): void {
  const files = restore
    .command("files")
    .argument("<run:node/volume[:path]...>", "files and folders, each by its run, volume and path")
    .description("restore single files and folders, into a folder on this machine or into a volume")
    .option("--to <folder>", "where to put them, each under its own name; made where it is missing")
    .option("--into <node/volume>", "or: into this volume as it is, each at its path, by the node's agent")
    .addOption(
      new Option("--existing <what>", "with --into: what becomes of files that are there and differ")
        .choices(["skip", "update", "fail"])
        .default("fail"),
    )
    .option("--stop", "with --into: hold the services that use the volume meanwhile")
    .option("--read-credentials <file>", "with --into: of the store, for the agent, where its own may only create")
    .option("--yes", "with --into: do it without being asked");
  addPlaceOptions(files);
  // The one argument that commander gives as a list.
  run(describe(files, example), (session, options: FilesOptions, addresses) =>
    restoreFiles(session, options, addresses as unknown as string[]),
  );
}

interface Wanted {
  address: ReturnType<typeof parseVolumeOfRun>;
  /** Its own in the folder: the path's last, or the volume's. */
  name: Buffer;
}

async function restoreFiles(session: Session, options: FilesOptions, given: readonly string[]): Promise<ExitCode> {
  const { to, into } = options;
  if (into !== undefined && to === undefined) return await restoreIntoVolume(session, { ...options, into }, given);
  if (to === undefined || into !== undefined) {
    throw new SkepError({
      code: "SKEP_CLI_USAGE",
      message: into === undefined ? "no place is named" : "two places are named",
      permanent: true,
      hint: "give --to FOLDER, on this machine, or --into NODE/VOLUME",
    });
  }
  const { output } = session;
  const wanted = given.map((text): Wanted => {
    const address = parseVolumeOfRun(text);
    const { path, volume } = address;
    return { address, name: path.length === 0 ? Buffer.from(volume.volume) : path.subarray(path.lastIndexOf("/") + 1) };
  });
  const folder = resolve(to);
  await makeRoom(folder, wanted);
  return await withOperator(session, options, async (opened) => {
    const document: RestoredFilesDocument = { to: folder, restored: [] };
    for (const one of wanted) document.restored.push(await restoreOne(session, opened, folder, one));
    output.document(document);
    for (const { target, files, restoredBytes, warnings } of document.restored) {
      output.print(`${target}  ${format.plural(files, "file")}, ${format.bytes(restoredBytes)}`);
      for (const { message } of warnings) output.warn(format.visible(message));
    }
    return document.restored.every(({ warnings }) => warnings.length === 0) ? exitCodes.done : exitCodes.partial;
  });
}

/** Makes the folder; throws where something is under one of the names already, or two have the same. */
async function makeRoom(folder: string, wanted: readonly Wanted[]): Promise<void> {
  try {
    await mkdir(folder, { recursive: true });
  } catch (error) {
    throw inTheWay(
      `the folder ${folder} cannot be made: ${error instanceof Error ? error.message : String(error)}`,
      error,
    );
  }
  const names = new Set<string>();
  for (const { name } of wanted) {
    const shown = showName(name);
    if (names.has(shown)) throw inTheWay(`two of the given are called ${JSON.stringify(shown)}`);
    names.add(shown);
    const found = await lstat(at(folder, name)).catch(() => null);
    if (found !== null) throw inTheWay(`there is a ${JSON.stringify(shown)} in ${folder} already`);
  }
}

function inTheWay(message: string, cause?: unknown): SkepError {
  return new SkepError({
    code: "SKEP_CLI_FILE_UNWRITABLE",
    message,
    permanent: true,
    hint: "nothing that is there is overwritten: name another folder with --to",
    cause,
  });
}

function at(folder: string, name: Buffer): Buffer {
  return Buffer.concat([Buffer.from(`${folder}/`), name]);
}

type Restored = RestoredFilesDocument["restored"][number];

async function restoreOne(
  session: Session,
  opened: OpenedOperator,
  folder: string,
  { address, name }: Wanted,
): Promise<Restored> {
  const { signal } = session;
  const found = await resolveSnapshot(session, opened.catalogue, address);
  const beside = await mkdtemp(join(folder, ".skep-restore-"));
  try {
    const { tree, leftOut } = await withSnapshot(opened, found, signal, (snapshot) =>
      writeBeside(session, snapshot, address.path, name, beside),
    );
    await flushTree(beside);
    signal.throwIfAborted();
    await rename(at(beside, name), at(folder, name));
    await rmdir(beside);
    const { files, directories, restoredBytes } = tree;
    return {
      runId: found.run.id,
      takenAt: found.part.startedAt,
      target: `${folder}/${showName(name)}`,
      files,
      directories,
      restoredBytes,
      warnings: [...tree.warnings, ...leftOut],
    };
  } catch (error) {
    await rm(beside, { recursive: true, force: true });
    throw error;
  }
}

interface FileEntry extends ManifestEntry {
  /** Null of the folder beside. */
  source: SnapshotEntry | null;
}

async function writeBeside(
  { output, signal }: Session,
  snapshot: OpenedSnapshot,
  path: Buffer,
  name: Buffer,
  beside: string,
): Promise<{ tree: WrittenTree; leftOut: Restored["warnings"] }> {
  const leftOut: Restored["warnings"] = [];
  const board = makeBoard(output);
  const title = `Restore ${showName(name)}`;
  const show = (state: "running" | "done" | "failed", bytes: number, files: number): void => {
    const { detail } = describeProgress({ phase: "restore", doneBytes: bytes, totalBytes: null, doneFiles: files });
    board.update(title, [{ id: title, label: showName(name), state, detail, share: null }]);
  };
  const source = {
    entries: moved(snapshot, path, name, leftOut),
    pieces: (entry: FileEntry) => (entry.source === null ? nothing() : snapshot.writablePieces(entry.source)),
  };
  let done = { bytes: 0, files: 0 };
  try {
    const tree = await writeTree<FileEntry>(beside, source, signal, (progress) => {
      done = progress;
      show("running", progress.bytes, progress.files);
    });
    show("done", tree.restoredBytes, tree.files);
    return { tree, leftOut };
  } catch (error) {
    show("failed", done.bytes, done.files);
    throw error;
  } finally {
    board.close();
  }
}

async function* nothing(): AsyncGenerator<never> {
  // A folder has no content.
}

/** The entries as they shall lie beside: below `name`, of owners that this process can give. Throws SKEP_PATH_UNKNOWN. */
async function* moved(
  snapshot: OpenedSnapshot,
  path: Buffer,
  name: Buffer,
  leftOut: Restored["warnings"],
): AsyncGenerator<FileEntry> {
  const owner = { uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 };
  const isRoot = owner.uid === 0;
  const now = `${BigInt(Date.now()) * 1_000_000n}`;
  yield { path: "", type: "directory", mode: 0o700, ...owner, mtimeNs: now, source: null };
  let isThere = false;
  for await (const subtreeEntry of readSubtree(snapshot, path)) {
    isThere = true;
    const entry = moveEntry(subtreeEntry, path, name);
    if (isRoot) {
      yield entry;
      continue;
    }
    if (entry.type === "character-device" || entry.type === "block-device") {
      const message = `the device ${showName(subtreeEntry.path)} was left out: only root makes devices`;
      leftOut.push({ code: "SKEP_RESTORE_DEVICE_LEFT_OUT", message });
      continue;
    }
    // A setuid program of another owner would be one of this user's.
    const isOwn = entry.uid === owner.uid && entry.gid === owner.gid;
    yield { ...entry, ...owner, mode: isOwn ? entry.mode : entry.mode & 0o1777 };
  }
  if (!isThere) throw pathUnknown(path, snapshot);
}

function moveEntry({ path: was, entry: source, linkTo }: SubtreeEntry, base: Buffer, name: Buffer): FileEntry {
  const place = (path: Buffer): string => {
    const below =
      base.length === 0 && path.length > 0 ? Buffer.concat([Buffer.from("/"), path]) : path.subarray(base.length);
    return Buffer.concat([name, below]).toString("base64");
  };
  const entry: FileEntry = { ...source, pathBase64: place(was), source };
  delete entry.path;
  delete entry.hardLinkTo;
  delete entry.hardLinkToBase64;
  return linkTo === null ? entry : { ...entry, hardLinkToBase64: place(linkTo) };
}
