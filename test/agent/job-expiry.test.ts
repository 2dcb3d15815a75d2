import { expect } from "chai";
import { once } from "node:events";
import { untilExpiry } from "../../agent/job-expiry.ts";

describe("a job's expiry", () => {
  const inMs = (ms: number): { id: string; expiresAt: string } => ({
    id: "once-1",
    expiresAt: new Date(Date.now() + ms).toISOString(),
  });
  const act = async (signal: AbortSignal): Promise<never> => {
    if (!signal.aborted) await once(signal, "abort");
    throw signal.reason;
  };
  const failureOf = (promise: Promise<unknown>): Promise<unknown> => promise.catch((thrown: unknown) => thrown);

  it("ends it, and says so", async () => {
    const keepsAlive = setTimeout(() => undefined, 10_000);
    const error = await failureOf(untilExpiry(inMs(50), new AbortController().signal, act));
    clearTimeout(keepsAlive);
    expect(error).to.include({ code: "SKEP_JOB_EXPIRED", permanent: true });
  });

  it("leaves every other end as it is", async () => {
    const reason = new Error("stopped");
    expect(await failureOf(untilExpiry(inMs(90_000_000), AbortSignal.abort(reason), act))).to.equal(reason);
    expect(await untilExpiry(inMs(3_000_000_000), new AbortController().signal, () => Promise.resolve(1))).to.equal(1);
  });
});
