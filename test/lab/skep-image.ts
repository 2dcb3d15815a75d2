// Skep's own image, from this checkout, for a lab's nodes: the Dockerfile that users build, upon a base of this machine.
import { createHash, type Hash } from "node:crypto";
import { copyFile, mkdir, readdir, readFile, rename, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { installModules, layOutSources } from "../../deploy/image-context.ts";
import { skepVersion } from "../../shared/version.ts";
import { cacheFolder, linkTree, removeUnused, touch } from "./cache.ts";
import { nodeImage, type LabImage } from "./image.ts";
import { withLock } from "./lock.ts";

const projectRoot = join(import.meta.dirname, "../..");
const sources = [
  "agent",
  "controller",
  "shared",
  "deploy",
  "package.json",
  "package-lock.json",
  "LICENSE",
  "stack.yml",
];

/** The base and, on it, `tag`. */
export async function skepImages(tag = `skep:${skepVersion}`): Promise<LabImage[]> {
  const base = nodeImage();
  const key = await hashOf(sources);
  return [base, { kind: "built", tag, key, layOut, args: { BASE_IMAGE: base.tag } }];
}

async function layOut(folder: string): Promise<void> {
  await layOutSources(folder);
  await linkTree(join(await ensureModules(), "node_modules"), join(folder, "node_modules"));
}

/** A folder with the image's node_modules: npm takes its seconds once for each package-lock.json, not for each change of a source. */
async function ensureModules(): Promise<string> {
  const lockFiles = ["package.json", "package-lock.json"];
  const folder = join(cacheFolder(), `modules-${(await hashOf(lockFiles)).slice(0, 16)}`);
  await mkdir(cacheFolder(), { recursive: true });
  return await withLock(folder, async () => {
    if (await touch(folder)) return folder;
    const building = `${folder}.building`;
    await rm(building, { recursive: true, force: true });
    await mkdir(building);
    for (const file of lockFiles) await copyFile(join(projectRoot, file), join(building, file));
    await installModules(building, "linux/amd64");
    await rename(building, folder);
    await removeUnused(/^modules-[0-9a-f]+$/, 14);
    return folder;
  });
}

async function hashOf(paths: readonly string[]): Promise<string> {
  const hash = createHash("sha256");
  for (const path of paths) await hashTree(hash, join(projectRoot, path));
  return hash.digest("hex");
}

async function hashTree(hash: Hash, path: string): Promise<void> {
  if ((await stat(path)).isDirectory()) {
    for (const entry of (await readdir(path)).sort()) await hashTree(hash, join(path, entry));
    return;
  }
  hash
    .update(JSON.stringify(path.slice(projectRoot.length)))
    .update(await readFile(path))
    .update("\0");
}
