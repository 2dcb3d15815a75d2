// How images get to many nodes fast: they are made once, on a builder, whose engine's layers are kept in the cache. A new
// node gets them as hard links before its engine starts for the first time (an engine never writes to a layer that is
// finished); only to an engine that runs already they are loaded the long way.
import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { mkdir, readdir, rename, rm, stat, utimes } from "node:fs/promises";
import { join } from "node:path";
import type { Suite } from "./apt-sources.ts";
import { command } from "./command.ts";
import { followProgress, makeImage, type LabImage } from "./image.ts";
import { withLock } from "./lock.ts";
import type { LabNode } from "./node.ts";
import { cacheFolder } from "./rootfs.ts";

/** What seeds are made with. */
export interface Seed {
  engine: Suite;
  /** Runs `work` on a running node that holds the images of `seed` and no others, and takes the node away afterwards. */
  withBuilder: (seed: string | null, work: (node: LabNode) => Promise<void>) => Promise<void>;
  say: (line: string) => void;
}

/** Folders of an engine's data root that hold its images. */
const imageFolders = ["overlay2", "image"];

/**
 * The folder with the layers of `images`, made in that order; makes it when the cache has none.
 * A seed of the list without its last, built image is kept as well: a change of sources then costs one build.
 */
export async function ensureSeed(images: readonly LabImage[], seed: Seed): Promise<string> {
  const { engine, withBuilder, say } = seed;
  const folder = join(cacheFolder(), `seed-${engine}-${await keyOf(images)}`);
  if (await touch(folder)) return folder;
  await mkdir(cacheFolder(), { recursive: true });
  const last = images.at(-1);
  const before = images.slice(0, -1);
  const parent = last?.kind === "built" && before.length > 0 ? await ensureSeed(before, seed) : null;
  return await withLock(`${folder}.lock`, async () => {
    if (await touch(folder)) return folder;
    const missing = parent === null ? images : images.slice(-1);
    say(`making ${missing.map((image) => image.tag).join(", ")}`);
    const building = `${folder}.building`;
    await rm(building, { recursive: true, force: true });
    await withBuilder(parent, async (node) => {
      for (const image of missing) await makeImage(node.docker, image);
      // Cleanly: an engine that was killed may owe the disk the end of a layer.
      await node.stop();
      await mkdir(building);
      await linkFolders(node.hostPath("/var/lib/docker"), building);
    });
    await rename(building, folder);
    await removeUnused();
    return folder;
  });
}

/** Gives the layers of `seed` to a node that is off and has no image. */
export async function plantSeed(seed: string, node: LabNode): Promise<void> {
  await linkFolders(seed, node.hostPath("/var/lib/docker"));
}

/** Loads `images` into engines that run already: some seconds a node. */
export async function loadImages(nodes: readonly LabNode[], images: readonly LabImage[], seed: Seed): Promise<void> {
  const folder = await ensureSeed(images, seed);
  const archive = `${folder}.tar`;
  await withLock(`${folder}.lock`, async () => {
    if (await touch(archive)) return;
    await seed.withBuilder(folder, async (node) => {
      const inside = "/var/lib/docker/images.tar";
      await node.run(["docker", "save", "--output", inside, ...images.map((image) => image.tag)]);
      await command(["mv", node.hostPath(inside), `${archive}.building`]);
    });
    await rename(`${archive}.building`, archive);
  });
  const what = images.map((image) => image.tag).join(", ");
  for (const node of nodes) await followProgress(what, await node.docker.loadImage(createReadStream(archive)));
}

/** The same for the same images: programs by path, size and time of change, sources by the key that came with them. */
async function keyOf(images: readonly LabImage[]): Promise<string> {
  const hash = createHash("sha256");
  for (const image of images) {
    const { kind, tag } = image;
    if (image.kind === "built") {
      hash.update(JSON.stringify([kind, tag, image.key, image.args]));
      continue;
    }
    hash.update(JSON.stringify([kind, tag, image.changes]));
    for (const [name, program] of Object.entries(image.programs)) {
      const { size, mtimeMs } = await stat(program);
      hash.update(JSON.stringify([name, program, size, mtimeMs]));
    }
  }
  return hash.digest("hex").slice(0, 16);
}

async function linkFolders(from: string, to: string): Promise<void> {
  const canLink = (await stat(from)).dev === (await stat(to)).dev;
  for (const name of imageFolders) {
    // image/ holds small files about the layers, some of which an engine changes.
    const how = name === "overlay2" && canLink ? "--link" : "--reflink=auto";
    await command(["cp", "--archive", how, join(from, name), join(to, name)]);
  }
}

/** Marks a thing in the cache as used now; false when it is not there. */
async function touch(path: string): Promise<boolean> {
  try {
    await utimes(path, new Date(), new Date());
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return false;
    throw error;
  }
}

/** Seeds that nobody asked for in two days: sources change often. */
async function removeUnused(): Promise<void> {
  const oldestMs = Date.now() - 2 * 24 * 3600 * 1000;
  for (const entry of await readdir(cacheFolder())) {
    if (!/^seed-\w+-[0-9a-f]+(\.tar)?$/.test(entry)) continue;
    const path = join(cacheFolder(), entry);
    if ((await stat(path)).mtimeMs < oldestMs) await rm(path, { recursive: true, force: true });
  }
}
