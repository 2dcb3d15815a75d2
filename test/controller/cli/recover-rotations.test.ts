import { expect } from "chai";
import { join } from "node:path";
import { onTerminal, type Answer } from "../../e2e/terminal.ts";

const program = join(import.meta.dirname, "ask-rotations.ts");
const question = "Rotate tokens, ca, unlock-key once all is back?";

/** What the plan rotates once it was asked. Throws where it asks for something else than `answers`, or not for it. */
async function asked(options: object, answers: readonly Answer[], input: object = {}): Promise<string> {
  const argv = [process.execPath, program, JSON.stringify(options), JSON.stringify(input)];
  const { code, text } = await onTerminal(argv, answers);
  expect(code, text).to.equal(0);
  if (answers.length === 0) expect(text).to.not.contain("?");
  return text;
}

describe("the question whether a recovery rotates keys", () => {
  it("is asked on a terminal where --rotate says nothing; no is what Enter means, and yes is shown in the plan", async () => {
    expect(await asked({}, [[question, ""]])).to.contain("rotates nothing");
    expect(await asked({}, [[question, "n"]])).to.contain("rotates nothing");
    const agreed = await asked({}, [[question, "y"]]);
    expect(agreed).to.contain("rotates tokens ca unlock-key");
    expect(agreed).to.contain("rotate the join tokens").and.contain("[rotate:unlock-key]");
  });

  it("is not asked with --yes, --json or --rotate, nor of a new swarm", async () => {
    for (const options of [{ yes: true }, { json: true }]) {
      expect(await asked(options, [])).to.contain("rotates nothing");
    }
    expect(await asked({ rotate: ["tokens"] }, [])).to.contain("rotates tokens");
    expect(await asked({}, [], { mode: "rebuild" })).to.contain("rotates nothing");
  });
});
