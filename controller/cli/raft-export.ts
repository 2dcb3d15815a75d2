// A swarm's objects as files for version control: a folder for each kind with a JSON file for each object, and `compose/` with a
// folder for each stack. An export into a folder that is there (a git checkout) replaces what the export before wrote, as
// `skep-export.json` lists it, and touches no other file.
import { lstat, mkdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { z } from "zod";
import { SkepError } from "../../shared/errors.ts";
import { engineJson } from "../../shared/raft/engine-api/objects.ts";
import { objectKinds, type ObjectKind } from "../../shared/raft/object-store.ts";
import type { OpenedSwarm } from "../../shared/raft/open-swarm.ts";
import { composeFiles } from "../compose/compose-files.ts";
import { copiedObjects } from "../objects/copied-objects.ts";

export interface SwarmExport {
  /** By path below the folder, with `/`. */
  files: Map<string, Uint8Array>;
  objects: number;
  stacks: { stack: string | null; file: string; cannot: string[] }[];
}

/** `tasks`: tasks too, which come and go by themselves. */
export function exportSwarm(swarm: OpenedSwarm, options: { reveal: boolean; tasks: boolean }): SwarmExport {
  const made: SwarmExport = { files: new Map(), objects: 0, stacks: [] };
  for (const kind of objectKinds) {
    if (kind === "task" && !options.tasks) continue;
    made.objects += exportKind(swarm, kind, made.files, options.reveal);
  }
  for (const { stack, folder, text, files, cannot } of composeFiles(copiedObjects(swarm.state), options.reveal)) {
    const file = `compose/${folder}/compose.yml`;
    made.files.set(file, Buffer.from(text));
    for (const { path, bytes } of files) made.files.set(`compose/${folder}/${path}`, bytes);
    made.stacks.push({ stack, file, cannot });
  }
  return made;
}

function exportKind(swarm: OpenedSwarm, kind: ObjectKind, files: SwarmExport["files"], reveal: boolean): number {
  const heads = swarm.list(kind);
  const names = new Map<string, number>();
  for (const { name } of heads) names.set(name, (names.get(name) ?? 0) + 1);
  for (const { id, name } of heads) {
    const bytes = swarm.state.store.objects[kind].get(id);
    if (bytes === undefined) continue;
    // Names stay the same from one export to the next, ids do not: version control then shows the change.
    const usable = /^[A-Za-z0-9][\w.-]{0,200}$/.test(name) && names.get(name) === 1;
    const text = `${JSON.stringify(engineJson(kind, bytes, reveal), null, 2)}\n`;
    files.set(`${kind}/${usable ? name : id}.json`, Buffer.from(text));
  }
  return heads.length;
}

export const exportListName = "skep-export.json";

const listSchema = z.strictObject({
  format: z.literal(1),
  /** Paths below the folder, sorted. */
  files: z.array(z.string().max(4096)).max(1_000_000),
});
const ownFolders = new Set<string>([...objectKinds, "compose"]);

/**
 * `update`: the folder is there; else it is made. One that was killed is completed by a call with `update`. Throws
 * SKEP_CLI_FILE_UNWRITABLE, also where a file is in the way that no export wrote; then nothing was changed.
 */
export async function writeExport(
  folder: string,
  files: ReadonlyMap<string, Uint8Array>,
  update: boolean,
): Promise<void> {
  try {
    if (update) await refuseForeign(folder, "", "folder");
    else await mkdir(folder, { mode: 0o700 });
    const former = new Set(await readList(folder));
    for (const path of files.keys()) {
      if (!former.has(path) && (await isThere(join(folder, path)))) throw inTheWay(folder, path);
      await refuseLinks(folder, path);
    }
    // What this call may leave behind when it is killed is listed before it is written.
    await writeList(folder, [...former, ...files.keys()]);
    for (const [path, bytes] of files) await replaceFile(folder, path, bytes);
    for (const path of former) {
      if (files.has(path)) continue;
      await rm(join(folder, path), { force: true });
    }
    await writeList(folder, [...files.keys()]);
  } catch (error) {
    if (error instanceof SkepError) throw error;
    throw unwritable(folder, error instanceof Error ? error.message : String(error), error);
  }
}

async function readList(folder: string): Promise<string[]> {
  const path = join(folder, exportListName);
  if (!(await isThere(path))) return [];
  let value: unknown;
  try {
    value = JSON.parse(await readFile(path, "utf8"));
  } catch {
    value = undefined;
  }
  const parsed = listSchema.safeParse(value);
  const isOwn = (file: string): boolean => {
    const [top = "", ...below] = file.split("/");
    return ownFolders.has(top) && below.length > 0 && below.every((name) => !["", ".", ".."].includes(name));
  };
  if (parsed.success && parsed.data.files.every(isOwn)) {
    for (const file of parsed.data.files) await refuseLinks(folder, file);
    return parsed.data.files;
  }
  throw unwritable(folder, `${exportListName} in it is no list of an export`);
}

async function writeList(folder: string, files: readonly string[]): Promise<void> {
  const sorted = [...new Set(files)].sort();
  await replaceFile(folder, exportListName, Buffer.from(`${JSON.stringify({ format: 1, files: sorted }, null, 2)}\n`));
}

/** What is being written, until it gets its name: no object's file lies at the top of the folder, so it is nobody's. */
const partialName = ".skep-export.partial";

async function replaceFile(folder: string, path: string, bytes: Uint8Array): Promise<void> {
  const [whole, partial] = [join(folder, path), join(folder, partialName)];
  await mkdir(dirname(whole), { recursive: true, mode: 0o700 });
  // Left by a call that was killed, or a link, which goes itself and not what it leads to.
  await rm(partial, { force: true });
  await writeFile(partial, bytes, { mode: 0o600, flag: "wx" });
  await rename(partial, whole);
}

/** A link among the folders would lead out of the export. */
async function refuseLinks(folder: string, path: string): Promise<void> {
  const names = path.split("/").slice(0, -1);
  for (const [at] of names.entries()) await refuseForeign(folder, names.slice(0, at + 1).join("/"), "below");
}

async function refuseForeign(folder: string, below: string, what: "folder" | "below"): Promise<void> {
  const path = join(folder, below);
  const found = await lstat(path).catch(() => null);
  if (found?.isDirectory() === true || (found === null && what === "below")) return;
  throw unwritable(path, found === null ? "it is not there" : "it is no folder");
}

async function isThere(path: string): Promise<boolean> {
  return (await lstat(path).catch(() => null)) !== null;
}

function inTheWay(folder: string, path: string): SkepError {
  return unwritable(join(folder, path), "it is there, and no export wrote it");
}

function unwritable(path: string, why: string, cause?: unknown): SkepError {
  return new SkepError({
    code: "SKEP_CLI_FILE_UNWRITABLE",
    message: `the export to ${path} cannot be written: ${why}`,
    permanent: true,
    hint: "name a folder that is not there yet, or with --update one that an export, or a git checkout, made",
    cause,
  });
}
