// skep compact: writes anew what kept runs need of packs that are mostly dead, so that a prune can free them.
import { InvalidArgumentError, type Command } from "commander";
import { compact as compactRepository, type CompactPhase } from "../../../shared/repository/open/compact.ts";
import type { CompactPlan } from "../../../shared/repository/upkeep/compact-plan.ts";
import { pruneTerms } from "../../upkeep.ts";
import {
  addIdentityOption,
  addKitOption,
  addStoreOptions,
  needControllerKey,
  type IdentityOptions,
  type StoreOptions,
} from "../access.ts";
import { catalogueKeysOf, withOperator } from "../catalogue-access.ts";
import { agree } from "../confirm.ts";
import type { CompactDocument } from "../documents.ts";
import { exitCodes, type ExitCode } from "../exit-code.ts";
import * as format from "../format.ts";
import { describe, run, type Session } from "../session.ts";
import { facts } from "../table.ts";
import { makeUpkeepProgress } from "../upkeep-progress.ts";

interface CompactCommandOptions extends StoreOptions, IdentityOptions {
  below: number;
  maxBytes: number;
  grace: number;
  dryRun?: boolean;
  exclusive?: boolean;
  acceptGaps?: boolean;
  yes?: boolean;
}

export function register(program: Command): void {
  const command = program
    .command("compact")
    .description("write anew what kept runs need of packs that are mostly dead, for a prune to free them");
  addIdentityOption(addStoreOptions(addKitOption(command)))
    .option("--below <percent>", "packs of which less than this is needed", parsePercent, pruneTerms.sparseShare * 100)
    .option("--max-bytes <count>", "write at most so many bytes anew", parseBytes, Number.MAX_SAFE_INTEGER)
    .option("--grace <hours>", "leave younger packs alone", parseHours, pruneTerms.graceMs / 3_600_000)
    .option("--dry-run", "tell what would be written")
    .option("--exclusive", "where the store's creations do not exclude each other: I stopped everybody else")
    .option("--accept-gaps", "go on though runs are missing that were not forgotten")
    .option("--yes", "do it without being asked");
  const example = `skep compact --dry-run --kit skep-kit --identity identity-anna.txt
skep compact --below 30 --kit skep-kit --identity identity-anna.txt --yes`;
  run(describe(command, example), compact);
}

function parsePercent(text: string): number {
  const percent = Number(text);
  if (percent > 0 && percent <= 100) return percent;
  throw new InvalidArgumentError("expected a number above 0, at most 100");
}

function parseBytes(text: string): number {
  const bytes = Number(text);
  if (Number.isSafeInteger(bytes) && bytes > 0) return bytes;
  throw new InvalidArgumentError("expected a whole number of bytes");
}

function parseHours(text: string): number {
  const hours = Number(text);
  if (text.trim() !== "" && hours >= 0 && hours <= 24 * 365) return hours;
  throw new InvalidArgumentError("expected hours from 0 to 8760");
}

async function compact(session: Session, options: CompactCommandOptions): Promise<ExitCode> {
  const { output, signal } = session;
  const { dryRun = false, acceptGaps = false, exclusive = false, below, maxBytes, grace } = options;
  const key = await needControllerKey(options);
  return await withOperator(session, options, async (opened) => {
    const { store, repository, operator } = opened;
    const progress = makeUpkeepProgress<CompactPhase>(output, `Compaction of ${store.address}`, {
      runs: "runs looked through",
      packs: "packs listed",
      index: "index objects read",
      moving: "packs opened",
      refs: "snapshots that name new places",
    });
    const show = async ({ packs, packBytes, liveBytes }: CompactPlan): Promise<boolean> => {
      output.say(
        facts(output.styleWords, [
          ["mostly dead", `${format.plural(packs.length, "pack")}, ${format.bytes(packBytes)}`],
          ["written anew", `${format.bytes(liveBytes)} of them, which kept runs need`],
          ["then", "`skep prune` frees the packs, once no run under way can need them any more"],
        ]),
      );
      return !dryRun && (await agree(session, options.yes ?? false, "Write that anew?"));
    };
    const result = await compactRepository({
      ...{ store, key, incarnation: repository.incarnation, known: repository },
      ...{ keys: catalogueKeysOf(opened), operator, signal },
      terms: { graceMs: grace * 3_600_000, sparseShare: below / 100, maxBytes },
      ...{ agree: show, acceptGaps, exclusive },
      onProgress: progress.update,
    }).finally(() => {
      progress.close();
    });
    const document: CompactDocument = { dryRun, ...result };
    output.document(document);
    const { changed, packs, packBytes, storedBytes, snapshots } = result;
    if (packs === 0) output.print("no pack is mostly dead: nothing is to be written anew");
    else if (!changed) output.print("nothing was changed");
    else {
      output.print(
        facts(output.style, [
          ["written", `${format.bytes(storedBytes)}, and refs of ${format.plural(snapshots, "snapshot")}`],
          ["goes later", `${format.bytes(packBytes)} in ${format.plural(packs, "pack")}, by \`skep prune\``],
        ]),
      );
    }
    return exitCodes.done;
  });
}
