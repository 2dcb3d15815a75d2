// Entries of a manifest as lines, and back.
import type { z } from "zod";
import { SkepError } from "../errors.ts";
import { shapeFaults } from "../fault-list.ts";
import { extentRecordBytes, toManifestExtents } from "./extent-records.ts";
import {
  manifestContinuationSchema,
  manifestEntrySchema,
  maxLineExtents,
  type Extent,
  type ManifestEntry,
} from "./manifest.ts";

/**
 * One line, or for a file of many extents several, each with its line end: made as they are asked for, since those of a
 * file of a terabyte come to 80 MB. `extents`: records of a file's content, which the entry itself does not have; null for
 * what has none.
 */
export function* entryLines(entry: ManifestEntry, extents: Uint8Array | null): Generator<string> {
  if (extents === null) {
    yield `${JSON.stringify(entry)}\n`;
    return;
  }
  const partBytes = maxLineExtents * extentRecordBytes;
  const first = { ...entry, extents: toManifestExtents(extents.subarray(0, partBytes)) };
  const moreLines = Math.max(0, Math.ceil(extents.length / partBytes) - 1);
  yield `${JSON.stringify(moreLines === 0 ? first : { ...first, moreLines })}\n`;
  for (let at = partBytes; at < extents.length; at += partBytes) {
    yield `${JSON.stringify({ extents: toManifestExtents(extents.subarray(at, at + partBytes)) })}\n`;
  }
}

/** Of an entry's first line; `moreLines` tells how many continuations follow. Throws SKEP_MANIFEST_INVALID. */
export function decodeEntryLine(line: string, place: string): ManifestEntry {
  return decodeLine(manifestEntrySchema, line, place);
}

export function decodeContinuationLine(line: string, place: string): Extent[] {
  return decodeLine(manifestContinuationSchema, line, place).extents;
}

function decodeLine<T>(schema: z.ZodType<T>, line: string, place: string): T {
  let json: unknown;
  try {
    json = JSON.parse(line);
  } catch (error) {
    throw manifestInvalid(place, "it is no JSON", error);
  }
  const parsed = schema.safeParse(json);
  if (!parsed.success) throw manifestInvalid(place, `it has another shape: ${shapeFaults(parsed.error)}`);
  return parsed.data;
}

export function manifestInvalid(place: string, why: string, cause?: unknown): SkepError {
  return new SkepError({
    code: "SKEP_MANIFEST_INVALID",
    message: `${place}: ${why}`,
    permanent: true,
    hint: "the snapshot was written by another version of Skep, or is damaged: `skep check` tells which others are well",
    cause,
  });
}
