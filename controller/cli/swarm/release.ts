// skep swarm release: gives services back what they were before `skep swarm restore` held them.
import { setTimeout as sleep } from "node:timers/promises";
import { z } from "zod";
import { specJsonSchema, type SpecJson } from "../../../shared/held-spec.ts";
import { SkepError, toErrorRecord } from "../../../shared/errors.ts";
import { looksHeld } from "../../objects/held.ts";
import { serviceSpecSchema } from "../../objects/portable.ts";
import {
  heldServicesName,
  readHeldServices,
  releasedSpec,
  writeHeldServices,
  type HeldServiceRecord,
  type HeldServices,
  type PresentService,
} from "../../swarm-restore/held-services.ts";
import { localHost } from "../../swarm-restore/local-host.ts";
import type { SwarmHost } from "../../swarm-restore/host.ts";
import { agree } from "../confirm.ts";
import { exitCodes, type ExitCode } from "../exit-code.ts";
import * as format from "../format.ts";
import type { Session } from "../session.ts";
import { callEngine } from "../standalone/engine-call.ts";
import { askEngineInfo } from "../standalone/engine.ts";
import { table } from "../table.ts";

export interface SwarmReleaseOptions {
  dataRoot?: string;
  dockerSocket: string;
  yes?: boolean;
}

const serviceSchema = z.looseObject({
  ID: z.string(),
  Version: z.looseObject({ Index: z.int() }),
  Spec: specJsonSchema,
  PreviousSpec: specJsonSchema.nullish(),
});

export async function releaseServices(
  session: Session,
  options: SwarmReleaseOptions,
  ...given: string[]
): Promise<ExitCode> {
  // commander gives the rest of the arguments as one.
  const names = given.flat();
  const { output, signal } = session;
  const info = await askEngineInfo(options.dockerSocket, signal);
  const host = localHost((call, until) => callEngine(options.dockerSocket, call, until));
  const dataRoot = options.dataRoot ?? info.DockerRootDir;
  const held = await readHeldServices(host, dataRoot, signal);
  if (held === null || held.clusterId !== info.Swarm.Cluster?.ID) throw nothingHeld(info.Name, dataRoot);
  const chosen = chooseHeld(held, names);
  const present = await listServices(host, signal);
  const released = chosen.map((service) => ({ ...service, ...describeRelease(service, present.get(service.id)) }));

  output.say(
    table(
      output,
      [
        { head: "SERVICE", cell: ({ name }) => format.visible(name) },
        { head: "MODE", cell: ({ mode }) => mode },
        { head: "WILL", cell: ({ will }) => will },
      ],
      released,
    ),
  );
  const due = released.filter(({ isHeld }) => isHeld);
  if (due.length > 0 && !(await agree(session, options.yes === true, "Let these services start?"))) {
    output.say("nothing was changed");
    return exitCodes.failed;
  }
  const failed: { name: string; code: string; message: string }[] = [];
  const done = new Set(released.filter(({ isHeld }) => !isHeld).map(({ id }) => id));
  try {
    for (const service of due) {
      try {
        await release(host, service, signal);
        done.add(service.id);
      } catch (error) {
        signal.throwIfAborted();
        const { code, message } = toErrorRecord(error);
        failed.push({ name: service.name, code, message });
        output.warn(`${format.visible(service.name)} is held still: ${code}: ${format.visible(message)}`);
      }
    }
  } finally {
    // Interrupted too: what was released is not held any more.
    const left = { ...held, services: held.services.filter(({ id }) => !done.has(id)) };
    await writeHeldServices(host, dataRoot, left, new AbortController().signal);
  }
  const started = due.filter(({ id }) => done.has(id)).map(({ name }) => name);
  const left = held.services.filter(({ id }) => !done.has(id)).map(({ name }) => name);
  output.document({ released: started, failed, held: left });
  output.say(`${format.plural(started.length, "service")} released, ${left.length} held still`);
  return failed.length === 0 ? exitCodes.done : exitCodes.partial;
}

/** All where none is named. Throws SKEP_CLI_USAGE. */
function chooseHeld({ services }: HeldServices, names: readonly string[]): HeldServiceRecord[] {
  if (names.length === 0) return services;
  const unknown = names.filter((wanted) => !services.some(({ id, name }) => id === wanted || name === wanted));
  if (unknown.length === 0) return services.filter(({ id, name }) => names.includes(id) || names.includes(name));
  throw new SkepError({
    code: "SKEP_CLI_USAGE",
    message: `not held: ${unknown.join(", ")}`,
    permanent: true,
    hint: `held are ${services.map(({ name }) => name).join(", ")}`,
  });
}

async function listServices(host: SwarmHost, signal: AbortSignal): Promise<Map<string, PresentService>> {
  const services = z.array(serviceSchema).parse(await host.askEngine({ path: "/services" }, signal));
  return new Map(services.map((service) => [service.ID, service]));
}

function describeRelease(
  held: HeldServiceRecord,
  present: PresentService | undefined,
): { isHeld: boolean; will: string } {
  if (present === undefined) return { isHeld: false, will: "be forgotten: it was removed" };
  const spec = releasedSpec(held, present);
  if (spec === null) return { isHeld: false, will: "stay as it is: somebody released it" };
  if (held.mode.endsWith("Job")) return { isHeld: true, will: "run anew" };
  if (held.mode === "global") return { isHeld: true, will: "start on its nodes" };
  return { isHeld: true, will: `have ${format.plural(spec.Mode.Replicated?.Replicas ?? 1, "replica")}` };
}

const updateTries = 10;

/**
 * Twice, but for jobs, which an update runs anew: the swarm keeps the spec before the last update, and a rollback, also one that
 * it makes itself where tasks fail, would find the held one. The second update changes nothing, so no task starts anew.
 */
async function release(host: SwarmHost, held: HeldServiceRecord, signal: AbortSignal): Promise<void> {
  await update(host, held.id, (present) => releasedSpec(held, present), signal);
  if (held.mode.endsWith("Job")) return;
  const behindIsHeld = ({ Spec, PreviousSpec }: PresentService & { PreviousSpec?: SpecJson | null | undefined }) =>
    PreviousSpec != null && looksHeld(PreviousSpec, serviceSpecSchema.parse(Spec)) ? Spec : null;
  await update(host, held.id, behindIsHeld, signal);
}

/** An engine's own notes at a service raise its version at any time: then it is read and updated again. */
async function update(
  host: SwarmHost,
  id: string,
  specFor: (present: z.infer<typeof serviceSchema>) => SpecJson | null,
  signal: AbortSignal,
): Promise<void> {
  const path = `/services/${encodeURIComponent(id)}`;
  for (let tries = 1; ; tries++) {
    const present = serviceSchema.parse(await host.askEngine({ path }, signal));
    const body = specFor(present);
    if (body === null) return;
    try {
      await host.askEngine({ method: "POST", path: `${path}/update?version=${present.Version.Index}`, body }, signal);
      return;
    } catch (error) {
      if (!(error instanceof SkepError) || error.code !== "SKEP_DOCKER_CONFLICT" || tries >= updateTries) throw error;
      await sleep(100 * tries, undefined, { signal });
    }
  }
}

function nothingHeld(hostname: string, dataRoot: string): SkepError {
  return new SkepError({
    code: "SKEP_SWARM_NOTHING_HELD",
    message: `no service of this swarm is held by a restore on ${hostname}`,
    permanent: true,
    hint:
      `run it on the manager that was restored; it reads ${dataRoot}/${heldServicesName}, ` +
      `which another restore moves to ${heldServicesName}.before-ID: who goes back to the swarm of before moves it back too`,
  });
}
