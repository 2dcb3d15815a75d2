// What stands in the journal of a standalone run of a hold: written before any service is touched, gone when it is over.
// What each service was is in the swarm (hold-book.ts); here is what a person needs to know where that is out of reach.
import { z } from "zod";
import { restoreIdSchema } from "../../shared/contract/job.ts";
import { SkepError } from "../../shared/errors.ts";
import type { Journal } from "../journal.ts";
import { isStateFull } from "../state-error.ts";

const holdNoteSchema = z.strictObject({
  holdId: restoreIdSchema,
  /** ISO 8601. */
  deadlineAt: z.iso.datetime(),
  notedAt: z.iso.datetime(),
  /** Those that it is to stop; `name`: null where the swarm knew none by that id. */
  services: z.array(z.strictObject({ id: z.string(), name: z.string().nullable() })),
  /** Of the swarm whose services they are. */
  clusterId: z.string().nullable(),
});
export type HoldNote = z.infer<typeof holdNoteSchema>;

/** In the order in which they were begun. */
export function readHolds(journal: Journal): HoldNote[] {
  return journal.holds().map((text) => holdNoteSchema.parse(JSON.parse(text)));
}

/** Durable when it returns. Throws SKEP_STATE_FULL, SKEP_STATE_UNWRITABLE: then nothing is to be stopped. */
export function writeHold(journal: Journal, note: HoldNote): void {
  try {
    journal.putHold(note.holdId, JSON.stringify(note));
  } catch (error) {
    throw notWritten(journal, error, {
      message: `${describeHold(note)} is not begun`,
      permanent: true,
      hint: "no service was stopped",
    });
  }
}

/** Throws SKEP_STATE_FULL, SKEP_STATE_UNWRITABLE: it stays noted, and another look at it does no harm. */
export function forgetHold(journal: Journal, holdId: string): void {
  try {
    journal.removeHold(holdId);
  } catch (error) {
    throw notWritten(journal, error, {
      message: `hold ${holdId} is over, and stays noted`,
      permanent: false,
      hint: "its services were given back",
    });
  }
}

function notWritten(
  journal: Journal,
  thrown: unknown,
  { message, permanent, hint }: Pick<SkepError, "message" | "permanent"> & { hint: string },
): SkepError {
  return new SkepError({
    code: isStateFull(thrown) ? "SKEP_STATE_FULL" : "SKEP_STATE_UNWRITABLE",
    message: `${message}: the journal ${journal.file} can't be written: ${(thrown as Error).message}`,
    permanent,
    hint: `${hint}; free space on its disk, make it writable, or keep the state on another one (--state-dir)`,
    cause: thrown,
  });
}

/** "hold ID of service NAME (SERVICE-ID), …" */
export function describeHold({ holdId, services }: HoldNote): string {
  const named = services.map(({ id, name }) => (name === null ? id : `${name} (${id})`));
  return `hold ${holdId} of service ${named.join(", ")}`;
}

/** Of one whose services this node can't reach any more, as it is in that swarm no longer. */
export function leftBehind(note: HoldNote): SkepError {
  const [first] = note.services;
  return new SkepError({
    code: "SKEP_HOLD_LEFT_BEHIND",
    message: `${describeHold(note)}, since ${note.notedAt}, can't be ended from here: this node is no longer in their swarm`,
    permanent: true,
    hint: `where that swarm has another manager, see there whether they run (\`docker service ls\`): its agents give them back after ${note.deadlineAt}; where it has none, \`docker config ls --filter label=io.skep.hold=${note.holdId}\` finds what ${first?.name ?? "each"} was, and \`docker service rollback\` goes back to it. This is told once`,
  });
}
