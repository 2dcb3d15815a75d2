import { expect } from "chai";
import { execFileSync } from "node:child_process";
import fc from "fast-check";
import { quoteArguments } from "../../../controller/recovery/quote-arguments.ts";
import { SkepError } from "../../../shared/errors.ts";

const argument = fc
  .oneof(fc.string({ unit: "binary" }), fc.string(), fc.constantFrom("'", "''", "\\", "$(id)", "`id`", "a\nb", "-", ""))
  .filter((text) => !text.includes("\0") && text.isWellFormed());

describe("arguments of a command on another machine", () => {
  it("reach a shell's command exactly as they were, whatever is in them", () => {
    // Many commands to one shell: most of the time goes into its start.
    const commands = fc.array(fc.array(argument, { minLength: 1, maxLength: 8 }), { minLength: 1, maxLength: 40 });
    fc.assert(
      fc.property(commands, (argvs) => {
        const script = argvs
          .map((argv) => `printf '%s\\0' ${quoteArguments(argv)}\nprintf '%s\\0' ${argv.length}`)
          .join("\n");
        const said = execFileSync("/bin/sh", ["-c", script]).toString("utf8");
        expect(said.split("\0").slice(0, -1)).to.deep.equal(argvs.flatMap((argv) => [...argv, String(argv.length)]));
      }),
      { numRuns: 30 },
    );
  });

  it("are refused where no argument can carry them", () => {
    for (const text of ["a\0b", "\ud800"]) {
      expect(() => quoteArguments([text]))
        .to.throw(SkepError)
        .with.property("code", "SKEP_SSH_ARGUMENT");
    }
  });
});
