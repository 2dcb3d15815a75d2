// A manifest: the tree of one volume at one time, as JSON lines in path order (a folder before what is in it,
// siblings by the bytes of their names). The lines are cut into chunks and packed like any file, so that ten
// million files with few changes write little; what lies under manifests/ is the small root that names those chunks.
import { z } from "zod";
import { digestPattern, repositoryIdPattern, runIdPattern, writerIdPattern } from "./layout.ts";

const sizeBytes = z.int().min(0);

/** [chunk name, offset within the chunk, length]; name null: `length` zero bytes that are stored nowhere. */
export const extentSchema = z.tuple([z.string().regex(digestPattern).nullable(), sizeBytes, sizeBytes]);
export type Extent = z.infer<typeof extentSchema>;

/** Of one line: keeps a file of a terabyte from being one line of 80 MB. */
export const maxLineExtents = 4096;

/** Text where the bytes are valid UTF-8, else base64 in the field of the same name with `Base64`. */
const path = z.string().max(1024 * 1024);

export const manifestEntrySchema = z.strictObject({
  /** Relative to the volume's root, `/` between segments; the root itself is "". Exactly one of path and pathBase64. */
  path: path.optional(),
  pathBase64: path.optional(),
  type: z.enum(["file", "directory", "symlink", "fifo", "character-device", "block-device"]),
  /** Permission bits with setuid, setgid and sticky: mode & 0o7777. */
  mode: z.int().min(0).max(0o7777),
  uid: z.int().min(0).max(0xffffffff),
  gid: z.int().min(0).max(0xffffffff),
  /** Nanoseconds since 1970, decimal, may be negative. */
  mtimeNs: z.string().regex(/^-?\d{1,20}$/),
  /** Files only: exactly what the extents add up to. */
  sizeBytes: sizeBytes.optional(),
  extents: z.array(extentSchema).max(maxLineExtents).optional(),
  /** A file of more extents goes on in so many lines that follow, each `{"extents": […]}`. */
  moreLines: z.int().min(1).optional(),
  /** Of a file with several names, all but the first carry the first one's path and no extents. */
  hardLinkTo: path.optional(),
  hardLinkToBase64: path.optional(),
  linkTarget: path.optional(),
  linkTargetBase64: path.optional(),
  /** [major, minor] of a device. */
  device: z.tuple([z.int().min(0), z.int().min(0)]).optional(),
  /** Extended attributes, POSIX ACLs and capabilities among them, values in base64. */
  xattrs: z.record(z.string().max(255), z.base64()).optional(),
  /** The file changed while it was read, twice: what is stored may mix two states. */
  changedWhileRead: z.literal(true).optional(),
});
export type ManifestEntry = z.infer<typeof manifestEntrySchema>;

/** A line that carries on with the extents of the file before it. */
export const manifestContinuationSchema = z.strictObject({ extents: z.array(extentSchema).min(1).max(maxLineExtents) });

export const manifestRootSchema = z.strictObject({
  format: z.literal(1),
  repositoryId: z.string().regex(repositoryIdPattern),
  runId: z.string().regex(runIdPattern),
  writerId: z.string().regex(writerIdPattern),
  /** Volume name as Docker knows it. */
  volume: z.string().max(1024),
  createdAt: z.iso.datetime(),
  entries: z.int().min(0),
  /** The manifest's lines, joined, are these extents. */
  extents: z.array(extentSchema),
  /** BLAKE3-256 of the lines: what was read is what was written. */
  linesDigest: z.string().regex(digestPattern),
});
export type ManifestRoot = z.infer<typeof manifestRootSchema>;
