import { expect } from "chai";
import { readLoadAnswer } from "../../shared/image-load.ts";
import { expectCode } from "./repository/expect-code.ts";

async function* lines(...all: string[]): AsyncGenerator<string> {
  for (const line of all) yield await Promise.resolve(line);
}

describe("what an engine answers while it loads an image", () => {
  it("names what it loaded, or says why it did not", async () => {
    const said = lines('{"stream":"Loaded image: app:1\\n"}', "", '{"stream":"Loaded image ID: sha256:ab\\n"}');
    expect(await readLoadAnswer(said)).to.deep.equal({ names: ["app:1", "sha256:ab"] });
    expect(await readLoadAnswer(lines('{"error":"no space left"}'))).to.deep.equal({ why: "no space left" });
  });

  it("is refused where a line is no JSON, or has another shape", async () => {
    for (const line of ["<html>", '{"stream": 7}', "[]"]) {
      await expectCode("SKEP_DOCKER_ANSWER_INVALID", () => readLoadAnswer(lines(line)));
    }
  });
});
