// Volumes on a node of the lab, for tests: made with Docker, filled on its disk, compared by what find and sha256sum say.
import { execFileSync } from "node:child_process";
import { mkdir, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import type { LabNode } from "../lab/node.ts";

export const volumesRoot = "/var/lib/docker/volumes";

/** Path on the host of the volume's content. */
export function volumePath(node: LabNode, volume: string): string {
  return node.hostPath(`${volumesRoot}/${volume}/_data`);
}

/** Makes the volume and writes `files` (path in the volume → content). */
export async function makeVolume(
  node: LabNode,
  volume: string,
  files: Readonly<Record<string, string | Uint8Array>>,
): Promise<void> {
  await node.run(["docker", "volume", "create", volume]);
  await writeFiles(volumePath(node, volume), files);
}

/** Every entry with type, mode, owner, time, size and target, and every file's SHA-256: equal trees, equal text. */
export async function describeTree(node: LabNode, volume: string): Promise<string> {
  const root = `${volumesRoot}/${volume}/_data`;
  const format = "%P %y %m %U:%G %T@ %s %l %n\\n";
  // A folder's size is its filesystem's matter.
  const folders = ["(", "-type", "d", "-printf", "%P d %m %U:%G %T@\\n", ")"];
  const entries = await node.run(["find", root, ...folders, "-o", "-printf", format]);
  const sums = await node.run(["find", root, "-type", "f", "-exec", "sha256sum", "{}", "+"]);
  const sorted = (text: string): string => text.split("\n").sort().join("\n");
  return `${sorted(entries)}\n${sorted(sums)}`;
}

/** Each entry with type, mode, owner, time to the nanosecond, target and size, and each file's SHA-256. */
export function listTree(folder: string): string {
  return execFileSync("bash", [
    "-c",
    `cd "$1"; find . -printf '%P|%y|%m|%U:%G|%.16T+|%l|%s\\n' | sort; find . -type f -print0 | sort -z | xargs -0r sha256sum`,
    "-",
    folder,
  ]).toString("latin1");
}

/** Files by their paths below `folder`, with the folders that they need. */
export async function writeFiles(folder: string, files: Readonly<Record<string, string | Uint8Array>>): Promise<void> {
  for (const [name, content] of Object.entries(files)) {
    const path = join(folder, name);
    await mkdir(dirname(path), { recursive: true });
    await writeFile(path, content);
  }
}
