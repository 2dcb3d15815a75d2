// skep protect: locks what kept runs need in the store, as the controller does by itself where the policy says so.
import { InvalidArgumentError, type Command } from "commander";
import { fromErrorRecord, SkepError, type ErrorRecord } from "../../../shared/errors.ts";
import { putProtection, readProtection } from "../../../shared/repository/catalogue.ts";
import { protectRuns, type ProtectPhase } from "../../../shared/repository/upkeep/protect.ts";
import { lockDaysUnder, readStoredPolicy } from "../../policies.ts";
import { addKitOption, addStoreOptions, needControllerKey, readKitPolicy, type StoreOptions } from "../access.ts";
import { catalogueKeysOf, warnOfForeign, withControllerKey } from "../catalogue-access.ts";
import { agree } from "../confirm.ts";
import type { ProtectDocument } from "../documents.ts";
import { exitCodes, type ExitCode } from "../exit-code.ts";
import * as format from "../format.ts";
import { describe, run, type Session } from "../session.ts";
import { facts, table } from "../table.ts";
import { makeUpkeepProgress } from "../upkeep-progress.ts";

interface ProtectCommandOptions extends StoreOptions {
  days?: number;
  dryRun?: boolean;
  yes?: boolean;
}

export function register(program: Command): void {
  const command = program.command("protect").description("lock what kept runs need, so that nobody deletes it");
  addStoreOptions(addKitOption(command))
    .option("--days <count>", "how long ahead (default: the policy's retention.lockDays)", parseDays)
    .option("--dry-run", "lock nothing: tell what is locked")
    .option("--yes", "do it without being asked");
  run(describe(command, "skep protect --days 30 --kit skep-kit"), protect);
}

function parseDays(text: string): number {
  const days = Number(text);
  if (Number.isInteger(days) && days >= 1 && days <= 3650) return days;
  throw new InvalidArgumentError("expected a whole number of days from 1 to 3650");
}

async function protect(session: Session, options: ProtectCommandOptions): Promise<ExitCode> {
  const { output, signal } = session;
  const { dryRun = false } = options;
  const key = await needControllerKey(options);
  return await withControllerKey(session, options, key, async (opened) => {
    const { store, catalogue, repository } = opened;
    const onFault = warnOfForeign(session);
    let doubt: SkepError | null = null;
    const onDoubt = (found: SkepError): unknown => (doubt = found);
    const stored = await readStoredPolicy(catalogue, { signal, onFault, onDoubt });
    const policy = stored?.policy ?? (await readKitPolicy(options));
    const recorded = await readProtection(catalogue, { signal, onFault });
    const lockDays = options.days ?? lockDaysUnder(policy.retention.lockDays ?? null, doubt, recorded) ?? noDays();
    output.say(
      facts(output.styleWords, [
        ["locked", `what kept runs at ${store.address} need, for ${format.plural(lockDays, "day")} and a quarter more`],
        ["until then", "nobody deletes it, whatever his rights, and nobody shortens that: it is paid for so long"],
      ]),
    );
    if (!dryRun && !(await agree(session, options.yes ?? false, "Lock it?"))) {
      output.say("nothing was changed");
      return exitCodes.done;
    }
    const progress = makeUpkeepProgress<ProtectPhase>(output, `Locks at ${store.address}`, {
      common: "objects that all runs need",
      objects: "objects of runs",
      runs: "runs",
    });
    const known = dryRun ? null : recorded;
    const found = await protectRuns({
      ...{
        catalogue,
        keys: catalogueKeysOf(opened),
        repository,
        lockDays,
        known,
        lookOnly: dryRun ? { now: Date.now() } : null,
        signal,
      },
      onProgress: progress.update,
    }).finally(() => {
      progress.close();
    });
    if (!dryRun) await putProtection(catalogue, found, signal);
    const { fault } = found;
    // What all runs need is not locked: then none is protected, whatever is locked of its own.
    const runs = fault === null ? found.runs : found.runs.map((each) => ({ ...each, until: null, fault }));
    const document: ProtectDocument = { dryRun, lockDays, fault, runs };
    output.document(document);
    output.print(
      table(
        output,
        [
          { head: "RUN", cell: ({ id }) => id },
          {
            head: "PROTECTED",
            cell: (each) =>
              each.until === null
                ? `${output.style("red", "no")} ${format.visible(each.fault?.message ?? "")}`
                : `until ${format.time(each.until)}`,
          },
        ],
        runs,
      ),
    );
    if (fault !== null) throw fromErrorRecord(fault as ErrorRecord);
    return runs.every(({ until }) => until !== null) ? exitCodes.done : exitCodes.partial;
  });
}

function noDays(): never {
  throw new SkepError({
    code: "SKEP_CLI_USAGE",
    message: "the policy says nothing of how long runs are to be locked",
    permanent: true,
    hint: "give --days COUNT, or put retention.lockDays into the policy",
  });
}
