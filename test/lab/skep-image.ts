// Skep's own image, from this checkout, for a lab's nodes: the Dockerfile that users build, upon a base of this machine.
import { createHash, type Hash } from "node:crypto";
import { readdir, readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { layOutImageContext } from "../../deploy/image-context.ts";
import { skepVersion } from "../../shared/version.ts";
import { nodeImage, type LabImage } from "./image.ts";

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
  const hash = createHash("sha256");
  for (const source of sources) await hashTree(hash, join(projectRoot, source));
  const layOut = (folder: string) => layOutImageContext(folder, "linux/amd64");
  return [base, { kind: "built", tag, key: hash.digest("hex"), layOut, args: { BASE_IMAGE: base.tag } }];
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
