// skep show: one run: what it covers, what not and why, its faults and warnings.
import type { Command } from "commander";
import { SkepError } from "../../../shared/errors.ts";
import { runIdPattern } from "../../../shared/repository/layout.ts";
import { readRun } from "../../../shared/repository/run-chain.ts";
import { runAnswerSchema, type RunAnswer } from "../../api/schemas.ts";
import { accessApi } from "../access.ts";
import { makeBoard } from "../board.ts";
import { withCatalogue } from "../catalogue-access.ts";
import { passingOver } from "../run-address.ts";
import { exitCodes, type ExitCode } from "../exit-code.ts";
import { boardOf, renderRun } from "../run-report.ts";
import { describe, run, type Session } from "../session.ts";
import { addFromStoreOptions, readsStore, type FromStoreOptions } from "./runs.ts";

export function register(program: Command): void {
  const command = program.command("show").argument("[run]", "a run's id, or latest", "latest");
  command.description("show a run: what it covers, what not, and why");
  addFromStoreOptions(command);
  run(describe(command, "skep show latest --kit skep-kit\nskep show 20261121-030000-k3v9qd --from-store"), show);
}

export function checkRunId(id: string): string {
  if (id === "latest" || runIdPattern.test(id)) return id;
  throw new SkepError({
    code: "SKEP_CLI_USAGE",
    message: `${JSON.stringify(id)} is no run id`,
    permanent: true,
    hint: "a run id looks like 20261121-030000-k3v9qd; `skep runs` lists them, `latest` is the newest",
  });
}

async function show(session: Session, options: FromStoreOptions, given: string): Promise<ExitCode> {
  const { output, signal } = session;
  const id = checkRunId(given);
  const answer: RunAnswer = readsStore(options)
    ? { run: await runOfStore(session, options, id) }
    : await (await accessApi(options)).call({ path: `/v1/runs/${id}`, schema: runAnswerSchema }, signal);
  output.document(answer);
  if ("run" in answer) output.print(renderRun(output, answer.run, Date.now()));
  else {
    const { title, lines } = boardOf(answer.progress);
    const board = makeBoard(output);
    board.update(title, lines);
    board.close();
  }
  return exitCodes.done;
}

async function runOfStore(
  session: Session,
  options: FromStoreOptions,
  id: string,
): Promise<Extract<RunAnswer, { run: unknown }>["run"]> {
  return await withCatalogue(session, options, async ({ store, catalogue }) => {
    const found = await readRun(catalogue, id, passingOver(session));
    if (found !== null) return found.run;
    throw new SkepError({
      code: "SKEP_RUN_UNKNOWN",
      message:
        id === "latest" ? `there is no run at ${store.address} yet` : `there is no run ${id} at ${store.address}`,
      permanent: true,
      hint: "`skep runs` lists the runs",
    });
  });
}
