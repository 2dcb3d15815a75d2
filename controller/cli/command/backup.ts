// skep backup: orders a run from the controller, or makes one on this machine alone.
import type { Command } from "commander";
import { SkepError } from "../../../shared/errors.ts";
import { runStartedSchema } from "../../api/schemas.ts";
import {
  accessApi,
  addApiOptions,
  addKitOption,
  addStoreOptions,
  needControllerKey,
  readKitPolicy,
  type ApiOptions,
} from "../access.ts";
import { withControllerKey } from "../catalogue-access.ts";
import type { BackupDocument } from "../documents.ts";
import { exitCodeOfStatus, exitCodes, type ExitCode } from "../exit-code.ts";
import { followRun } from "../follow.ts";
import { concludingWords } from "../run-report.ts";
import { describe, run, type Session } from "../session.ts";
import { backupHere } from "../standalone/backup.ts";
import { addHostOptions, openHost, type HostOptions } from "../standalone/host.ts";

interface BackupOptions extends ApiOptions, HostOptions {
  wait?: boolean;
  schedule?: string;
  volumes?: string[];
}

const example = `skep backup --wait --kit skep-kit
skep backup --standalone --kit skep-kit --volumes 'db-*' www`;

export function register(program: Command): void {
  const command = program.command("backup").description("make a run now");
  addApiOptions(addKitOption(command))
    .option("--wait", "stay until the run has ended, and end with its status")
    .option("--schedule <name>", "run what this schedule of the policy would");
  addHostOptions(command).option("--volumes <globs...>", "standalone: these volumes instead of the policy's");
  addStoreOptions(command, "(standalone; default: the kit's)");
  run(describe(command, example), backup);
}

async function backup(session: Session, options: BackupOptions): Promise<ExitCode> {
  return options.standalone === true ? await backupStandalone(session, options) : await backupSwarm(session, options);
}

async function backupSwarm({ output, signal }: Session, options: BackupOptions): Promise<ExitCode> {
  if (options.volumes !== undefined || options.store !== undefined) {
    throw new SkepError({
      code: "SKEP_CLI_USAGE",
      message: "--volumes and --store belong to --standalone; a swarm's run follows its policy",
      permanent: true,
      hint: "`skep policy show` and `skep policy set` change what is selected",
    });
  }
  const api = await accessApi(options);
  const body = options.schedule === undefined ? {} : { schedule: options.schedule };
  const { runId } = await api.call({ method: "POST", path: "/v1/runs", body, schema: runStartedSchema }, signal);
  if (options.wait !== true) {
    const document: BackupDocument = { runId, run: null };
    output.document(document);
    output.print(runId);
    output.say(`run ${runId} is under way; \`skep show ${runId}\` tells how far it is`);
    return exitCodes.done;
  }
  const ended = await followRun({ output, signal }, api, runId);
  const document: BackupDocument = { runId: ended.id, run: ended };
  output.document(document);
  output.print(ended.id);
  if (ended.id !== runId) output.warn(`Redis lost run ${runId} before its end; run ${ended.id} was made in its place`);
  output.say(concludingWords(ended));
  if (ended.status !== "done") output.say(`\`skep show ${ended.id}\` tells what is missing, and why`);
  return exitCodeOfStatus(ended.status);
}

async function backupStandalone(session: Session, options: BackupOptions): Promise<ExitCode> {
  const { output } = session;
  if (options.schedule !== undefined) {
    throw new SkepError({
      code: "SKEP_CLI_USAGE",
      message: "a standalone run knows no schedules",
      permanent: true,
      hint: "let cron or a systemd timer call `skep backup --standalone`",
    });
  }
  const controllerKey = await needControllerKey(options);
  const ended = await withControllerKey(session, options, controllerKey, async (opened) => {
    const host = await openHost(session, options, opened.access, opened.repository, opened.repositoryKey);
    const { role, hostname } = host.node;
    if (role === "standalone") {
      output.say(`${hostname} is not in a swarm: no Raft part and no definitions, volumes alone`);
    } else if (role === "worker") {
      output.say(`${hostname} is a worker: Raft state and definitions are the managers', its volumes are taken`);
    }
    return await backupHere(session, {
      opened,
      controllerKey,
      host,
      seedPolicy: () => readKitPolicy(options),
      volumes: options.volumes ?? null,
    });
  });
  const document: BackupDocument = { runId: ended.id, run: ended };
  output.document(document);
  output.print(ended.id);
  output.say(concludingWords(ended));
  return exitCodeOfStatus(ended.status);
}
