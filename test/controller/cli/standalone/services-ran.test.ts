import { expect } from "chai";
import { servicesRan } from "../../../../controller/cli/standalone/services-ran.ts";
import type { Outcome } from "../../../../controller/run-plan.ts";
import type { ErrorRecord } from "../../../../shared/errors.ts";
import type { Part } from "../../../../shared/repository/run.ts";
import { samplePart } from "../sample-run.ts";

const broken: ErrorRecord = { code: "SKEP_QUIET_BROKEN", message: "db.1 uses it and runs", permanent: false };
const part = (error: ErrorRecord): Outcome<Part> => ({
  state: "done",
  result: samplePart({ kind: "volume", name: "node1/db", status: "partial", consistency: "not-atomic", error }),
});
const user = { nodeId: "n1", container: "db.1", serviceId: "s1" as string | null, uses: "all" as const };

describe("a volume of a service, taken by a standalone run on a worker", () => {
  it("is told with the reason why the service ran on, where it should have been stopped", () => {
    const told = servicesRan(part(broken), { words: { quiesce: "stop" }, users: [user] });
    expect(told.state === "done" && told.result.error).to.include({ code: "SKEP_QUIET_STANDALONE", permanent: true });
    expect(told.state === "done" && told.result).to.include({ status: "partial", consistency: "not-atomic" });
    expect(told.state === "done" && told.result.error?.message).to.contain("db.1");
  });

  it("is left as it is where something else is wrong, or no service was to be stopped", () => {
    const unread: ErrorRecord = { code: "SKEP_SOURCE_INCOMPLETE", message: "unread", permanent: false };
    for (const [outcome, quiesce, serviceId] of [
      [part(unread), "stop", "s1"],
      [part(broken), "pause", "s1"],
      [part(broken), "stop", null],
    ] as const) {
      expect(servicesRan(outcome, { words: { quiesce }, users: [{ ...user, serviceId }] })).to.equal(outcome);
    }
  });
});
