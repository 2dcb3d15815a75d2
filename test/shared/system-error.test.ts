import { expect } from "chai";
import { lstatSync } from "node:fs";
import { systemErrorName } from "../../shared/system-error.ts";

describe("the name of a system error", () => {
  it("is that of errno(3), also where Node knows none", () => {
    const failure = (errno: number): Error => Object.assign(new Error("x"), { errno, syscall: "read", code: "?" });
    expect(systemErrorName(failure(-5))).to.equal("EIO");
    expect(systemErrorName(failure(-74))).to.equal("EBADMSG");
    expect(systemErrorName(failure(-117))).to.equal("EUCLEAN");
    let thrown: unknown;
    try {
      lstatSync("/nowhere/at/all");
    } catch (error) {
      thrown = error;
    }
    expect(systemErrorName(thrown)).to.equal("ENOENT");
  });

  it("is null for what no system call said", () => {
    expect(systemErrorName(new TypeError("x"))).to.equal(null);
    expect(systemErrorName("EIO")).to.equal(null);
  });
});
