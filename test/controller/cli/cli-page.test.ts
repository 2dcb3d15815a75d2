import { expect } from "chai";
import { Command } from "commander";
import { globSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { exitCodes } from "../../../controller/cli/exit-code.ts";

const root = join(import.meta.dirname, "..", "..", "..");

describe("docs/CLI.md", () => {
  const page = readFileSync(join(root, "docs", "CLI.md"), "utf8");

  it("has the exit codes of the source", () => {
    const rows = [...page.matchAll(/^\| (\d+) +\| `(\w+)` +\|/gm)].map(([, code, name]) => [name, Number(code)]);
    expect(Object.fromEntries(rows)).to.deep.equal(exitCodes);
  });

  it("lists every command that there is", async () => {
    const program = new Command("skep");
    for (const path of globSync("controller/cli/command/*.ts", { cwd: root }).sort()) {
      ((await import(join(root, path))) as { register: (program: Command) => void }).register(program);
    }
    const names = (command: Command, above: string): string[] => {
      const name = `${above} ${command.name()}`;
      const below = command.commands.flatMap((child) => names(child, name));
      // One that only groups others does nothing of its own.
      return command.options.length > 0 || below.length === 0 ? [name, ...below] : below;
    };
    const there = program.commands.flatMap((command) => names(command, "skep"));
    const listed = [...page.matchAll(/^\| `(skep [a-z ]+?)` +\|/gm)].map(([, name]) => name);
    expect(listed).to.have.members(there);
  });

  it("names no flag that no command has", async () => {
    const program = new Command("skep");
    for (const path of globSync("controller/cli/command/*.ts", { cwd: root })) {
      ((await import(join(root, path))) as { register: (program: Command) => void }).register(program);
    }
    const flagsOf = (command: Command): string[] => [
      ...command.options.flatMap(({ long }) => (long == null ? [] : [long])),
      ...command.commands.flatMap(flagsOf),
    ];
    const known = new Set([...flagsOf(program), "--help"]);
    const named = [...page.matchAll(/--[a-z][a-z-]+/g)].map(([flag]) => flag);
    expect(named.filter((flag) => !known.has(flag))).to.deep.equal([]);
  });
});
