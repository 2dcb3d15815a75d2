import { expect } from "chai";
import { makeLogger, redactedKeys } from "../../shared/log.ts";

describe("log", () => {
  for (const key of redactedKeys) {
    it(`never writes the value of ${key}`, () => {
      let written = "";
      const log = makeLogger("test", "info", { write: (line) => (written += line) });
      log.info({ [key]: "hunter2", job: { [key]: "hunter2" } }, "hello");
      expect(written).to.contain("[redacted]").and.not.contain("hunter2");
    });
  }
});
