// skep restore secret|config|network|service|stack: objects of a Raft copy into a living swarm, through the Engine API of
// a manager (docs/DESIGN.md, "Objects into a living swarm"). The plan comes first; nothing is done that it does not show.
import { InvalidArgumentError, Option, type Command } from "commander";
import { SkepError } from "../../shared/errors.ts";
import type { CreatedKind, Engine } from "../engine/engine.ts";
import { carryOut, refuseConflicts } from "../objects/carry-out.ts";
import { compareObjects } from "../objects/comparison.ts";
import { copiedObjects } from "../objects/copied-objects.ts";
import { planObjects, type Existing, type ObjectsPlan } from "../objects/plan.ts";
import { presentObjects } from "../objects/present-objects.ts";
import { renamed, withPorts, withSubnets } from "../objects/renaming.ts";
import { select, type Selection } from "../objects/selection.ts";
import { addIdentityOption, addKitOption, addStoreOptions } from "./access.ts";
import { agree } from "./confirm.ts";
import type { RestoreObjectsDocument } from "./restore-documents.ts";
import { exitCodes, type ExitCode } from "./exit-code.ts";
import * as format from "./format.ts";
import { openEngine } from "./named-engine.ts";
import { openRaftSource, type RaftSourceOptions } from "./raft-source.ts";
import { notAsPlanned, renderPlan, stepDocument } from "./restore-objects-report.ts";
import { describe, run, type Session } from "./session.ts";

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

type Restorable = CreatedKind | "stack";

const commands: Record<Restorable, { what: string; example: string }> = {
  secret: {
    what: "bring a secret back; an update makes one of a new name and points its services to it",
    example: "skep restore secret db-password --identity identity-anna.txt",
  },
  config: {
    what: "bring a config back; an update makes one of a new name and points its services to it",
    example: "skep restore config app.conf --existing update --identity identity-anna.txt",
  },
  network: {
    what: "bring a network back, with its subnets",
    example: "skep restore network back --remap-subnet 10.0.1.0/24=10.77.1.0/24 --identity identity-anna.txt",
  },
  service: {
    what: "bring a service back, with the networks, secrets and configs that it needs",
    example: "skep restore service shop_web --existing update --identity identity-anna.txt",
  },
  stack: {
    what: "bring a stack back: all its objects and what they need; volumes come back by `skep restore volume`",
    example: "skep restore stack shop --as shop-copy --publish 8080=18080 --identity identity-anna.txt",
  },
};

export function registerObjectRestores(restore: Command): void {
  for (const kind of Object.keys(commands) as Restorable[]) {
    const { what, example } = commands[kind];
    const command = restore
      .command(`${kind} <name>`)
      .description(what)
      .option("--run <run>", "from this run (default: the newest with a proven Raft copy)", "latest")
      .option("--from <source>", "from a swarm directory or a tar of one instead of a run")
      .option("--unlock-key-file <file>", "the copied swarm's unlock key, where it is autolocked; - reads stdin")
      .option(
        "--docker <address>",
        "engine of a manager: unix:///PATH or tcp://HOST:PORT (default: $DOCKER_HOST, else this machine's)",
      )
      .option("--as <name>", kind === "stack" ? "as a stack of another name" : "under another name")
      .addOption(
        new Option("--existing <what>", "what becomes of those that are there and differ")
          .choices(["fail", "skip", "update"])
          .default("fail"),
      )
      .option("--dry-run", "show the plan and do nothing")
      .option("--yes", "do it without being asked");
    if (kind === "service" || kind === "stack") {
      command.option("--publish <old=new>", "publish a port elsewhere; may be given again", parsePublish);
    }
    if (kind !== "secret" && kind !== "config") {
      command.option("--remap-subnet <old=new>", "give a network another subnet; may be given again", parseSubnets);
    }
    addIdentityOption(addStoreOptions(addKitOption(command)));
    run(describe(command, example), (session, options: RestoreObjectsOptions, name) =>
      restoreObjects(session, options, kind, name),
    );
  }
}

function parsePublish(text: string, before = new Map<number, number>()): Map<number, number> {
  const [, from, to] = /^(\d{1,5})=(\d{1,5})$/.exec(text) ?? [];
  const valid = (port: number): boolean => port >= 1 && port <= 65_535;
  if (!valid(Number(from)) || !valid(Number(to))) throw new InvalidArgumentError("write OLD=NEW, e.g. 8080=18080");
  return before.set(Number(from), Number(to));
}

export function parseSubnets(text: string, before = new Map<string, string>()): Map<string, string> {
  const [, from, to] = /^([0-9a-fA-F.:/]+)=([0-9a-fA-F.:/]+)$/.exec(text) ?? [];
  if (from === undefined || to === undefined)
    throw new InvalidArgumentError("write OLD=NEW, e.g. 10.0.1.0/24=10.77.1.0/24");
  return before.set(from, to);
}

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
