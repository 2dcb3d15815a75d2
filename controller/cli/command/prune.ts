// skep prune: gives back what no kept run needs.
import { InvalidArgumentError, type Command } from "commander";
import { prune as pruneRepository, type PrunePhase } from "../../../shared/repository/upkeep/prune.ts";
import { pruneTerms } from "../../upkeep.ts";
import { addKitOption, addStoreOptions, needControllerKey, type StoreOptions } from "../access.ts";
import { catalogueKeysOf, withControllerKey } from "../catalogue-access.ts";
import { agree } from "../confirm.ts";
import type { PruneDocument } from "../documents.ts";
import { exitCodes, type ExitCode } from "../exit-code.ts";
import * as format from "../format.ts";
import { describe, run, type Session } from "../session.ts";
import { facts } from "../table.ts";
import { makeUpkeepProgress } from "../upkeep-progress.ts";

interface PruneCommandOptions extends StoreOptions {
  dryRun?: boolean;
  grace: number;
  exclusive?: boolean;
  acceptGaps?: boolean;
  yes?: boolean;
}

export function register(program: Command): void {
  const command = program.command("prune").description("give back the space of what no kept run needs");
  addStoreOptions(addKitOption(command))
    .option("--dry-run", "tell what would go")
    .option(
      "--grace <hours>",
      "how long a run may take: younger things stay, and what is not needed goes so long after it was found; 0: at once",
      parseHours,
      pruneTerms.graceMs / 3_600_000,
    )
    .option("--exclusive", "where the store's creations do not exclude each other: I stopped everybody else")
    .option("--accept-gaps", "go on though runs are missing that were not forgotten")
    .option("--yes", "do it without being asked");
  const example = `skep prune --dry-run --kit skep-kit
skep prune --kit skep-kit --yes`;
  run(describe(command, example), prune);
}

function parseHours(text: string): number {
  const hours = Number(text);
  if (text.trim() !== "" && hours >= 0 && hours <= 24 * 365) return hours;
  throw new InvalidArgumentError("expected hours from 0 to 8760");
}

async function prune(session: Session, options: PruneCommandOptions): Promise<ExitCode> {
  const { output, signal } = session;
  const { dryRun = false, acceptGaps = false, exclusive = false, grace } = options;
  const key = await needControllerKey(options);
  return await withControllerKey(session, options, key, async (opened) => {
    const { store, repository } = opened;
    const question = `Delete what no kept run at ${store.address} needs?`;
    if (!dryRun && !(await agree(session, options.yes ?? false, question))) {
      output.say("nothing was changed");
      return exitCodes.done;
    }
    const progress = makeUpkeepProgress<PrunePhase>(output, `Prune of ${store.address}`, {
      runs: "runs looked through",
      packs: "packs listed",
      index: "index objects read",
      deleting: dryRun ? "objects to delete" : "objects deleted",
    });
    const result = await pruneRepository({
      ...{ store, key, incarnation: repository.incarnation, known: repository, keys: catalogueKeysOf(opened), signal },
      terms: { ...pruneTerms, graceMs: grace * 3_600_000 },
      ...{ dryRun, acceptGaps, exclusive },
      onProgress: progress.update,
    }).finally(() => {
      progress.close();
    });
    const document: PruneDocument = { dryRun, ...result };
    output.document(document);
    const { deletedPacks, freedBytes, retiredBytes, deletedOthers, keptRuns, neededPacks, neededBytes, missing } =
      result;
    output.print(
      facts(output.style, [
        [dryRun ? "would free" : "freed", `${format.bytes(freedBytes)} in ${format.plural(deletedPacks, "pack")}`],
        ["other objects", String(deletedOthers)],
        ["goes later", `${format.bytes(retiredBytes)}, once no run can need it any more`],
        [
          "stays",
          `${format.plural(keptRuns, "run")}, ${format.bytes(neededBytes)} in ${format.plural(neededPacks, "pack")}`,
        ],
      ]),
    );
    if (missing.length === 0) return exitCodes.done;
    output.warn(
      `${format.plural(missing.length, "pack")} that runs need are missing: \`skep check\` tells whom it hurts`,
    );
    return exitCodes.partial;
  });
}
