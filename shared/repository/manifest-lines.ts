// Entries of a manifest as lines, and back.
import { z } from "zod";
import { SkepError } from "../errors.ts";
import {
  manifestContinuationSchema,
  manifestEntrySchema,
  maxLineExtents,
  type Extent,
  type ManifestEntry,
} from "./manifest.ts";

/** One line, or for a file of many extents several, each with its line end. */
export function encodeEntry(entry: ManifestEntry): string {
  const { extents } = entry;
  if (extents === undefined || extents.length <= maxLineExtents) return `${JSON.stringify(entry)}\n`;
  const rest: Extent[][] = [];
  for (let at = maxLineExtents; at < extents.length; at += maxLineExtents) {
    rest.push(extents.slice(at, at + maxLineExtents));
  }
  const first = { ...entry, extents: extents.slice(0, maxLineExtents), moreLines: rest.length };
  return [first, ...rest.map((more) => ({ extents: more }))].map((line) => `${JSON.stringify(line)}\n`).join("");
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
  if (!parsed.success) throw manifestInvalid(place, `it has another shape: ${z.prettifyError(parsed.error)}`);
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
