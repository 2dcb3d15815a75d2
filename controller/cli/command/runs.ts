// skep runs: what runs there are, newest first; from the controller, or from the store itself.
import type { Command } from "commander";
import type { SkepError } from "../../../shared/errors.ts";
import { readProtection } from "../../../shared/repository/catalogue.ts";
import { ForeignObjects } from "../../../shared/repository/foreign.ts";
import { readRuns } from "../../../shared/repository/run-chain.ts";
import { runsSchema } from "../../api/schemas.ts";
import {
  accessApi,
  addApiOptions,
  addIdentityOption,
  addKitOption,
  addStoreOptions,
  parseCount,
  type ApiOptions,
  type IdentityOptions,
  type StoreOptions,
} from "../access.ts";
import { withCatalogue } from "../catalogue-access.ts";
import type { RunsDocument } from "../documents.ts";
import { exitCodes, type ExitCode } from "../exit-code.ts";
import * as format from "../format.ts";
import { renderRuns, summaryOf } from "../run-report.ts";
import { describe, run, type Session } from "../session.ts";

export interface FromStoreOptions extends ApiOptions, StoreOptions, IdentityOptions {
  fromStore?: boolean;
}

export function addFromStoreOptions(command: Command): Command {
  addApiOptions(addKitOption(command)).option(
    "--from-store",
    "read the store itself, with the identity or the kit's controller key: the swarm may be dead",
  );
  return addIdentityOption(addStoreOptions(command, "(reads the store itself)"));
}

export function readsStore(options: FromStoreOptions): boolean {
  return options.fromStore === true || options.store !== undefined;
}

export function register(program: Command): void {
  const command = program.command("runs").description("list the runs, newest first");
  addFromStoreOptions(command).option("--limit <count>", "at most this many", parseCount, 20);
  const example = `skep runs --kit skep-kit
skep runs --store s3://backups/swarm-a --credentials keys.json --identity identity-anna.txt`;
  run(describe(command, example), runs);
}

async function runs(session: Session, options: FromStoreOptions & { limit: number }): Promise<ExitCode> {
  const { output } = session;
  const document = readsStore(options) ? await runsOfStore(session, options) : await runsOfController(session, options);
  output.document(document);
  if (document.runs.length > 0) output.print(renderRuns(output, document.runs, Date.now()));
  else output.say("there is no run yet: `skep backup --wait` makes one");
  for (const { id, protection } of document.runs) {
    if (protection?.fault != null) output.warn(format.visible(`run ${id} is not protected: ${protection.fault}`));
  }
  for (const fault of document.faults) output.warn(format.visible(`${fault.key}: ${fault.message}`));
  if (document.faultsLeftOut > 0)
    output.warn(`and ${format.plural(document.faultsLeftOut, "more object")} under runs/`);
  return document.faults.length > 0 ? exitCodes.partial : exitCodes.done;
}

async function runsOfController(
  { signal }: Session,
  options: FromStoreOptions & { limit: number },
): Promise<RunsDocument> {
  const api = await accessApi(options);
  const answer = await api.call({ path: `/v1/runs?limit=${options.limit}`, schema: runsSchema }, signal);
  return { ...answer, faults: [], faultsLeftOut: 0 };
}

async function runsOfStore(session: Session, options: FromStoreOptions & { limit: number }): Promise<RunsDocument> {
  return await withCatalogue(session, options, async ({ catalogue }) => {
    const document: RunsDocument = { runs: [], faults: [], faultsLeftOut: 0 };
    const foreign = new ForeignObjects();
    const onFault = (fault: SkepError, key: string): unknown => foreign.add(fault, key);
    const protection = await readProtection(catalogue, { signal: session.signal, onFault });
    for await (const { run: found, key, chain } of readRuns(catalogue, { signal: session.signal, onFault })) {
      document.runs.push(summaryOf(found, protection));
      if (chain === "broken") {
        const message = "the run before it is missing, or another one";
        document.faults.push({ key, code: "SKEP_RUN_CHAIN_BROKEN", message });
      }
      if (document.runs.length >= options.limit) break;
    }
    document.faults.push(...Array.from(foreign, ({ key, fault: { code, message } }) => ({ key, code, message })));
    document.faultsLeftOut = foreign.leftOut;
    return document;
  });
}
