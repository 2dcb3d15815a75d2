// skep runbook: what the run tells about bringing its cluster back by hand.
import type { Command } from "commander";
import { mkdir, writeFile } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { SkepError } from "../../../shared/errors.ts";
import { readArchive } from "../../../shared/repository/open/archive-reader.ts";
import type { Operator } from "../../../shared/repository/open/operator.ts";
import type { Run } from "../../../shared/repository/run.ts";
import type { Store } from "../../../shared/store/store.ts";
import { runbookName } from "../../runbook/write-runbook.ts";
import {
  addIdentityOption,
  addKitOption,
  addStoreOptions,
  type IdentityOptions,
  type StoreOptions,
} from "../access.ts";
import { withOperator } from "../catalogue-access.ts";
import type { RunbookDocument } from "../documents.ts";
import { exitCodes, type ExitCode } from "../exit-code.ts";
import { parseRunAddress, passingOver, resolveRun } from "../run-address.ts";
import { describe, run, type Session } from "../session.ts";

interface RunbookOptions extends StoreOptions, IdentityOptions {
  out?: string;
}

export function register(program: Command): void {
  const command = program
    .command("runbook")
    .argument("[run]", "a run, or latest", "latest")
    .description("print how the cluster of a run comes back by hand, without Skep")
    .option("--out <folder>", "write it there, with the reader and the lists of objects, instead of printing it");
  addIdentityOption(addStoreOptions(addKitOption(command)));
  const example = `skep runbook latest --identity identity-anna.txt > RUNBOOK.md
skep runbook 20261121 --out by-hand`;
  run(describe(command, example), printRunbook);
}

async function printRunbook(session: Session, options: RunbookOptions, given: string): Promise<ExitCode> {
  const { output, signal } = session;
  return await withOperator(session, options, async ({ store, operator, catalogue }) => {
    const { run: found } = await resolveRun(catalogue, parseRunAddress(given).run, passingOver(session));
    const files = await readRunbook(store, operator, found, signal);
    const text = files.get(runbookName)?.toString("utf8");
    if (text === undefined) throw noRunbook(found.id);
    const folder = options.out === undefined ? null : resolve(options.out);
    const document: RunbookDocument = { runId: found.id, files: [...files.keys()], folder, text };
    output.document(document);
    if (folder === null) output.print(text.trimEnd());
    else {
      await writeAll(folder, files);
      output.print(`${join(folder, runbookName)}, and ${files.size - 1} files that it needs`);
    }
    return exitCodes.done;
  });
}

/** By path. Throws SKEP_RUNBOOK_MISSING, and what reading an archive throws. */
async function readRunbook(
  store: Store,
  operator: Operator,
  { id, parts }: Run,
  signal: AbortSignal,
): Promise<Map<string, Buffer>> {
  const part = parts.find(({ kind }) => kind === "runbook");
  if (part?.archive === undefined || part.epoch === undefined) throw noRunbook(id);
  const identity = await operator.epochIdentity(part.epoch);
  const files = new Map<string, Buffer>();
  for await (const { path, content } of readArchive({ store, archive: part.archive, identity, signal })) {
    const pieces: Uint8Array[] = [];
    for await (const piece of content) pieces.push(piece);
    files.set(path, Buffer.concat(pieces));
  }
  return files;
}

/** Nothing is overwritten. Throws SKEP_CLI_FILE_UNWRITABLE. */
async function writeAll(folder: string, files: ReadonlyMap<string, Buffer>): Promise<void> {
  for (const [path, bytes] of files) {
    const target = join(folder, path);
    try {
      await mkdir(dirname(target), { recursive: true, mode: 0o700 });
      await writeFile(target, bytes, { flag: "wx", mode: 0o600 });
    } catch (error) {
      throw new SkepError({
        code: "SKEP_CLI_FILE_UNWRITABLE",
        message: `${target} can't be written: ${error instanceof Error ? error.message : String(error)}`,
        permanent: true,
        hint: "nothing is overwritten: name a new folder with --out",
        cause: error,
      });
    }
  }
}

function noRunbook(runId: string): SkepError {
  return new SkepError({
    code: "SKEP_RUNBOOK_MISSING",
    message: `run ${runId} has no runbook`,
    permanent: true,
    hint: "nothing in it can be restored, or an older Skep wrote it; docs/FORMAT.md, “By hand”, serves every run",
  });
}
