// skep service rollback: a service back to what it was before its last update, also where a backup stopped it since.
import type { Command } from "commander";
import { rolledBackSchema } from "../../api/schemas.ts";
import { accessApi, addApiOptions, addKitOption, type ApiOptions } from "../access.ts";
import { agree } from "../confirm.ts";
import { exitCodes, type ExitCode } from "../exit-code.ts";
import * as format from "../format.ts";
import { describe, run, type Session } from "../session.ts";

interface RollbackOptions extends ApiOptions {
  yes?: true;
}

export function register(program: Command): void {
  const service = program.command("service").description("look after services that backups stopped");
  const rollback = service
    .command("rollback <service>")
    .description("what `docker service rollback` means, also where a backup or a restore stopped the service since");
  addApiOptions(addKitOption(rollback)).option("--yes", "do it without being asked");
  run(describe(rollback, "skep service rollback shop_db --kit skep-kit"), rollBack);
}

async function rollBack(session: Session, options: RollbackOptions, name: string): Promise<ExitCode> {
  const { output, signal } = session;
  const api = await accessApi(options);
  const shown = format.visible(name);
  output.say(`service ${shown} goes to the spec before its last update: image, replicas and all else`);
  if (!(await agree(session, options.yes === true, `Roll service ${shown} back?`))) return exitCodes.failed;
  const path = `/v1/services/${encodeURIComponent(name)}/rollback`;
  const answer = await api.call({ method: "POST", path, schema: rolledBackSchema }, signal);
  output.document(answer);
  const from = answer.fromRecord ? "from the record of the hold" : "by Docker's own rollback";
  output.print(`service ${format.visible(answer.service)} was rolled back, ${from}`);
  return exitCodes.done;
}
