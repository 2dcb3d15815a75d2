import { expect } from "chai";
import { backupVolume } from "../../agent/backup-volume.ts";
import type { AgentContext } from "../../agent/context.ts";
import { connectDocker } from "../../agent/docker.ts";
import { Journal } from "../../agent/journal.ts";
import { Watches } from "../../agent/quiesce/watches.ts";
import { Moments } from "../../agent/moment/moments.ts";
import type { Job, TaskOf } from "../../shared/contract/job.ts";

describe("the backup of a volume", () => {
  it("lets go the moment that a pause kept for it, though it fails before it reads", async () => {
    const journal = new Journal(":memory:");
    const moments = new Moments(journal);
    let removed = 0;
    const remove = (): Promise<null> => {
      removed++;
      return Promise.resolve(null);
    };
    const walk = (): never => expect.fail("nothing is read");
    moments.keep("0123456789ab", "data", { how: "reflink", tookMs: 1, root: null, walk, remove }, Infinity);
    const task: TaskOf<"volume"> = {
      ...{ kind: "volume", runId: "20261121-030000-abc123", volume: "data", maxBytesPerSecond: 0, excludePaths: [] },
      quiet: { how: "pause", id: "0123456789ab" },
    };
    const attempt = { jobId: "job", number: 1, signal: new AbortController().signal, onProgress: () => undefined };
    const context = { docker: connectDocker("/nowhere/docker.sock"), mountedAt: null } as unknown as AgentContext;
    const tools = { journal, moments, watches: new Watches() };
    const thrown: unknown = await backupVolume({} as Job, task, context, tools, attempt).catch(
      (error: unknown) => error,
    );
    expect(thrown).to.have.property("code", "SKEP_DOCKER_UNREACHABLE");
    expect(removed).to.equal(1);
    journal.close();
  });
});
