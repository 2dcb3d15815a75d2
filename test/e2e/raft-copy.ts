// A proven copy of the Raft state of a lab's manager, as an agent takes it, opened.
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { takeRaftCopy } from "../../agent/source/raft.ts";
import { copiedFiles, type CopiedFile } from "../../shared/raft/copied-file.ts";
import { openSwarm, type OpenedSwarm } from "../../shared/raft/open-swarm.ts";
import type { LabNode } from "../lab/node.ts";
import { markerWrite } from "./rich-swarm.ts";

export async function openRaftCopy(node: LabNode): Promise<OpenedSwarm> {
  return await withCopy(node, (files) => openSwarm(copiedFiles(files)));
}

/** Laid down as a swarm directory; `folder` is made. */
export async function saveRaftCopy(node: LabNode, folder: string): Promise<void> {
  await withCopy(node, async (files) => {
    for (const file of files) {
      const path = join(folder, file.path);
      await mkdir(dirname(path), { recursive: true });
      await writeFile(path, file.content(), { mode: file.mode });
    }
  });
}

async function withCopy<T>(node: LabNode, use: (files: CopiedFile[]) => Promise<T>): Promise<T> {
  const stagingDirectory = await mkdtemp(join(tmpdir(), "skep-raft-copy-"));
  try {
    const { files } = await takeRaftCopy({
      swarmDirectory: node.hostPath("/var/lib/docker/swarm"),
      stagingDirectory,
      markerWrite: () => markerWrite(node),
      signal: new AbortController().signal,
    });
    return await use([...files]);
  } finally {
    await rm(stagingDirectory, { recursive: true });
  }
}
