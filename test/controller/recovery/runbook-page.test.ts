import { expect } from "chai";
import { Command } from "commander";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { register } from "../../../controller/cli/command/recover.ts";
import { decodeInventory } from "../../../controller/recovery/inventory.ts";

describe("docs/RUNBOOK.md", () => {
  const page = readFileSync(join(import.meta.dirname, "../../../docs/RUNBOOK.md"), "utf8");

  it("shows an inventory that is taken as it stands", () => {
    const text = /```yaml\n(.*?)```/s.exec(page)?.[1] ?? expect.fail("no inventory");
    const { inventory } = decodeInventory(text, "docs/RUNBOOK.md");
    expect(Object.keys(inventory.machines)).to.have.length(3);
  });

  it("tells every field of the inventory", () => {
    const fields = ["address", "advertise", "dataPath", "role", "hostKey", "dockerSocket", "user", "port", "key"];
    const more = ["agent", "passwordFile", "sudo", "sudoPasswordFile", "knownHosts", "jump"];
    for (const field of [...fields, ...more]) expect(page).to.match(new RegExp(`\`[^\`]*\\b${field}\\b[^\`]*\``));
  });

  it("shows only commands and flags that there are", () => {
    const program = new Command("skep");
    register(program);
    const [recover] = program.commands;
    for (const [, name, rest] of page.matchAll(/^skep recover (\w+) (.*)$/gm)) {
      const command = recover?.commands.find((candidate) => candidate.name() === name) ?? expect.fail(`no ${name}`);
      for (const [flag] of (rest ?? "").matchAll(/--[a-z-]+/g)) {
        expect(command.options.map(({ long }) => long)).to.include(flag);
      }
    }
  });
});
