// What was proven of a copy of a swarm's Raft state; kept in the run that the copy belongs to.
import { z } from "zod";

const index = z.number().int().min(0);

export const raftProofSchema = z.strictObject({
  /** Node id and Raft id (decimal, 63 bits) of the manager whose directory it is. */
  nodeId: z.string().max(64),
  raftId: z.string().regex(/^\d{1,20}$/),
  /** Index of the snapshot file in the copy; 0 without one. */
  snapshotIndex: index,
  /** First and last index of the log after the snapshot; last = first - 1 where it is empty. */
  firstIndex: index,
  lastIndex: index,
  /** Up to here the manager's disk says "committed": `snapshotIndex <= commitIndex <= lastIndex`. */
  commitIndex: index,
  /** Term of the hard state. */
  term: index,
  /** WAL segments, and entry records seen in them. */
  segments: index,
  entries: index,
  /** Every record was read with its CRC and its place in the log. */
  walked: z.literal(true),
  /** Every entry after the snapshot was decrypted and parsed as well. */
  decrypted: z.boolean(),
  /** True where the key file is encrypted by an unlock key (autolock). */
  locked: z.boolean(),
  /** The key file was replaced between the start and the end of the copy (rotation, renewal). */
  keyChangedDuringCopy: z.boolean(),
  /** Copies made until one could be proven. */
  attempts: z.number().int().min(1),
  /** Bytes of all files of the copy. */
  usedBytes: index,
  /** The version that the write before the copy got; commitIndex is not below it. Absent where none was made. */
  markerIndex: index.optional(),
});

export type RaftProof = z.infer<typeof raftProofSchema>;
