// skep forget: which runs are kept, by the policy or by name; the others no longer count. Prune gives their space back.
import { InvalidArgumentError, type Command } from "commander";
import { SkepError } from "../../../shared/errors.ts";
import { forgetRuns, protectedRuns } from "../../../shared/repository/upkeep/forget.ts";
import { surveyChain, type RunBrief } from "../../../shared/repository/upkeep/chain-survey.ts";
import { readStoreClock } from "../../../shared/store/clock.ts";
import { readStoredPolicy } from "../../policies.ts";
import type { Policy } from "../../policy.ts";
import { decideRetention, timeZoneOf, type Retention, type Verdict } from "../../retention.ts";
import { addKitOption, addStoreOptions, needControllerKey, readKitPolicy, type StoreOptions } from "../access.ts";
import { warnOfForeign, withControllerKey, type OpenedCatalogue } from "../catalogue-access.ts";
import { agree } from "../confirm.ts";
import type { ForgetDocument } from "../documents.ts";
import { exitCodes, type ExitCode } from "../exit-code.ts";
import * as format from "../format.ts";
import { describe, run, type Session } from "../session.ts";
import { table } from "../table.ts";

interface ForgetOptions extends StoreOptions {
  keep?: Retention;
  dryRun?: boolean;
  acceptGaps?: boolean;
  yes?: boolean;
}

const counts = ["last", "hourly", "daily", "weekly", "monthly", "yearly"] as const;

export function register(program: Command): void {
  const command = program
    .command("forget")
    .description("let runs no longer count: those that the policy does not keep, or those that are named")
    .argument("[runs...]", "run ids; without any, the policy decides");
  addStoreOptions(addKitOption(command))
    .option("--keep <counts>", "keep so many instead of the policy's, e.g. daily=7,weekly=5,last=3", parseKeep)
    .option("--dry-run", "show the plan only")
    .option("--accept-gaps", "go on though runs are missing that were not forgotten")
    .option("--yes", "do it without being asked");
  const example = `skep forget --dry-run --kit skep-kit
skep forget --keep daily=7,weekly=5,monthly=12 --kit skep-kit
skep forget 20261120-030000-k3v9qd --kit skep-kit --yes`;
  run(describe(command, example), forget);
}

function parseKeep(text: string): Retention {
  const keep: Retention = {};
  for (const pair of text.split(",")) {
    const [name = "", number = ""] = pair.split("=");
    const count = Number(number);
    const known = counts.find((each) => each === name);
    if (known === undefined || !Number.isInteger(count) || count < 1 || count > 100_000) {
      throw new InvalidArgumentError(`expected counts such as daily=7,weekly=5; names are ${counts.join(", ")}`);
    }
    keep[known] = count;
  }
  return keep;
}

async function forget(session: Session, options: ForgetOptions, ...ids: string[]): Promise<ExitCode> {
  const { output, signal } = session;
  const key = await needControllerKey(options);
  return await withControllerKey(session, options, key, async (opened) => {
    const { store, catalogue, repository } = opened;
    const decide = await decider(session, options, opened, ids.flat());
    const verdicts = decide((await surveyChain(catalogue, { signal })).runs);
    const goes = verdicts.filter(({ keptFor }) => keptFor.length === 0).map(({ run: { id } }) => id);
    output.print(renderPlan(session, verdicts));
    const report = (forgotten: readonly string[]): ExitCode => {
      const document: ForgetDocument = {
        kept: verdicts.flatMap(({ run: { id }, keptFor }) => (keptFor.length === 0 ? [] : [{ id, keptFor }])),
        forgotten: [...(options.dryRun === true ? goes : forgotten)],
        dryRun: options.dryRun ?? false,
      };
      output.document(document);
      return exitCodes.done;
    };
    if (goes.length === 0) output.say("nothing is to be forgotten");
    if (goes.length === 0 || options.dryRun === true) return report([]);
    if (!(await agree(session, options.yes ?? false, `Forget ${format.plural(goes.length, "run")}?`))) {
      output.say("nothing was changed");
      return report([]);
    }
    const forgotten = await forgetRuns({
      ...{ store, key, incarnation: repository.incarnation, known: repository, signal },
      acceptGaps: options.acceptGaps ?? false,
      // Only what was shown and agreed to, though runs came meanwhile.
      choose: (runs) => runs.filter(({ id }) => goes.includes(id)),
    });
    output.say(`${format.plural(forgotten.length, "run")} forgotten; \`skep prune\` gives back what only they needed`);
    return report(forgotten.map(({ id }) => id));
  });
}

/** By name where runs are named, else by --keep, else by the policy in the store, else by the kit's. */
async function decider(
  session: Session,
  options: ForgetOptions,
  { store, catalogue }: OpenedCatalogue,
  ids: readonly string[],
): Promise<(runs: readonly RunBrief[]) => Verdict[]> {
  if (ids.length > 0) return (runs) => byName(runs, ids);
  const policy = await policyOf(session, options, catalogue, options.keep === undefined);
  const now = await readStoreClock(store, session.signal);
  return (runs) => decideRetention(runs, options.keep ?? policy.retention, now, timeZoneOf(policy));
}

/** `decides`: what is forgotten; then throws SKEP_POLICY_UNPROVEN. */
async function policyOf(
  session: Session,
  options: ForgetOptions,
  catalogue: OpenedCatalogue["catalogue"],
  decides: boolean,
): Promise<Policy> {
  const stored = await readStoredPolicy(catalogue, {
    signal: session.signal,
    onFault: warnOfForeign(session),
    onDoubt: (doubt) => {
      if (decides) throw doubt;
    },
  });
  return stored?.policy ?? (await readKitPolicy(options));
}

/** Throws SKEP_RUN_UNKNOWN, SKEP_FORGET_REFUSED. */
function byName(runs: readonly RunBrief[], ids: readonly string[]): Verdict[] {
  const reasons = protectedRuns(runs);
  for (const id of ids) {
    if (!runs.some((each) => each.id === id)) {
      throw new SkepError({
        code: "SKEP_RUN_UNKNOWN",
        message: `there is no run ${id}`,
        permanent: true,
        hint: "`skep runs --from-store` lists them; was it forgotten before?",
      });
    }
  }
  return runs.map((each) => {
    const named = ids.includes(each.id);
    const reason = reasons.get(each.id);
    if (named && reason !== undefined) {
      throw new SkepError({
        code: "SKEP_FORGET_REFUSED",
        message: `run ${each.id} is never forgotten: it is ${reason.join(", and ")}`,
        permanent: true,
        hint: "make a good run first: `skep backup --wait`",
      });
    }
    return { run: each, keptFor: named ? [] : ["not named"] };
  });
}

function renderPlan({ output }: Session, verdicts: readonly Verdict[]): string {
  return table(
    output,
    [
      { head: "RUN", cell: ({ run: { id } }) => id },
      { head: "STATUS", cell: ({ run: { status } }) => status },
      { head: "STARTED", cell: ({ run: { startedAt } }) => format.time(startedAt) },
      {
        head: "",
        cell: ({ keptFor }) =>
          keptFor.length === 0 ? output.style("red", "forget") : `keep: ${format.visible(keptFor.join(", "))}`,
      },
    ],
    verdicts,
  );
}
