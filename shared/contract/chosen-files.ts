// Files and folders of a snapshot that are put into a volume as it is.
import { z } from "zod";

/** What becomes of a file that is there and differs: left, replaced (and kept for an undo), or the end of the restore. */
export const existingFilesSchema = z.enum(["skip", "update", "fail"]);
export type ExistingFiles = z.infer<typeof existingFilesSchema>;

/** They are part of an order that an agent keeps. */
const mostPathsLength = 256 * 1024;

function isBelowRoot(base64: string): boolean {
  const path = Buffer.from(base64, "base64").toString("latin1");
  if (path === "") return true;
  return !path.includes("\0") && path.split("/").every((name) => !["", ".", ".."].includes(name));
}

/** Not the whole volume in the place of the present one, but these into it. */
export const chosenFilesSchema = z.strictObject({
  /** From the volume's root on, without slashes at the ends, base64; empty for all. */
  paths: z
    .array(z.base64().max(8192).refine(isBelowRoot, "a path that does not begin at the volume's root"))
    .min(1)
    .max(1000)
    .refine((paths) => paths.join("").length <= mostPathsLength, `more than ${mostPathsLength} characters of paths`),
  existing: existingFilesSchema,
});
export type ChosenFiles = z.infer<typeof chosenFilesSchema>;

/** What is at a chosen path of the volume before anything is put there. */
export const thereSchema = z.enum(["nothing", "file", "folder", "other"]);

/** How many files were put where there was nothing, in the place of another, and not, being equal or left. */
export const mergedFilesSchema = z.strictObject({
  made: z.int().min(0),
  replaced: z.int().min(0),
  equal: z.int().min(0),
  left: z.int().min(0),
});
export type MergedFiles = z.infer<typeof mergedFilesSchema>;
