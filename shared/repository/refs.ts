// Refs: what one snapshot needs (the chunks of its files and of its manifest), so that catalogue, check and
// prune work without an identity, and a restore fetches just the ranges that it wants. JSON lines, sealed by
// the writer: one header, then a line for each pack. Where that would be more than some MiB, the header names pages,
// sealed objects of the same type that hold the lines instead. An index object has such lines, and no header.
import { z } from "zod";
import { SkepError } from "../errors.ts";
import { shapeFaults } from "../fault-list.ts";
import { digestPattern, objectIdPattern, repositoryIdPattern, runIdPattern, writerIdPattern } from "./layout.ts";

const bytes = z.int().min(0);

/** [chunk name, offset of its zstd frame in the pack's plaintext, frame length, plain length] */
export const packedChunkSchema = z.tuple([z.string().regex(digestPattern), bytes, bytes, bytes]);
export type PackedChunk = z.infer<typeof packedChunkSchema>;

export const refsHeaderSchema = z.strictObject({
  format: z.literal(1),
  repositoryId: z.string().regex(repositoryIdPattern),
  runId: z.string().regex(runIdPattern),
  writerId: z.string().regex(writerIdPattern),
  packs: z.int().min(0),
  chunks: z.int().min(0),
  /** Plain bytes of all chunks. */
  plainBytes: bytes,
  /** In order; empty where the lines follow. `object` is that of the page's key refs/<run>/<object>. */
  pages: z.array(
    z.strictObject({
      object: z.string().regex(objectIdPattern),
      sizeBytes: bytes,
      digest: z.string().regex(digestPattern),
    }),
  ),
});
export type RefsHeader = z.infer<typeof refsHeaderSchema>;

export const packRefSchema = z.strictObject({
  pack: z.string().regex(digestPattern),
  /** Of the whole age file. */
  sizeBytes: bytes,
  /** Length of the age header; the 16-byte payload nonce and the sealed pieces follow. */
  headerBytes: bytes,
  /** Whose identity opens it. */
  epoch: z.int().min(1),
  /** In order of offset. */
  chunks: z.array(packedChunkSchema).min(1),
});
export type PackRef = z.infer<typeof packRefSchema>;
/** An index object has the same lines; it lists all chunks of the packs that one writer made since its last. */
export type IndexLine = PackRef;

export function encodePackLine(ref: PackRef): string {
  return `${JSON.stringify(ref)}\n`;
}

/** `place` names the object. Throws SKEP_REFS_INVALID. */
export function decodePackLines(plain: Uint8Array, place: string): PackRef[] {
  return splitLines(plain).map((line, number) => decodePackLine(line, `${place} line ${number + 1}`));
}

/** `place` names object and line. Throws SKEP_REFS_INVALID. */
export function decodePackLine(line: string, place: string): PackRef {
  return decodeLine(packRefSchema, line, place);
}

/** The header and, where it names no pages, the lines. Throws SKEP_REFS_INVALID. */
export function decodeRefs(plain: Uint8Array, place: string): { header: RefsHeader; packs: PackRef[] } {
  const [first = "", ...lines] = splitLines(plain);
  const header = decodeLine(refsHeaderSchema, first, `${place} line 1`);
  if (header.pages.length > 0 && lines.length > 0) throw invalid(place, "it has both pages and lines");
  const packs = lines.map((line, number) => decodeLine(packRefSchema, line, `${place} line ${number + 2}`));
  return { header, packs };
}

/** Without the last line end. */
export function splitLines(plain: Uint8Array): string[] {
  const lines = Buffer.from(plain.buffer, plain.byteOffset, plain.byteLength).toString("utf8").split("\n");
  if (lines.at(-1) === "") lines.pop();
  return lines;
}

function decodeLine<T>(schema: z.ZodType<T>, line: string, place: string): T {
  let json: unknown;
  try {
    json = JSON.parse(line);
  } catch (error) {
    throw invalid(place, "it is no JSON", error);
  }
  const parsed = schema.safeParse(json);
  if (!parsed.success) throw invalid(place, `it has another shape: ${shapeFaults(parsed.error)}`);
  return parsed.data;
}

function invalid(place: string, why: string, cause?: unknown): SkepError {
  return new SkepError({
    code: "SKEP_REFS_INVALID",
    message: `${place}: ${why}`,
    permanent: true,
    hint: "it was written by another version of Skep; run `skep check` to see what it hurts",
    cause,
  });
}
