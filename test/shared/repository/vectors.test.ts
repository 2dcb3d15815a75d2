import { expect } from "chai";
import { globSync, readFileSync } from "node:fs";
import { basename, join } from "node:path";
import { SkepError } from "../../../shared/errors.ts";
import { decodeVector, vectorDecoders, vectorSchema, vectorSources, type Vector } from "./vector-decoders.ts";

const folder = join(import.meta.dirname, "..", "..", "vectors");

/** That the file names: also those that it throws by a variable. */
function codesIn(source: string): string[] {
  const text = readFileSync(join(import.meta.dirname, "..", "..", "..", "shared", "repository", source), "utf8");
  return [...text.matchAll(/"(SKEP_[A-Z_]+)"/g)].map(([, code]) => code ?? "");
}

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

  it("have a failure for each code that a decoder's own files throw", () => {
    expect(Object.keys(vectorSources)).to.have.members(Object.keys(vectorDecoders));
    const missing = Object.entries(vectorSources).flatMap(([decoder, sources]) => {
      const thrown = sources.filter((source) => !source.startsWith("-")).flatMap(codesIn);
      const seen = vectors.filter(([, vector]) => vector.decoder === decoder).map(([, { outcome }]) => outcome);
      return [...new Set(thrown)]
        .filter(
          (code) =>
            !sources.includes(`-${code}`) && !seen.some((outcome) => "code" in outcome && outcome.code === code),
        )
        .map((code) => `${decoder}: ${code}`);
    });
    expect(missing).to.deep.equal([]);
  });

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
