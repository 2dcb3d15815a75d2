// What `skep restore secret|config|network|service|stack` does: objects of a Raft copy into a living swarm, through the Engine API of
// a manager (docs/DESIGN.md, "Objects into a living swarm"). The plan comes first; nothing is done that it does not show.
import { SkepError } from "../../shared/errors.ts";
import type { CreatedKind, Engine } from "../engine/engine.ts";
import { carryOut, refuseConflicts } from "../objects/carry-out.ts";
import { compareObjects } from "../objects/comparison.ts";
import { copiedObjects } from "../objects/copied-objects.ts";
import { planObjects, type Existing, type ObjectsPlan } from "../objects/plan.ts";
import { presentObjects } from "../objects/present-objects.ts";
import { renamed, withPorts, withSubnets } from "../objects/renaming.ts";
import { select, type Selection } from "../objects/selection.ts";
import { agree } from "./confirm.ts";
import type { RestoreObjectsDocument } from "./restore-documents.ts";
import { exitCodes, type ExitCode } from "./exit-code.ts";
import * as format from "./format.ts";
import { openEngine } from "./named-engine.ts";
import { openRaftSource, type RaftSourceOptions } from "./raft-source.ts";
import { notAsPlanned, renderPlan, stepDocument } from "./restore-objects-report.ts";
import type { Session } from "./session.ts";

export interface RestoreObjectsOptions extends RaftSourceOptions {
  run: string;
  from?: string;
  docker?: string;
  as?: string;
  existing: Existing;
  publish?: Map<number, number>;
  remapSubnet?: Map<string, string>;
  yes?: boolean;
  dryRun?: boolean;
}

export type Restorable = CreatedKind | "stack";

export async function restoreObjects(
  session: Session,
  options: RestoreObjectsOptions,
  kind: Restorable,
  name: string,
): Promise<ExitCode> {
  const { output, signal } = session;
  if (options.from !== undefined && options.run !== "latest") {
    throw new SkepError({
      code: "SKEP_CLI_USAGE",
      message: "--run and --from name two sources",
      permanent: true,
      hint: "give one of them",
    });
  }
  const engine = await openEngine(options.docker);
  await refuseWorker(engine, signal);
  const source = options.from ?? options.run;
  const swarm = await openRaftSource(session, source, options);
  const wanted = wantedObjects(select(copiedObjects(swarm.state), kind, name), kind, name, options);
  const present = await presentObjects(engine, signal);
  const plan = planObjects(wanted, present, { existing: options.existing, held: false });
  const document = (done: boolean, result: RestoreObjectsDocument["result"]): RestoreObjectsDocument => ({
    source,
    engine: engine.address,
    steps: plan.steps.map(stepDocument),
    conflicts: plan.conflicts,
    notes: plan.notes,
    done,
    result,
  });
  output.say(renderPlan(output, plan, { source, engine: engine.address }));
  if (options.dryRun === true) {
    output.document(document(false, null));
    return plan.conflicts.length === 0 ? exitCodes.done : exitCodes.failed;
  }
  refuseConflicts(plan);
  const changes = plan.steps.filter(({ action }) => action !== "keep").length;
  if (
    changes > 0 &&
    !(await agree(session, options.yes ?? false, `Do ${format.plural(changes, "step")} in the swarm?`))
  ) {
    output.say("nothing was changed");
    output.document(document(false, null));
    return exitCodes.done;
  }
  return await perform(session, engine, plan, document);
}

async function perform(
  { output, signal }: Session,
  engine: Engine,
  plan: ObjectsPlan,
  document: (done: boolean, result: RestoreObjectsDocument["result"]) => RestoreObjectsDocument,
): Promise<ExitCode> {
  await carryOut(engine, plan, {
    held: false,
    signal,
    onStep: ({ action, kind, name }) => {
      if (action !== "keep") output.say(`${kind} ${format.visible(name)}: done`);
    },
  });
  const compared = compareObjects(plan.steps, await presentObjects(engine, signal));
  const result = compared.map(({ kind, name, result: outcome }) => ({ kind, name, result: outcome }));
  output.document(document(true, result));
  const others = notAsPlanned(plan, compared);
  for (const { kind, name, result: outcome } of others)
    output.warn(`${kind} ${format.visible(name)} is ${outcome} now`);
  output.say(
    others.length === 0
      ? `${format.plural(compared.length, "object")} compared: each is as the plan says. docker service ps shows tasks start`
      : "somebody else changed these meanwhile",
  );
  return others.length === 0 ? exitCodes.done : exitCodes.partial;
}

function wantedObjects(
  selection: Selection,
  kind: Restorable,
  name: string,
  options: RestoreObjectsOptions,
): Selection {
  const named = options.as === undefined ? selection : renamed(selection, kind, name, options.as);
  return withSubnets(withPorts(named, options.publish ?? new Map()), options.remapSubnet ?? new Map());
}

/** Before the copy is fetched and the identity is opened. */
async function refuseWorker(engine: Engine, signal: AbortSignal): Promise<void> {
  const { Swarm, Name } = await engine.info(signal);
  if (Swarm.ControlAvailable) return;
  throw new SkepError({
    code: "SKEP_ENGINE_NOT_MANAGER",
    message: `the engine at ${engine.address} (${Name}) is no manager of a swarm`,
    permanent: true,
    hint: "name a manager with --docker or DOCKER_HOST",
  });
}
