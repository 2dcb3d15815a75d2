// What a standalone command orders of an agent, whatever the task.
import type { Task } from "../../../../shared/contract/job.ts";
import type { OnceInput } from "../../../../shared/contract/once.ts";

export const sampleWriterKey = Buffer.alloc(32, 7).toString("base64");

export const sampleInput = (task: Task): OnceInput => ({
  job: {
    version: 1,
    id: "once-1",
    repositoryId: "ab".repeat(16),
    incarnation: 1,
    target: { kind: "node", nodeId: "node1id" },
    issuedAt: "2026-11-21T03:00:00.000Z",
    expiresAt: "2026-11-22T03:00:00.000Z",
    maxAttempts: 1,
    task,
  },
  writerId: "node1id",
  writerKey: sampleWriterKey,
  epoch: { number: 1, recipient: `age1${"q".repeat(58)}` },
  store: { url: "file:///srv/backups" },
  credentials: null,
  hostRoot: "/",
  stateDir: "/var/lib/skep",
  dockerSocket: "/var/run/docker.sock",
});
