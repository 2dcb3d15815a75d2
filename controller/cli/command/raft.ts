// skep raft: what is in a swarm's Raft state, read without any engine.
import { join } from "node:path";
import { InvalidArgumentError, type Command } from "commander";
import { SkepError } from "../../../shared/errors.ts";
import { diffSwarms, type ObjectChange } from "../../../shared/raft/diff.ts";
import { objectKinds, type ObjectKind } from "../../../shared/raft/object-store.ts";
import { addIdentityOption, addKitOption, addStoreOptions } from "../access.ts";
import { exitCodes, type ExitCode } from "../exit-code.ts";
import * as format from "../format.ts";
import { exportSwarm, writeExport } from "../raft-export.ts";
import { openRaftSource, openTwoRaftSources, type RaftSourceOptions } from "../raft-source.ts";
import { describe, run, type Session } from "../session.ts";
import { facts, table } from "../table.ts";

interface RaftOptions extends RaftSourceOptions {
  kind?: ObjectKind;
  reveal?: boolean;
}

export function register(program: Command): void {
  const raft = program.command("raft").description("read a swarm's Raft state: a directory, a file with one, or a run");
  const reveal = "show the data of secrets, tokens, keys and registry credentials";

  run(
    describe(
      sourceCommand(raft, "verify", "prove that it would load, and that everything in it can be read"),
      examples.verify,
    ),
    verify,
  );
  run(
    describe(
      sourceCommand(raft, "ls", "list its objects").option(
        "--kind <kind>",
        `one of ${objectKinds.join(", ")}`,
        parseKind,
      ),
      examples.ls,
    ),
    list,
  );
  const get = sourceCommand(raft, "get", "print one object as the Engine API would")
    .argument("<kind>", objectKinds.join(", "), parseKind)
    .argument("<name>", "its name, its id, or the id's beginning")
    .option("--reveal", reveal);
  run(describe(get, examples.get), getObject);
  const diff = withSourceOptions(raft.command("diff").description("tell what changed between two points in time"))
    .argument("<before>", "a swarm directory, a file of `skep swarm backup` or another tar of one, or a run")
    .argument("<after>", "likewise")
    .option("--reveal", reveal);
  run(describe(diff, examples.diff), difference);
  const out = sourceCommand(
    raft,
    "export",
    "write every object as a JSON file, and every stack as a compose file, for version control",
  )
    .requiredOption("--out <folder>", "a folder that is not there yet")
    .option("--update", "the folder is there: replace what the export before wrote, and touch nothing else")
    .option("--tasks", "tasks too, which come and go by themselves")
    .option("--reveal", `${reveal}; stacks then come with their secrets and configs as files`);
  run(describe(out, examples.export), exportObjects);
}

const examples = {
  verify: "skep raft verify /var/lib/docker/swarm --json",
  ls: "skep raft ls latest --kind secret --identity identity-anna.txt",
  get: "skep raft get latest secret db-password --reveal",
  diff: "skep raft diff 20261120-030000-k3v9qd latest",
  export: "skep raft export latest --out swarm-state\nskep raft export latest --out swarm-state --update",
};

function sourceCommand(raft: Command, name: string, description: string): Command {
  const command = raft.command(name).description(description);
  return withSourceOptions(command).argument(
    "<source>",
    "a swarm directory, a file of `skep swarm backup` or another tar of one, or a run",
  );
}

function withSourceOptions(command: Command): Command {
  command.option(
    "--unlock-key-file <file>",
    "the swarm's unlock key of that time, where it is autolocked; - reads stdin",
  );
  command.option(
    "--passphrase-file <file>",
    "the passphrase of such a file, where it has one (default: it is asked for)",
  );
  return addIdentityOption(addStoreOptions(addKitOption(command)));
}

function parseKind(text: string): ObjectKind {
  const kind = objectKinds.find((known) => known === text || `${known}s` === text);
  if (kind === undefined) throw new InvalidArgumentError(`It is one of ${objectKinds.join(", ")}.`);
  return kind;
}

async function verify(session: Session, options: RaftOptions, source: string): Promise<ExitCode> {
  const { output } = session;
  const { proof, warnings } = await openRaftSource(session, source, options);
  const counts = Object.entries(proof.counts ?? {}).filter(([, count]) => count > 0);
  output.document({
    ok: true,
    commit: proof.commitIndex,
    last: proof.lastIndex,
    term: proof.term,
    counts: proof.counts,
    proof,
    warnings,
  });
  output.print(
    facts(output.style, [
      ["node", proof.nodeId],
      ["committed", `index ${proof.commitIndex} of ${proof.lastIndex}, term ${proof.term}`],
      ["snapshot", proof.snapshotIndex === 0 ? "none" : `index ${proof.snapshotIndex}`],
      ["log", `${format.plural(proof.segments, "segment")}, ${format.plural(proof.entries, "entry", "entries")}`],
      ["locked", proof.locked ? "yes" : "no"],
      ["certificate", `until ${proof.certificateExpiresAt ?? ""}`],
      ["objects", counts.map(([kind, count]) => `${count} ${kind}`).join(", ")],
    ]),
  );
  for (const warning of warnings) output.warn(format.visible(warning));
  output.say("proven: an engine would load it, and everything in it can be read");
  return exitCodes.done;
}

async function list(session: Session, options: RaftOptions, source: string): Promise<ExitCode> {
  const { output } = session;
  const swarm = await openRaftSource(session, source, options);
  const kinds = options.kind === undefined ? objectKinds.filter((kind) => kind !== "task") : [options.kind];
  const rows = kinds.flatMap((kind) => swarm.list(kind).map((head) => ({ kind, ...head })));
  output.document(rows);
  output.print(
    table(
      output,
      [
        { head: "KIND", cell: ({ kind }) => kind },
        { head: "ID", cell: ({ id }) => format.visible(id) },
        { head: "NAME", cell: ({ name }) => format.visible(name) },
      ],
      rows,
    ),
  );
  return exitCodes.done;
}

async function getObject(
  session: Session,
  options: RaftOptions,
  source: string,
  kind: string,
  name: string,
): Promise<ExitCode> {
  const swarm = await openRaftSource(session, source, options);
  const object = swarm.get(kind as ObjectKind, name, options.reveal === true);
  if (object === null) {
    throw new SkepError({
      code: "SKEP_RAFT_NO_OBJECT",
      message: `there is no ${kind} ${name}`,
      permanent: true,
      hint: `skep raft ls ${source} --kind ${kind}`,
    });
  }
  session.output.document(object);
  session.output.print(JSON.stringify(object, null, 2));
  return exitCodes.done;
}

async function difference(session: Session, options: RaftOptions, before: string, after: string): Promise<ExitCode> {
  const { output } = session;
  const [was, is] = await openTwoRaftSources(session, [before, after], options);
  const changes = diffSwarms(was.state, is.state, options.reveal === true);
  output.document({ changes });
  for (const change of changes) output.print(describeChange(change));
  output.say(format.plural(changes.length, "difference"));
  return exitCodes.done;
}

const signs: Record<ObjectChange["change"], string> = { added: "+", removed: "-", changed: "~" };

function describeChange({ kind, id, name, change, fields }: ObjectChange): string {
  const value = (of: unknown): string => (of === undefined ? "(none)" : format.visible(JSON.stringify(of)));
  return [
    `${signs[change]} ${kind} ${format.visible(name === "" ? id : name)}`,
    ...fields.map((field) => `    ${format.visible(field.path)}: ${value(field.before)} -> ${value(field.after)}`),
  ].join("\n");
}

async function exportObjects(
  session: Session,
  options: RaftOptions & { out: string; update?: boolean; tasks?: boolean },
  source: string,
): Promise<ExitCode> {
  const swarm = await openRaftSource(session, source, options);
  const { files, objects, stacks } = exportSwarm(swarm, {
    reveal: options.reveal === true,
    tasks: options.tasks === true,
  });
  await writeExport(options.out, files, options.update === true);
  const written = stacks.map(({ file, ...stack }) => ({ ...stack, file: join(options.out, file) }));
  session.output.document({ out: options.out, objects, stacks: written });
  session.output.say(`${format.plural(objects, "object")} written to ${options.out}`);
  for (const line of stacks.flatMap(({ cannot }) => cannot)) {
    session.output.warn(`a compose file cannot say: ${format.visible(line)}`);
  }
  return exitCodes.done;
}
