// skep restore: a volume or an object of the swarm back as it was, what was there before back again, or gone for good.
import type { Command } from "commander";
import { SkepError } from "../../../shared/errors.ts";
import { restoreIdSchema } from "../../../shared/contract/job.ts";
import { restoresSchema } from "../../api/schemas.ts";
import { accessApi } from "../access.ts";
import { exitCodes, type ExitCode } from "../exit-code.ts";
import * as format from "../format.ts";
import { registerRestoreFiles } from "../restore-files.ts";
import { registerImageRestore } from "../restore-image.ts";
import { endRestore, restoreInSwarm } from "../restore-in-swarm.ts";
import { registerObjectRestores } from "../object-restores.ts";
import {
  addEndOptions,
  addPlaceOptions,
  addRestoreOptions,
  type EndOptions,
  type RestoreOptions,
} from "../restore-options.ts";
import { parseVolumeAddress } from "../restore-plan.ts";
import { describe, run, type Session } from "../session.ts";
import { endRestoreHere, listRestoresHere, restoreHere } from "../standalone/restore.ts";
import { table } from "../table.ts";
import { checkRunId } from "./show.ts";

export function register(program: Command): void {
  const restore = program.command("restore").description("bring back a volume or an object of the swarm, or undo that");
  const volume = restore
    .command("volume <node/name>")
    .description("restore a volume beside the present one, then exchange them; the present one is kept");
  addRestoreOptions(volume);
  const example = `skep restore volume node2/pgdata --stop --kit skep-kit --identity identity-anna.txt
skep restore volume host1/pgdata --as pgdata-old --standalone --kit skep-kit`;
  run(describe(volume, example), restoreVolume);
  registerObjectRestores(restore);

  registerRestoreFiles(restore);
  registerImageRestore(restore);

  const list = restore.command("list").description("list restores, newest first");
  addPlaceOptions(list);
  run(describe(list, "skep restore list --kit skep-kit\nskep restore list --standalone --kit skep-kit"), listRestores);

  const undo = restore.command("undo <id>").description("put back what was there before a restore");
  addEndOptions(undo);
  run(describe(undo, "skep restore undo k3v9qd2m4n5p --kit skep-kit"), (session, options: EndOptions, id) =>
    end(session, options, id, "undo"),
  );
  const discard = restore.command("discard <id>").description("remove for good what was there before a restore");
  addEndOptions(discard);
  run(describe(discard, "skep restore discard k3v9qd2m4n5p --kit skep-kit"), (session, options: EndOptions, id) =>
    end(session, options, id, "discard"),
  );
}

async function restoreVolume(session: Session, options: RestoreOptions, given: string): Promise<ExitCode> {
  const address = parseVolumeAddress(given);
  checkRunId(options.run);
  if (options.standalone !== true) return await restoreInSwarm(session, options, address);
  if (options.stop === true || options.toNode !== undefined) {
    throw new SkepError({
      code: "SKEP_CLI_USAGE",
      message: "--stop and --to-node need a controller, --standalone has none",
      permanent: true,
      hint: "stop the containers that use the volume yourself, on the machine where it is to be restored",
    });
  }
  return await restoreHere(session, options, address);
}

async function listRestores(session: Session, options: EndOptions): Promise<ExitCode> {
  if (options.standalone === true) return await listRestoresHere(session, options);
  const { output, signal } = session;
  const api = await accessApi(options);
  const answer = await api.call({ path: "/v1/restores", schema: restoresSchema }, signal);
  output.document(answer);
  const now = Date.now();
  if (answer.restores.length === 0) output.say("there was no restore yet");
  else {
    const columns = [
      { head: "ID", cell: ({ restoreId }: Row) => restoreId },
      { head: "STATE", cell: ({ state }: Row) => state },
      { head: "STARTED", cell: ({ startedAt }: Row) => format.age(startedAt, now) },
      { head: "RUN", cell: ({ runId }: Row) => runId },
      { head: "TO", cell: ({ toNodeId, targetName }: Row) => format.visible(`${toNodeId}/${targetName}`) },
      { head: "FAULT", cell: ({ error }: Row) => (error === undefined ? "" : format.visible(error.code)) },
    ];
    output.print(table(output, columns, answer.restores));
  }
  return exitCodes.done;
}
type Row = ReturnType<typeof restoresSchema.parse>["restores"][number];

async function end(
  session: Session,
  options: EndOptions,
  restoreId: string,
  what: "undo" | "discard",
): Promise<ExitCode> {
  if (!restoreIdSchema.safeParse(restoreId).success) {
    throw new SkepError({
      code: "SKEP_CLI_USAGE",
      message: `${JSON.stringify(restoreId)} is no restore's id`,
      permanent: true,
      hint: "`skep restore list` names them",
    });
  }
  return options.standalone === true
    ? await endRestoreHere(session, options, restoreId, what)
    : await endRestore(session, options, restoreId, what);
}
