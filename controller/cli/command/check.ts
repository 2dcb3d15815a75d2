// skep check: is everything that the runs need there, and is it what it was?
import { InvalidArgumentError, type Command } from "commander";
import { randomBytes } from "node:crypto";
import { SkepError } from "../../../shared/errors.ts";
import { readProtection } from "../../../shared/repository/catalogue.ts";
import { ForeignObjects } from "../../../shared/repository/foreign.ts";
import { layout } from "../../../shared/repository/layout.ts";
import { openWith } from "../../../shared/repository/open/check-opened.ts";
import { checkRepository, type CheckPhase, type CheckResult } from "../../../shared/repository/upkeep/check.ts";
import { makeContentCheck } from "../../../shared/repository/upkeep/check-content.ts";
import { compareLocks } from "../../../shared/repository/upkeep/check-locks.ts";
import type { Finding } from "../../../shared/repository/upkeep/finding.ts";
import { protectRuns } from "../../../shared/repository/upkeep/protect.ts";
import {
  addIdentityOption,
  addKitOption,
  addStoreOptions,
  type IdentityOptions,
  type StoreOptions,
} from "../access.ts";
import { catalogueKeysOf, withCatalogue, withOperator, type OpenedCatalogue } from "../catalogue-access.ts";
import type { Operator } from "../../../shared/repository/open/operator.ts";
import { readKits } from "../../recovery/stored-kits.ts";
import type { CheckDocument } from "../documents.ts";
import { exitCodes, type ExitCode } from "../exit-code.ts";
import * as format from "../format.ts";
import { noteSeenChain, readSeenChain } from "../seen-chain.ts";
import { describe, run, type Session } from "../session.ts";
import { makeUpkeepProgress } from "../upkeep-progress.ts";

interface CheckCommandOptions extends StoreOptions, IdentityOptions {
  /** True without a number: all. */
  readData?: number | true;
  newest?: number;
}

export function register(program: Command): void {
  const command = program.command("check").description("look whether all that the runs need is there, and well");
  addIdentityOption(addStoreOptions(addKitOption(command))).option(
    "--read-data [percent]",
    "read packs and archives too, all or so many percent of them, others each time; with --identity also open them",
    parsePercent,
  );
  command.option(
    "--newest <number>",
    "the chain reached this number, as an earlier check or `skep show` said: it must be there, or forgotten",
    parseSequence,
  );
  const example = `skep check --kit skep-kit
skep check --kit skep-kit --identity identity-anna.txt --read-data 10`;
  run(describe(command, example), check);
}

function parsePercent(text: string): number {
  const percent = Number(text);
  if (percent > 0 && percent <= 100) return percent;
  throw new InvalidArgumentError("expected a number above 0, at most 100");
}

function parseSequence(text: string): number {
  const sequence = Number(text);
  if (Number.isSafeInteger(sequence) && sequence >= 1) return sequence;
  throw new InvalidArgumentError("expected a whole number from 1");
}

async function check(session: Session, options: CheckCommandOptions): Promise<ExitCode> {
  const result =
    options.identity === undefined
      ? await withCatalogue(session, options, (opened) => look(session, options, opened, null))
      : await withOperator(session, options, (opened) => look(session, options, opened, opened.operator));
  const errors = result.findings.filter(({ level }) => level === "error").length;
  report(session, options, result);
  return errors > 0 || result.findingsLeftOut > 0 ? exitCodes.failed : exitCodes.done;
}

async function look(
  session: Session,
  { readData, newest }: CheckCommandOptions,
  opened: OpenedCatalogue,
  operator: Operator | null,
): Promise<CheckResult> {
  const { signal, output } = session;
  const { store, catalogue, repository } = opened;
  const progress = makeUpkeepProgress<CheckPhase | "locks">(output, `Check of ${store.address}`, {
    lists: "packs listed",
    index: "index objects read",
    runs: "runs looked through",
    content: "packs read",
    locks: "locks looked at",
  });
  const content =
    readData === undefined
      ? null
      : makeContentCheck({
          store,
          percent: readData === true ? 100 : readData,
          salt: randomBytes(8).toString("hex"),
          opened: operator === null ? null : openWith(operator, store, signal),
          signal,
        });
  try {
    const noted = await readSeenChain(repository.repositoryId);
    const seen = [
      ...(noted === null ? [] : [{ ...noted, by: "an earlier check on this machine" }]),
      ...(newest === undefined ? [] : [{ sequence: newest, digest: null, by: "whoever gave --newest" }]),
    ];
    const result = await checkRepository({
      seen,
      catalogue,
      keys: catalogueKeysOf(opened),
      keyObjects: [
        layout.repositoryKey(repository.repositoryKeyVersion),
        layout.epochKey(repository.epoch.number, repository.epochKeyVersion),
      ],
      content,
      foreign: [opened.foreign, await foreignKits(opened, signal)],
      signal,
      onProgress: progress.update,
    });
    const isCutOff = result.findings.some(({ code }) => code === "SKEP_RUNS_CUT_OFF");
    // What was seen last is kept until its loss is explained, so that every check tells of it.
    if (!isCutOff && result.newest !== null) await noteSeenChain(repository.repositoryId, result.newest);
    const onLocks = (done: number): void => {
      progress.update("locks", done);
    };
    return { ...result, findings: [...result.findings, ...(await checkLocks(opened, onLocks, signal))] };
  } finally {
    progress.close();
  }
}

async function foreignKits({ store, repository }: OpenedCatalogue, signal: AbortSignal): Promise<ForeignObjects> {
  const foreign = new ForeignObjects();
  const onForeign = (fault: SkepError, key: string): unknown => foreign.add(fault, key);
  await readKits({ store, ...repository }, { signal, onForeign });
  return foreign;
}

/** Puts nothing. That the locks cannot be looked at takes nothing away from what else was found. */
async function checkLocks(
  opened: OpenedCatalogue,
  onLocks: (done: number) => void,
  signal: AbortSignal,
): Promise<Finding[]> {
  const { catalogue, repository } = opened;
  const findings: Finding[] = [];
  const warn = ({ code, message }: SkepError, key: string | null): void => {
    findings.push({ level: "warning", code, key, message, hurts: [] });
  };
  const now = Date.now();
  try {
    const recorded = await readProtection(catalogue, { signal, onFault: warn });
    if (recorded === null) return findings;
    const found = await protectRuns({
      ...{ catalogue, keys: catalogueKeysOf(opened), repository, lockDays: recorded.lockDays, known: null },
      ...{ lookOnly: { now }, signal },
      onProgress: (phase, done) => {
        if (phase === "objects") onLocks(done);
      },
    });
    findings.push(...compareLocks(recorded, found, now));
  } catch (error) {
    if (signal.aborted || !(error instanceof SkepError)) throw error;
    warn(error, null);
  }
  return findings;
}

function report({ output }: Session, options: CheckCommandOptions, result: CheckResult): void {
  const { findings, findingsLeftOut, ...counts } = result;
  const document: CheckDocument = { ...result, clean: findings.every(({ level }) => level === "warning") };
  output.document(document);
  for (const { level, code, message, hurts } of findings) {
    const mark = output.style(level === "error" ? "red" : "yellow", `${level}:`);
    output.print(`${mark} ${format.visible(message)} (${code})`);
    for (const hurt of hurts) output.print(`  hurts ${format.visible(hurt)}`);
  }
  if (findingsLeftOut > 0) output.print(`and ${format.plural(findingsLeftOut, "more finding")}`);
  const { runs, snapshots, packs, packBytes, readPacks, readBytes, unneededPacks, unneededBytes } = counts;
  output.say(
    `${format.plural(runs, "run")}, ${format.plural(snapshots, "snapshot")}, ` +
      `${format.plural(packs, "pack")} of ${format.bytes(packBytes)}` +
      (unneededPacks === 0 ? "" : `; ${unneededPacks} (${format.bytes(unneededBytes)}) that no run needs`),
  );
  if (options.readData !== undefined) {
    const how = options.identity === undefined ? "their digests compared" : "opened, every chunk compared";
    output.say(`${format.plural(readPacks, "pack")} of ${format.bytes(readBytes)} read, ${how}`);
  } else output.say("what the packs hold was not read: --read-data does");
  if (result.newest !== null) output.say(`the newest entry of the chain has number ${result.newest.sequence}`);
  output.say(document.clean ? output.styleWords("green", "all is well") : "not all is well: see above");
}
