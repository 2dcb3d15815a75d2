// A copy that was taken amid a quiesce: Skep held the service `db`, of two replicas, when it was made.
import type { OpenedArchive } from "../../../shared/raft/archive-layout.ts";
import { encodeHoldRecord, holdLabels } from "../../../shared/contract/hold-record.ts";
import { sealRecord } from "../../../shared/raft/sealed-record.ts";
import { memoryFiles } from "../../../shared/raft/swarm-files.ts";
import type { Message, MessageInit } from "../../../shared/raft/swarmkit/message-types.ts";
import { dek, plainWal, request, syntheticSwarm } from "../../shared/raft/synthetic-swarm.ts";

const openRecord = "aaaaaaaaaaaa";
export const closedRecord = "bbbbbbbbbbbb";

/** As the engine's API shows it. */
const formerSpec = {
  Name: "db",
  Mode: { Replicated: { Replicas: 2 } },
  TaskTemplate: { ContainerSpec: { Image: "db:1", Isolation: "default" }, ForceUpdate: 0, Runtime: "container" },
};

/** `commitIndex`: 6 has the hold, 5 leaves its entry to those that are newer. Configs have the ids `configRECORD`. */
export async function copiedAmidQuiesce(commitIndex: 5 | 6): Promise<OpenedArchive> {
  const mode = { case: "replicated" as const, value: { replicas: 0n } };
  const task = { runtime: { case: "container" as const, value: { image: "db:1" } } };
  const entry = request(6, [
    { case: "service", value: { id: "service1", spec: { annotations: { name: "db" }, mode, task } } },
    { case: "config", value: record(openRecord, {}) },
    { case: "config", value: record(closedRecord, { [holdLabels.releasedAt]: "2026-11-26T02:00:00.000Z" }) },
  ]);
  const wal = plainWal(5).entry(6, sealRecord(entry, dek)).state(commitIndex);
  const files = memoryFiles(await syntheticSwarm(wal.finish()));
  return { files, unlockKey: null, facts: null, close: () => Promise.resolve() };
}

function record(holdId: string, labels: Record<string, string>): MessageInit<Message<"Config">> {
  const data = encodeHoldRecord({
    ...{ version: 1, holdId, serviceId: "service1", former: formerSpec, previous: null, updateStatus: null },
    ...{ deadlineAt: "2026-11-27T02:00:00.000Z", serviceVersion: holdId === openRecord ? 5 : 4 },
  });
  const annotations = { name: holdId, labels: { [holdLabels.hold]: holdId, ...labels } };
  return { id: `config${holdId}`, spec: { annotations, data } };
}
