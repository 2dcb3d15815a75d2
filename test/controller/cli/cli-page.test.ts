import { expect } from "chai";
import type { Command } from "commander";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { exitCodes } from "../../../controller/cli/exit-code.ts";
import { actingCommands, wholeProgram } from "./whole-program.ts";

const root = join(import.meta.dirname, "..", "..", "..");

describe("docs/CLI.md", () => {
  const page = readFileSync(join(root, "docs", "CLI.md"), "utf8");

  it("has the exit codes of the source", () => {
    const rows = [...page.matchAll(/^\| (\d+) +\| `(\w+)` +\|/gm)].map(([, code, name]) => [name, Number(code)]);
    expect(Object.fromEntries(rows)).to.deep.equal(exitCodes);
  });

  it("lists every command that there is", async () => {
    const there = [...actingCommands(await wholeProgram()).keys()].map((name) => `skep ${name}`);
    const listed = [...page.matchAll(/^\| `(skep [a-z ]+?)` +\|/gm)].map(([, name]) => name);
    expect(listed).to.have.members(there);
  });

  it("names no flag that no command has", async () => {
    const program = await wholeProgram();
    const flagsOf = (command: Command): string[] => [
      ...command.options.flatMap(({ long }) => (long == null ? [] : [long])),
      ...command.commands.flatMap(flagsOf),
    ];
    const known = new Set([...flagsOf(program), "--help"]);
    const named = [...page.matchAll(/--[a-z][a-z-]+/g)].map(([flag]) => flag);
    expect(named.filter((flag) => !known.has(flag))).to.deep.equal([]);
  });
});
