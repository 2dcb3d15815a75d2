// An upkeep entry: a link of the chain of runs, written by forget, prune and compact. It says which entries before it were
// forgotten on purpose, so that the gap that they leave is no fault, and which packs nobody may name any more. Its
// place in the chain is the fence: a run that was checked before it cannot be appended after it.
import { z } from "zod";
import { movedRefsSchema } from "./moved-refs.ts";
import { digestPattern, repositoryIdPattern, runIdPattern } from "./layout.ts";

const digest = z.string().regex(digestPattern);
const sequence = z.int().min(1);

/** Neighbours in the chain that were forgotten, runs and upkeep entries alike: as few spans as there are gaps. */
export const forgottenSpanSchema = z.strictObject({
  first: sequence,
  last: sequence,
  /** Of the object `last`: what the entry after it names as its previous. */
  digest,
  /** What `first` named as its previous. */
  previousDigest: digest.nullable(),
});
export type ForgottenSpan = z.infer<typeof forgottenSpanSchema>;

export const forgottenRunSchema = z.strictObject({
  id: z.string().regex(runIdPattern),
  sequence,
  forgottenAt: z.iso.datetime(),
});
export type ForgottenRun = z.infer<typeof forgottenRunSchema>;

/** So many forgotten runs are remembered by name. */
export const maxForgottenRuns = 1000;
/** Bound of all lists of packs in an entry: 1.6 TB of packs; the next entry takes what is left. */
export const maxListedPacks = 100_000;

/** Snapshots whose refs a compaction replaced. */
export const maxMovedRefs = 100_000;

/** Packs of one writer; "" where no index names them. */
export const packGroupSchema = z.strictObject({
  writerId: z.string().regex(/^[a-z0-9]{0,64}$/),
  /** When they were listed first, by the clock of the store. */
  since: z.iso.datetime(),
  packs: z.array(digest).min(1).max(maxListedPacks),
});
export type PackGroup = z.infer<typeof packGroupSchema>;
const packGroups = z.array(packGroupSchema).max(maxListedPacks);

export const upkeepEntrySchema = z.strictObject({
  format: z.literal(1),
  repositoryId: z.string().regex(repositoryIdPattern),
  incarnation: z.int().min(1),
  sequence,
  previousDigest: digest.nullable(),
  /** By the clock of the store. */
  writtenAt: z.iso.datetime(),
  skepVersion: z.string().max(64),
  /** Of the whole chain before this entry, in order. */
  forgotten: z.array(forgottenSpanSchema).max(200_000),
  /** Newest first. */
  forgottenRuns: z.array(forgottenRunSchema).max(maxForgottenRuns),
  /** `YYYYMMDD-HHMMSS`: a run whose id is below it can no longer be appended; null: none is fenced. */
  fencedBefore: z
    .string()
    .regex(/^\d{8}-\d{6}$/)
    .nullable(),
  /** Writers write what they need of these anew: nothing needs them any more, or they are mostly dead. Runs may still name them. */
  retired: packGroups,
  /** Deleted, or about to be: no run after this entry may name one. */
  doomed: packGroups,
  /** Refs that count in the place of those that kept runs name: a compaction wrote them. */
  movedRefs: z.array(movedRefsSchema).max(maxMovedRefs),
});
export type UpkeepEntry = z.infer<typeof upkeepEntrySchema>;

export function packsOf(groups: readonly PackGroup[] | undefined): string[] {
  return (groups ?? []).flatMap(({ packs }) => packs);
}
