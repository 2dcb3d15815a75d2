import { expect } from "chai";
import { globSync, readFileSync } from "node:fs";
import { basename, join } from "node:path";
import { SkepError } from "../../../shared/errors.ts";
import { decodeVector, vectorDecoders, vectorSchema, type Vector } from "./vector-decoders.ts";

const folder = join(import.meta.dirname, "..", "..", "vectors");

describe("the frozen vectors of the format", () => {
  const vectors = globSync("v*/*.json", { cwd: folder })
    .sort()
    .map((name): [string, Vector] => {
      return [name, vectorSchema.parse(JSON.parse(readFileSync(join(folder, name), "utf8")))];
    });

  for (const [name, vector] of vectors) {
    const { outcome } = vector;
    it(`${"code" in outcome ? "refuse" : "open"} ${name}: ${vector.title}`, async () => {
      let code = "";
      let value: unknown = null;
      try {
        value = await decodeVector(vector);
      } catch (error) {
        if (!(error instanceof SkepError)) throw error;
        code = error.code;
      }
      if ("code" in outcome) expect(code).to.equal(outcome.code);
      else {
        expect(code).to.equal("");
        expect(JSON.parse(JSON.stringify(value))).to.deep.equal(outcome.value);
      }
    });
  }

  it("have a success and a failure for each decoder", () => {
    for (const decoder of Object.keys(vectorDecoders)) {
      const of = vectors.filter(([name]) => basename(name).startsWith(`${decoder}-`)).map(([, { outcome }]) => outcome);
      expect(
        of.some((outcome) => "value" in outcome),
        `${decoder} that opens`,
      ).to.be.true;
      expect(
        of.some((outcome) => "code" in outcome),
        `${decoder} that is refused`,
      ).to.be.true;
    }
  });
});
