// What was proven of a copy of a swarm's Raft state; kept in the run that the copy belongs to. docs/RAFT.md tells each.
import { z } from "zod";

const index = z.int().min(0);
const time = z.iso.datetime();

export const raftProofSchema = z.strictObject({
  /** Node id of the manager whose directory it is, and its Raft id (decimal, 63 bits). */
  nodeId: z.string().max(64),
  raftId: z.string().regex(/^\d{1,20}$/),
  /** Index of the snapshot file in the copy; 0 without one. */
  snapshotIndex: index,
  /** First and last index of the log after the snapshot; last = first - 1 where it is empty. */
  firstIndex: index,
  lastIndex: index,
  /** Up to here the manager's disk says "committed": snapshotIndex <= commitIndex <= lastIndex. */
  commitIndex: index,
  /** Term of the hard state. */
  term: index,
  /** The version that the write before the copy got: commitIndex is not below it. Null where none was made. */
  markerIndex: index.nullable(),
  /** WAL segments, and entry records seen in them. */
  segments: index,
  entries: index,
  /** Copies made until one could be proven. */
  attempts: z.int().min(1),
  /** Bytes of all files of the copy. */
  usedBytes: index,
  /** The key file is encrypted by an unlock key (autolock). */
  locked: z.boolean(),
  /** The key file was replaced while copying (rotation, renewal). */
  keyChangedDuringCopy: z.boolean(),
  /** True: every record was read with its CRC and its place in the log. */
  walked: z.boolean(),
  /** True: every entry was decrypted and replayed. False: the copy is well-formed, its content is unproven. */
  decrypted: z.boolean(),
  /** Objects by kind, where decrypted. */
  counts: z.record(z.string(), index).optional(),
  /** When the node's certificate ends: later, only a forced new cluster or a re-issued certificate starts. */
  certificateExpiresAt: time.optional(),
  /** Docker's version at the copy; in a run's proof, since the directory does not have it. */
  engineVersion: z.string().max(255).optional(),
});

export type RaftProof = z.infer<typeof raftProofSchema>;
