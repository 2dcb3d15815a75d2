// Refs: what one snapshot needs (the chunks of its files and of its manifest), so that catalogue, check and
// prune work without an identity, and a restore fetches just the ranges that it wants. JSON lines, sealed by
// the writer: one header, then a line for each pack, ordered by pack.
import { z } from "zod";
import { digestPattern, runIdPattern, writerIdPattern } from "./layout.ts";

const bytes = z.int().min(0);

/** [chunk name, offset of its zstd frame in the pack's plaintext, frame length, plain length] */
export const packedChunkSchema = z.tuple([z.string().regex(digestPattern), bytes, bytes, bytes]);
export type PackedChunk = z.infer<typeof packedChunkSchema>;

export const refsHeaderSchema = z.strictObject({
  format: z.literal(1),
  runId: z.string().regex(runIdPattern),
  writerId: z.string().regex(writerIdPattern),
  packs: z.int().min(0),
  chunks: z.int().min(0),
  /** Plain bytes of all chunks. */
  plainBytes: bytes,
});

export const packRefSchema = z.strictObject({
  pack: z.string().regex(digestPattern),
  /** Of the whole age file. */
  sizeBytes: bytes,
  /** Length of the age header; the 16-byte payload nonce and the sealed pieces follow. */
  headerBytes: bytes,
  /** In order of offset. */
  chunks: z.array(packedChunkSchema).min(1),
});
export type PackRef = z.infer<typeof packRefSchema>;
/** An index object has the same lines; it lists all chunks of the packs that one writer made since its last. */
export type IndexLine = PackRef;
