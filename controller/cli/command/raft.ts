// skep raft: what is in a swarm's Raft state, read without any engine.
import { mkdir, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { InvalidArgumentError, type Command } from "commander";
import { SkepError } from "../../../shared/errors.ts";
import { diffSwarms, type ObjectChange } from "../../../shared/raft/diff.ts";
import { engineJson } from "../../../shared/raft/engine-api/objects.ts";
import { objectKinds, type ObjectKind } from "../../../shared/raft/object-store.ts";
import type { OpenedSwarm } from "../../../shared/raft/open-swarm.ts";
import { composeFiles } from "../../compose/compose-files.ts";
import { copiedObjects } from "../../objects/copied-objects.ts";
import { addIdentityOption, addKitOption, addStoreOptions } from "../access.ts";
import { exitCodes, type ExitCode } from "../exit-code.ts";
import * as format from "../format.ts";
import { openRaftSource, type RaftSourceOptions } from "../raft-source.ts";
import { describe, run, type Session } from "../session.ts";
import { facts, table } from "../table.ts";

interface RaftOptions extends RaftSourceOptions {
  kind?: ObjectKind;
  reveal?: boolean;
}

export function register(program: Command): void {
  const raft = program.command("raft").description("read a swarm's Raft state: a directory, a file with one, or a run");
  const reveal = "show the data of secrets, tokens and keys";

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
    .option("--reveal", `${reveal}; stacks then come with their secrets and configs as files`);
  run(describe(out, examples.export), exportObjects);
}

const examples = {
  verify: "skep raft verify /var/lib/docker/swarm --json",
  ls: "skep raft ls latest --kind secret --identity identity-anna.txt",
  get: "skep raft get latest secret db-password --reveal",
  diff: "skep raft diff 20261120-030000-k3v9qd latest",
  export: "skep raft export latest --out swarm-state",
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
  const was = await openRaftSource(session, before, options);
  const is = await openRaftSource(session, after, options);
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
  options: RaftOptions & { out: string },
  source: string,
): Promise<ExitCode> {
  const swarm = await openRaftSource(session, source, options);
  await makeFolder(options.out);
  let count = 0;
  for (const kind of objectKinds) {
    if (kind === "task") continue;
    count += await exportKind(swarm, kind, join(options.out, kind), options.reveal === true);
  }
  const stacks = await exportStacks(swarm, join(options.out, "compose"), options.reveal === true);
  session.output.document({ out: options.out, objects: count, stacks });
  session.output.say(`${format.plural(count, "object")} written to ${options.out}`);
  for (const line of stacks.flatMap(({ cannot }) => cannot)) {
    session.output.warn(`a compose file cannot say: ${format.visible(line)}`);
  }
  return exitCodes.done;
}

/** A folder each, with compose.yml and what lies beside it. */
async function exportStacks(
  swarm: OpenedSwarm,
  folder: string,
  reveal: boolean,
): Promise<{ stack: string | null; file: string; cannot: string[] }[]> {
  const stacks = composeFiles(copiedObjects(swarm.state), reveal);
  if (stacks.length > 0) await mkdir(folder, { mode: 0o700 });
  const written = [];
  for (const { stack, folder: name, text, files, cannot } of stacks) {
    const file = join(folder, name, "compose.yml");
    await mkdir(dirname(file), { mode: 0o700 });
    await writeFile(file, text, { mode: 0o600, flag: "wx" });
    for (const { path, bytes } of files) {
      await mkdir(dirname(join(folder, name, path)), { recursive: true, mode: 0o700 });
      await writeFile(join(folder, name, path), bytes, { mode: 0o600, flag: "wx" });
    }
    written.push({ stack, file, cannot });
  }
  return written;
}

async function exportKind(swarm: OpenedSwarm, kind: ObjectKind, folder: string, reveal: boolean): Promise<number> {
  const heads = swarm.list(kind);
  if (heads.length > 0) await mkdir(folder, { mode: 0o700 });
  const names = new Map<string, number>();
  for (const { name } of heads) names.set(name, (names.get(name) ?? 0) + 1);
  for (const { id, name } of heads) {
    const bytes = swarm.state.store.objects[kind].get(id);
    if (bytes === undefined) continue;
    // Names stay the same from one export to the next, ids do not: version control then shows the change.
    const usable = /^[A-Za-z0-9][\w.-]{0,200}$/.test(name) && names.get(name) === 1;
    const text = `${JSON.stringify(engineJson(kind, bytes, reveal), null, 2)}\n`;
    await writeFile(join(folder, `${usable ? name : id}.json`), text, { mode: 0o600, flag: "wx" });
  }
  return heads.length;
}

async function makeFolder(path: string): Promise<void> {
  try {
    await mkdir(path, { mode: 0o700 });
  } catch (error) {
    throw new SkepError({
      code: "SKEP_CLI_FILE_UNWRITABLE",
      message: `the folder ${path} cannot be made: ${error instanceof Error ? error.message : String(error)}`,
      permanent: true,
      hint: "name a folder that is not there yet",
      cause: error,
    });
  }
}
