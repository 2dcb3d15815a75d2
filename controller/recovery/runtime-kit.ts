// What a bare machine needs to work for Skep: Node, the agent, the command, and what these are made of, as one tar.gz of
// which the hash is known. It is packed from the installation that runs: a checkout, or the image.
import { createHash } from "node:crypto";
import { createReadStream, createWriteStream } from "node:fs";
import { open, readdir, readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import { constants, createGzip } from "node:zlib";
import { pack, type Pack } from "tar-stream";
import { z } from "zod";
import { SkepError } from "../../shared/errors.ts";
import type { StoredKit } from "../../shared/repository/kit-list.ts";

export const projectRoot = join(import.meta.dirname, "..", "..");
const sourceFolders = ["agent", "controller", "shared"] as const;
/** `./skep` of an unpacked kit is the whole command. */
const launcher = `#!/bin/sh\nhere=$(CDPATH= cd -- "$(dirname -- "$0")" && pwd)\nexec "$here/bin/node" "$here/controller/cli/main.ts" "$@"\n`;
/** Not needed to run. */
const idleFiles = /\.(d\.[cm]?ts|map|md)$/;

export type KitArchitecture = StoredKit["architecture"];

export interface RuntimeKit {
  /** Of the file. */
  path: string;
  sizeBytes: number;
  /** SHA-256, hex. */
  sha256: string;
  architecture: KitArchitecture;
}

/** As Docker names a machine's architecture. Null for one that no kit is made for. */
export function kitArchitecture(engineArchitecture: string): KitArchitecture | null {
  if (engineArchitecture === "x86_64" || engineArchitecture === "amd64") return "x64";
  if (engineArchitecture === "aarch64" || engineArchitecture === "arm64") return "arm64";
  return null;
}

const lockSchema = z.object({
  packages: z.record(z.string(), z.object({ dev: z.boolean().optional(), devOptional: z.boolean().optional() })),
});

export interface KitParts {
  /** The program of Node for the machine. */
  nodePath: string;
  /** Folder with the production's node_modules for the machine. */
  modulesRoot: string;
  architecture: KitArchitecture;
}

export function ownParts(): KitParts {
  return {
    nodePath: process.execPath,
    modulesRoot: projectRoot,
    architecture: process.arch === "arm64" ? "arm64" : "x64",
  };
}

/** Writes the kit to `path`; where that fails, what is there is not whole. The same installation gives the same bytes. */
export async function packRuntimeKit(path: string, parts: KitParts, signal: AbortSignal): Promise<RuntimeKit> {
  signal.throwIfAborted();
  const tar = pack();
  // Level 1: most of it is Node's program, and a recovery waits for it.
  const gzip = createGzip({ level: constants.Z_BEST_SPEED });
  const writing = pipeline(tar, gzip, createWriteStream(path, { mode: 0o600 }), { signal });
  const filling = fill(tar, parts, signal).catch((error: unknown) => {
    tar.destroy(error instanceof Error ? error : new Error(String(error)));
    throw error;
  });
  const ended = await Promise.allSettled([filling, writing]);
  signal.throwIfAborted();
  for (const one of ended) if (one.status === "rejected") throw one.reason;
  const handle = await open(path, "r");
  try {
    await handle.sync();
    const hash = createHash("sha256");
    let sizeBytes = 0;
    for await (const piece of handle.createReadStream({ autoClose: false }) as AsyncIterable<Buffer>) {
      signal.throwIfAborted();
      hash.update(piece);
      sizeBytes += piece.length;
    }
    return { path, sizeBytes, sha256: hash.digest("hex"), architecture: parts.architecture };
  } finally {
    await handle.close();
  }
}

async function fill(tar: Pack, { nodePath, modulesRoot }: KitParts, signal: AbortSignal): Promise<void> {
  await addFile(tar, "bin/node", nodePath, 0o755);
  tar.entry({ ...plainHeader("skep", 0o755), size: launcher.length }, launcher);
  await addFile(tar, "package.json", join(projectRoot, "package.json"), 0o644);
  // With it an unpacked kit makes kits in its turn.
  await addFile(tar, "package-lock.json", join(modulesRoot, "package-lock.json"), 0o644);
  for (const folder of sourceFolders) await addTree(tar, folder, join(projectRoot, folder), signal);
  for (const folder of await productionModules(modulesRoot)) {
    await addTree(tar, folder, join(modulesRoot, folder), signal);
  }
  tar.finalize();
}

/** Folders below node_modules of what production needs, as far as they are there. */
async function productionModules(root: string): Promise<string[]> {
  const lock = lockSchema.parse(JSON.parse(await readFile(join(root, "package-lock.json"), "utf8")));
  const wanted = Object.entries(lock.packages)
    .filter(([folder, { dev, devOptional }]) => folder !== "" && dev !== true && devOptional !== true)
    .map(([folder]) => folder)
    .sort();
  const found: string[] = [];
  for (const folder of wanted) {
    // Prebuilt modules for other platforms are not installed.
    if ((await stat(join(root, folder)).catch(() => null)) !== null) found.push(folder);
  }
  if (found.length > 0) return found;
  throw new SkepError({
    code: "SKEP_RUNTIME_KIT_INCOMPLETE",
    message: `there are no modules in ${root}/node_modules to bring along`,
    permanent: true,
    hint: "npm ci --ignore-scripts",
  });
}

async function addTree(tar: Pack, name: string, folder: string, signal: AbortSignal): Promise<void> {
  signal.throwIfAborted();
  const entries = await readdir(folder, { withFileTypes: true });
  // A package within a package stands in the lock itself.
  const wanted = entries
    .filter((entry) => entry.name !== "node_modules")
    .filter((entry) => entry.isDirectory() || (entry.isFile() && !idleFiles.test(`${name}/${entry.name}`)))
    .sort((a, b) => (a.name < b.name ? -1 : 1));
  // Thousands of small files: those of a folder are read at once.
  const contents = await Promise.all(
    wanted.map(async (entry) => (entry.isFile() ? await readFile(join(folder, entry.name)) : null)),
  );
  for (const [index, { name: own }] of wanted.entries()) {
    const content = contents[index] ?? null;
    if (content === null) await addTree(tar, `${name}/${own}`, join(folder, own), signal);
    else await addContent(tar, `${name}/${own}`, content);
  }
}

async function addContent(tar: Pack, name: string, content: Uint8Array): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    const entry = tar.entry({ ...plainHeader(name, 0o644), size: content.length }, (error) => {
      if (error == null) resolve();
      else reject(error);
    });
    entry.end(content);
  });
}

async function addFile(tar: Pack, name: string, path: string, mode: number): Promise<void> {
  const { size } = await stat(path);
  await pipeline(createReadStream(path), tar.entry({ ...plainHeader(name, mode), size }));
}

function plainHeader(
  name: string,
  mode: number,
): { name: string; mode: number; mtime: Date; uid: number; gid: number } {
  return { name, mode, mtime: new Date(0), uid: 0, gid: 0 };
}
