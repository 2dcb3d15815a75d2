import { expect } from "chai";
import { backupDump } from "../../agent/backup-dump.ts";
import type { AgentContext } from "../../agent/context.ts";
import type { Docker } from "../../agent/docker.ts";
import type { TaskOf } from "../../shared/contract/job.ts";
import { deriveWriterKey, deriveWriterKeys } from "../../shared/repository/keys.ts";
import { makePlace, writerId } from "../shared/repository/snapshots.ts";

describe("a dump", () => {
  it("that has nowhere to run is a part that failed and names no files, and its agent goes on", async () => {
    const place = await makePlace();
    const { repositoryObject, controllerKey } = place.made;
    const { repositoryId, epoch } = repositoryObject;
    const writerKey = deriveWriterKey(Buffer.from(controllerKey.repositoryKey, "base64"), repositoryId, writerId);
    const volume = { Name: "data", Driver: "local", Mountpoint: "/data", Options: {}, Labels: {}, Scope: "local" };
    const docker: Partial<Docker> = {
      volume: () => Promise.resolve({ ...volume, Scope: "local" }),
      info: () => Promise.resolve({ Name: "node1" } as Awaited<ReturnType<Docker["info"]>>),
      containers: () => Promise.resolve([]),
    };
    const context = {
      ...{ docker, store: place.store, writerKeys: deriveWriterKeys(writerKey, repositoryId), writerId, epoch },
      ...{ repositoryId, incarnation: 1, stateDir: place.path },
    } as unknown as AgentContext;
    const task: TaskOf<"dump"> = {
      ...{ kind: "dump", runId: "20261121-030000-abc123", load: null, maxBytesPerSecond: 0 },
      command: { volume: "data", argv: ["/bin/dump"], container: null, user: null, timeoutSeconds: 60 },
    };
    const { signal } = new AbortController();
    const attempt = { jobId: "job", number: 1, signal, onProgress: () => undefined, isLast: true };
    try {
      const { part } = await backupDump(task, context, attempt);
      expect(part).to.include({ kind: "dump", name: "node1/data", status: "failed" });
      expect(part.error).to.include({ code: "SKEP_COMMAND_NO_CONTAINER", permanent: true });
      expect(part.manifest).to.equal(undefined);
    } finally {
      await place.remove();
    }
  });
});
