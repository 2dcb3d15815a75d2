// skep doctor: is everything in place for backups, and for bringing them back?
import { existsSync } from "node:fs";
import { join } from "node:path";
import type { Command } from "commander";
import { SkepError } from "../../../shared/errors.ts";
import { checkPromises } from "../../../shared/store/conformance.ts";
import { parseLocation, parseStoreUrl } from "../../../shared/store/location.ts";
import { openStore } from "../../../shared/store/open.ts";
import type { Store } from "../../../shared/store/store.ts";
import { findingsSchema, type Finding } from "../../api/schemas.ts";
import {
  accessApi,
  accessControllerKey,
  accessIdentity,
  accessStore,
  addApiOptions,
  addIdentityOption,
  addKitOption,
  addStoreOptions,
  readCluster,
  readCredentials,
  type ApiOptions,
  type IdentityOptions,
  type StoreOptions,
} from "../access.ts";
import { withControllerKey, withOperator } from "../catalogue-access.ts";
import { checkKit, gather, judgeAgentCredentials, judgePromises, judgeStore, ok, type Finder } from "../doctor.ts";
import { exitCodes, type ExitCode } from "../exit-code.ts";
import * as format from "../format.ts";
import { findKit, kitFileNames, type Kit } from "../kit.ts";
import type { Output } from "../output.ts";
import { describe, run, type Session } from "../session.ts";
import { askLocalNode } from "../standalone/engine.ts";
import { addHostOptions, type HostOptions } from "../standalone/host.ts";

type DoctorOptions = ApiOptions & StoreOptions & IdentityOptions & HostOptions;

export function register(program: Command): void {
  const command = program.command("doctor").description("look whether backups and restores will work");
  addHostOptions(addIdentityOption(addStoreOptions(addApiOptions(addKitOption(command)))));
  const example = `skep doctor --kit skep-kit --identity identity-anna.txt
skep doctor --standalone --kit skep-kit
skep doctor --store s3://bucket/prefix --endpoint https://s3.example.org --credentials keys.json`;
  run(describe(command, example), doctor);
}

async function doctor(session: Session, options: DoctorOptions): Promise<ExitCode> {
  const { output, signal } = session;
  const findings = await gather(await finders(session, options), signal);
  output.document({ findings });
  for (const finding of findings) output.print(render(output, finding));
  const count = (level: Finding["level"]): number => findings.filter((finding) => finding.level === level).length;
  output.say(`${format.plural(count("error"), "error")}, ${format.plural(count("warning"), "warning")}`);
  return count("error") > 0 ? exitCodes.failed : exitCodes.done;
}

async function finders(session: Session, options: DoctorOptions): Promise<Finder[]> {
  const { signal } = session;
  const kit = await findKit(options.kit);
  const asksController = options.standalone !== true && (kit !== null || options.api !== undefined);
  return [
    ...(kit === null ? [] : [() => checkKit(kit, Date.now())]),
    async () => {
      const { location, credentials } = await accessStore(session, options);
      const store = openStore(location, credentials);
      try {
        const findings = judgeStore(store.address, await store.probe(signal));
        return isStoreAlone(kit, options) ? [...findings, ...(await tryStore(session, store))] : findings;
      } finally {
        await store.close();
      }
    },
    ...(kit === null || options.store !== undefined ? [] : [() => checkAgentCredentials(session, kit)]),
    () => checkControllerKey(session, options),
    () => checkIdentity(session, options, kit !== null),
    ...(asksController ? [() => checkController(session, options)] : []),
    ...(options.standalone === true ? [() => checkEngine(session, options)] : []),
  ];
}

/** None where the kit's agents need none, or where it was left without theirs. */
async function checkAgentCredentials({ signal }: Session, kit: Kit): Promise<Finding[]> {
  const location = parseLocation((await readCluster(kit)).store);
  const path = join(kit.folder, kitFileNames.agentStore);
  if (parseStoreUrl(location.url)?.kind === "file" || !existsSync(path)) return [];
  const store = openStore(location, await readCredentials(path));
  try {
    return judgeAgentCredentials(store.address, await store.probe(signal));
  } finally {
    await store.close();
  }
}

/** Only the store is named: is it fit for backups at all? */
function isStoreAlone(kit: Kit | null, { store, identity, api }: DoctorOptions): boolean {
  return kit === null && store !== undefined && identity === undefined && api === undefined;
}

async function tryStore({ output, signal }: Session, store: Store): Promise<Finding[]> {
  output.say("trying what backups need of a store: some 1,050 small objects and 23 MiB, deleted again");
  return judgePromises(store.address, await checkPromises(store, signal));
}

async function checkControllerKey(session: Session, options: DoctorOptions): Promise<Finding[]> {
  const key = await accessControllerKey(options);
  if (key === null) return [];
  return await withControllerKey(session, options, key, ({ repository }) =>
    Promise.resolve([
      ok("SKEP_DOCTOR_CONTROLLER_KEY", `the kit's controller key fits repository ${repository.repositoryId}`),
    ]),
  );
}

/** An identity that was not named and is not in the kit is where it belongs: offline. */
async function checkIdentity(session: Session, options: DoctorOptions, hasKit: boolean): Promise<Finding[]> {
  try {
    await accessIdentity(session, options);
  } catch (error) {
    const absent =
      options.identity === undefined &&
      error instanceof SkepError &&
      (error.code === "SKEP_CLI_USAGE" || error.code === "SKEP_CLI_FILE_UNREADABLE");
    if (!absent) throw error;
    const words = hasKit ? "the identity is not here" : "no identity was named";
    return [ok("SKEP_DOCTOR_IDENTITY_OFFLINE", `${words}: name it with --identity to see whether it fits`)];
  }
  return await withOperator(session, options, async ({ operator }) => {
    const { repositoryId, epoch } = operator.repositoryObject;
    await operator.epochIdentity(epoch.number);
    return [ok("SKEP_DOCTOR_IDENTITY", `the identity opens repository ${repositoryId}`)];
  });
}

async function checkController({ signal }: Session, options: DoctorOptions): Promise<Finding[]> {
  const api = await accessApi(options);
  const { findings } = await api.call({ path: "/v1/doctor", schema: findingsSchema }, signal);
  return [ok("SKEP_DOCTOR_CONTROLLER", `the controller at ${api.url} answers`), ...findings];
}

async function checkEngine({ signal }: Session, { dockerSocket }: DoctorOptions): Promise<Finding[]> {
  const { hostname, role } = await askLocalNode(dockerSocket, signal);
  const what = { manager: "a swarm manager", worker: "a swarm worker", standalone: "in no swarm" }[role];
  return [ok("SKEP_DOCTOR_ENGINE", `the Docker engine of ${hostname} answers; it is ${what}`)];
}

const levelStyles = { ok: "green", warning: "yellow", error: "red" } as const;

function render(output: Output, { level, code, message, hint }: Finding): string {
  const lines = [`${output.style(levelStyles[level], level.padEnd(7))} ${format.visible(message)}`];
  if (hint !== undefined && level !== "ok")
    lines.push(`        ${output.style("cyan", "hint:")} ${format.visible(hint)}`);
  if (level !== "ok") lines.push(output.style("dim", `        code: ${code}`));
  return lines.join("\n");
}
