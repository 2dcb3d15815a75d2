import { expect } from "chai";
import { decodePolicy } from "../../controller/policy.ts";
import { decodeInventory } from "../../controller/recovery/inventory.ts";
import { decodeClusterFile } from "../../shared/contract/cluster-file.ts";
import { isNestedTooDeep } from "../../shared/yaml-text.ts";
import { expectCode } from "./repository/expect-code.ts";

const times = 3000;
const deep = {
  brackets: "[".repeat(times),
  "brackets that end": "[".repeat(times) + "]".repeat(times),
  mappings: "{a: ".repeat(times),
  lists: "- ".repeat(times),
  "keys within keys": "? ".repeat(times),
  "mappings in one line": "a: ".repeat(times),
  indentation: Array.from({ length: times }, (_, at) => `${" ".repeat(at)}a:`).join("\n"),
};

describe("YAML that is nested too deep", () => {
  for (const [what, text] of Object.entries(deep)) {
    it(`is refused before it is parsed: ${what}`, async () => {
      const startedAt = process.threadCpuUsage().user;
      await expectCode("SKEP_CONFIG_INVALID", () => decodeClusterFile(text, "skep.yaml"));
      await expectCode("SKEP_INVENTORY_INVALID", () => decodeInventory(text, "inventory.yml"));
      await expectCode("SKEP_POLICY_INVALID", () => decodePolicy(text, "the request"));
      expect((process.threadCpuUsage().user - startedAt) / 1000).to.be.lessThan(1000);
    });
  }

  it("is not what is long, or has brackets in its texts", () => {
    const long = Array.from({ length: 1000 }, (_, at) => `  - { name: "n${at}", cron: '[[[{{{' } # [[[{{{`).join("\n");
    expect(isNestedTooDeep(`schedules:\n${long}\n`)).to.be.false;
    expect(isNestedTooDeep(JSON.stringify({ schedules: Array.from({ length: 1000 }, () => ({ name: "a" })) }))).to.be
      .false;
  });
});

describe("YAML that the parser would only warn of", () => {
  const odd = {
    "a tag that it does not know": "version: !secret 1\n",
    "an anchor that swallows a colon": "&version: 1\n",
    "a directive that it does not know": "%other 1\n---\nversion: 1\n",
    "an alias": "version: &a 1\nstore: *a\n",
  };
  for (const [what, text] of Object.entries(odd)) {
    it(`is refused, with what is wrong: ${what}`, async () => {
      const warned: Error[] = [];
      const note = (warning: Error): unknown => warned.push(warning);
      process.on("warning", note);
      try {
        const errors = [
          await expectCode("SKEP_CONFIG_INVALID", () => decodeClusterFile(text, "skep.yaml")),
          await expectCode("SKEP_INVENTORY_INVALID", () => decodeInventory(text, "inventory.yml")),
          await expectCode("SKEP_POLICY_INVALID", () => decodePolicy(text, "the request")),
        ];
        for (const { message } of errors) expect(message).to.match(/tag: !secret|is ambiguous|directive %other|alias/i);
        await new Promise((resolve) => setImmediate(resolve));
        expect(warned).to.deep.equal([]);
      } finally {
        process.off("warning", note);
      }
    });
  }
});
