// Every command of the CLI at once, without starting any: for tests of the help and of its page.
import { Command } from "commander";
import { globSync } from "node:fs";
import { join } from "node:path";

const root = join(import.meta.dirname, "..", "..", "..");

export async function wholeProgram(): Promise<Command> {
  const program = new Command("skep");
  for (const path of globSync("controller/cli/command/*.ts", { cwd: root }).sort()) {
    ((await import(join(root, path))) as { register: (program: Command) => void }).register(program);
  }
  return program;
}

/** Those that do something, by their whole name without `skep`; one that only groups others does nothing of its own. */
export function actingCommands(group: Command, above: readonly string[] = []): Map<string, Command> {
  const found = new Map<string, Command>();
  for (const command of group.commands) {
    const path = [...above, command.name()];
    if (command.options.length > 0 || command.commands.length === 0) found.set(path.join(" "), command);
    for (const [name, child] of actingCommands(command, path)) found.set(name, child);
  }
  return found;
}
