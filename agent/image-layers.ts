// Images share layers: what the engine has of an image's layers needs not be brought again. `docker load` looks for a layer
// by its content and that of those below it before it opens its file in the tar, and does without the file where it is
// there (moby image/tarexport/load.go, from 20.10 to 28). The containerd image store wants all files.
import { z } from "zod";
import { parseJsonText } from "../shared/json-text.ts";
import { allExtents, cutFile, type Stretch } from "../shared/repository/open/cut-file.ts";
import type { Snapshot, SnapshotEntry } from "../shared/repository/open/snapshot-reader.ts";
import type { Docker } from "./docker.ts";
import { indexImageTar, type ReadTar, type TarFile } from "./image-tar.ts";

const name = z.string().max(4096);
const manifestSchema = z.tuple([z.looseObject({ Config: name, Layers: z.array(name).max(1000) })]);
const configSchema = z.looseObject({ rootfs: z.looseObject({ diff_ids: z.array(name).max(1000) }) });
const mostJsonBytes = 8 * 1024 * 1024;

/** Digests of an image's layers, the lowest first (RootFS.Layers of the Engine API, diff_ids of the OCI image spec). */
type Layers = readonly string[];

/** The image's tar without the layers that the engine has; null where it has none of them, or wants all files. */
export async function withoutLayersThere(
  snapshot: Snapshot,
  entry: SnapshotEntry,
  docker: Docker,
  signal: AbortSignal,
): Promise<SnapshotEntry | null> {
  const there = await layersThere(docker, signal);
  if (there.length === 0) return null;
  const extents = await allExtents(snapshot, entry);
  const read: ReadTar = async (from, to) =>
    Buffer.concat(await Array.fromAsync(snapshot.content(cutFile(entry, extents, [[from, to]]))));
  const sizeBytes = entry.sizeBytes ?? 0;
  const files = await indexImageTar(read, sizeBytes);
  if (files === null) return null;
  const left = await filesThere(files, read, there);
  return left.length === 0 ? null : cutFile(entry, extents, stretchesWithout(left, sizeBytes));
}

/** Of all images of the engine; none where it keeps them otherwise. */
async function layersThere(docker: Docker, signal: AbortSignal): Promise<Layers[]> {
  const { DriverStatus } = await docker.info(signal);
  if (DriverStatus?.some(([key]) => key === "driver-type") === true) return [];
  const found: Layers[] = [];
  for (const { Id } of await docker.images(signal)) {
    const image = await docker.image(Id, signal);
    if (image?.RootFS?.Layers != null) found.push(image.RootFS.Layers);
  }
  return found;
}

/** Files of layers that are there, in their order; none where the tar is not of one image as docker writes it. */
async function filesThere(files: readonly TarFile[], read: ReadTar, there: readonly Layers[]): Promise<TarFile[]> {
  const json = async (wanted: string): Promise<unknown> => {
    const file = files.find((one) => one.name === wanted);
    if (file === undefined || file.sizeBytes > mostJsonBytes) return null;
    return parseJsonText((await read(file.contentAt, file.contentAt + file.sizeBytes)).toString("utf8"));
  };
  const manifest = manifestSchema.safeParse(await json("manifest.json"));
  if (!manifest.success) return [];
  const [{ Config, Layers: paths }] = manifest.data;
  const config = configSchema.safeParse(await json(Config));
  if (!config.success) return [];
  const names = pathsThere(paths, config.data.rootfs.diff_ids, there);
  return files.filter((file) => names.has(file.name));
}

/** Of the layers' files, those that a load does not open. Pure. */
export function pathsThere(paths: readonly string[], digests: Layers, there: readonly Layers[]): Set<string> {
  if (paths.length !== digests.length) return new Set();
  const shared = there.map((other) => {
    const differing = digests.findIndex((digest, index) => digest !== other[index]);
    return differing < 0 ? digests.length : differing;
  });
  const count = Math.max(0, ...shared);
  // One file may be that of several layers.
  const needed = new Set(paths.slice(count));
  return new Set(paths.slice(0, count).filter((path) => !needed.has(path)));
}

/** What is left of `sizeBytes` without these files and their headers. */
function stretchesWithout(files: readonly TarFile[], sizeBytes: number): Stretch[] {
  const stretches: Stretch[] = [];
  let from = 0;
  for (const { startsAt, endsAt } of files) {
    if (startsAt > from) stretches.push([from, startsAt]);
    from = endsAt;
  }
  stretches.push([from, sizeBytes]);
  return stretches;
}
