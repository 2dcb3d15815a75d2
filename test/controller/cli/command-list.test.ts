import { Command } from "commander";
import { expect } from "chai";
import { commandList } from "../../../controller/cli/command-list.ts";
import { wholeProgram } from "./whole-program.ts";

const visible = (program: Command): string[] =>
  program
    .createHelp()
    .visibleCommands(program)
    .map((command) => command.name());

describe("the list of commands", () => {
  it("says of each what the command says of itself", async () => {
    const program = await wholeProgram();
    const own = program.commands.map((command) => [command.name(), command.description()]);
    expect([...commandList].map(([name, { description }]) => [name, description])).to.have.deep.members(own);
    expect([...commandList.keys(), "help"]).to.have.members(visible(program));
  });

  it("has each under the file that registers it", async () => {
    for (const [name, { load }] of commandList) {
      const program = new Command("skep");
      (await load()).register(program);
      expect(program.commands.map((command) => command.name())).to.include(name);
    }
  });
});
