// How images get to many nodes fast: they are made once, on a builder, whose engine's layers are kept in the cache. A new
// node gets them as hard links before its engine starts for the first time (an engine never writes to a layer that is
// finished); only to an engine that runs already they are loaded the long way.
import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { mkdir, readdir, rename, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import type { Suite } from "./apt-sources.ts";
import { cacheFolder, linkTree, removeUnused, touch } from "./cache.ts";
import { command } from "./command.ts";
import { baseLayout, followProgress, makeImage, type LabImage } from "./image.ts";
import { withLock } from "./lock.ts";
import type { LabNode } from "./node.ts";

/** What seeds are made with. */
export interface Seed {
  engine: Suite;
  /** Runs `work` on a running node that holds the images of `seed` and no others, and takes the node away afterwards. */
  withBuilder: (seed: string | null, work: (node: LabNode) => Promise<void>) => Promise<void>;
  say: (line: string) => void;
}

/**
 * The folder with the layers of `wanted`; makes it when the cache has none.
 * A seed of the list without its last image is kept as well, unless that is a base: a change of sources then costs one
 * build, and a Debian that few ask for costs the others nothing.
 */
export async function ensureSeed(wanted: readonly LabImage[], seed: Seed): Promise<string> {
  const images = inOrder(wanted);
  const { engine, withBuilder, say } = seed;
  const folder = join(cacheFolder(), `seed-${engine}-${await keyOf(images)}`);
  if (await touch(folder)) return folder;
  await mkdir(cacheFolder(), { recursive: true });
  const last = images.at(-1);
  const before = images.slice(0, -1);
  const parent =
    last !== undefined && last.kind !== "base" && before.length > 0 ? await ensureSeed(before, seed) : null;
  return await withLock(folder, async () => {
    if (await touch(folder)) return folder;
    const missing = parent === null ? images : images.slice(-1);
    say(`making ${missing.map((image) => image.tag).join(", ")}`);
    const building = `${folder}.building`;
    await rm(building, { recursive: true, force: true });
    await withBuilder(parent, async (node) => {
      for (const image of missing) await makeImage(node.docker, image, say);
      // Cleanly: an engine that was killed may owe the disk the end of a layer.
      await node.stop();
      await mkdir(building);
      await keepLayers(node.hostPath("/var/lib/docker"), parent, building);
    });
    await rename(building, folder);
    // Sources change often.
    await removeUnused(/^seed-\w+-[0-9a-f]+(\.tar)?$/, 0.5);
    return folder;
  });
}

/** Bases first, by name, so that the same images make the same seed in whatever order they are named; then what is built on them. */
function inOrder(images: readonly LabImage[]): LabImage[] {
  const bases = images.filter((image) => image.kind === "base").sort((a, b) => (a.tag < b.tag ? -1 : 1));
  const of = (kind: LabImage["kind"]) => images.filter((image) => image.kind === kind);
  return [...bases, ...of("built"), ...of("debian")];
}

/** Gives the layers of `seed` to a node that is off and has no image. */
export async function plantSeed(seed: string, node: LabNode): Promise<void> {
  const dataRoot = node.hostPath("/var/lib/docker");
  await linkTree(join(seed, "overlay2"), join(dataRoot, "overlay2"));
  // Small files about the layers, some of which an engine changes.
  await command(["cp", "--archive", join(seed, "image"), join(dataRoot, "image")]);
}

/** Loads `images` into engines that run already: some seconds a node. */
export async function loadImages(nodes: readonly LabNode[], images: readonly LabImage[], seed: Seed): Promise<void> {
  const folder = await ensureSeed(images, seed);
  const archive = `${folder}.tar`;
  await withLock(folder, async () => {
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
    if (image.kind === "debian") {
      hash.update(JSON.stringify([kind, tag, image.changes, image.recipe]));
      continue;
    }
    hash.update(JSON.stringify([kind, tag, image.changes, baseLayout]));
    for (const [name, program] of Object.entries(image.programs)) {
      const { size, mtimeMs } = await stat(program);
      hash.update(JSON.stringify([name, program, size, mtimeMs]));
    }
  }
  return hash.digest("hex").slice(0, 16);
}

/** Keeps the layers of an engine that is off as seed `to`; those that `parent` has already are linked from there. */
async function keepLayers(dataRoot: string, parent: string | null, to: string): Promise<void> {
  const known = parent === null ? [] : await readdir(join(parent, "overlay2"));
  const layers = (await readdir(join(dataRoot, "overlay2"))).filter((name) => name !== "l");
  const target = join(to, "overlay2");
  await mkdir(target);
  const sources = (from: string, names: string[]) => names.map((name) => join(from, "overlay2", name));
  const inherited =
    parent === null
      ? []
      : sources(
          parent,
          layers.filter((name) => known.includes(name)),
        );
  const added = sources(dataRoot, ["l", ...layers.filter((name) => !known.includes(name))]);
  if (inherited.length > 0) await command(["cp", "--archive", "--link", "--target-directory", target, ...inherited]);
  await command(["cp", "--archive", "--target-directory", target, ...added]);
  await command(["cp", "--archive", join(dataRoot, "image"), join(to, "image")]);
}
