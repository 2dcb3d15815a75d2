// A proven copy of the Raft state of a lab's manager, as an agent takes it, opened.
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { takeRaftCopy } from "../../agent/source/raft.ts";
import { copiedFiles } from "../../shared/raft/copied-file.ts";
import { openSwarm, type OpenedSwarm } from "../../shared/raft/open-swarm.ts";
import type { LabNode } from "../lab/node.ts";
import { markerWrite } from "./rich-swarm.ts";

export async function openRaftCopy(node: LabNode): Promise<OpenedSwarm> {
  const stagingDirectory = await mkdtemp(join(tmpdir(), "skep-raft-copy-"));
  try {
    const { files } = await takeRaftCopy({
      swarmDirectory: node.hostPath("/var/lib/docker/swarm"),
      stagingDirectory,
      markerWrite: () => markerWrite(node),
      signal: new AbortController().signal,
    });
    return await openSwarm(copiedFiles(files));
  } finally {
    await rm(stagingDirectory, { recursive: true });
  }
}
