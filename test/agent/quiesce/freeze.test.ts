import { expect } from "chai";
import { freezeAll, refuseOwn } from "../../../agent/quiesce/freeze.ts";
import { SkepError, type ErrorCode } from "../../../shared/errors.ts";

const refused = (code: ErrorCode, permanent: boolean): SkepError =>
  new SkepError({ code, message: "docker refused to pause it", permanent });
const both = [
  { id: "a", name: "first" },
  { id: "b", name: "second" },
];
const failureOf = (work: Promise<unknown>): Promise<unknown> => work.catch((error: unknown) => error);

// That the kernel refuses, and later no more, is seen in test/soak/databases.test.ts, where databases wait for their disk.
describe("freezing containers", () => {
  it("tells the engine again where it gave up, and not where it refused", async () => {
    const told: string[] = [];
    const pauseContainer = (id: string): Promise<void> => {
      told.push(id);
      return told.length === 1 ? Promise.reject(refused("SKEP_DOCKER_FAILED", false)) : Promise.resolve();
    };
    await freezeAll(both, { pauseContainer }, new AbortController().signal);
    expect(told).to.deep.equal(["a", "b", "a"]);
    const gone = (): Promise<void> => Promise.reject(refused("SKEP_DOCKER_NOT_FOUND", true));
    const error = await failureOf(freezeAll(both, { pauseContainer: gone }, new AbortController().signal));
    expect(error).to.include({ code: "SKEP_PAUSE_FAILED" });
    expect(error).to.have.property("message").that.contains("container first could not be paused");
  });

  it("does not begin with the one that Skep itself runs in", () => {
    refuseOwn(both, null);
    refuseOwn(both, "c");
    const refusal = {
      code: "SKEP_PAUSE_FAILED",
      permanent: true,
      message: "container second is not paused: Skep itself runs in it",
    };
    expect(() => {
      refuseOwn(both, "b");
    })
      .to.throw(SkepError)
      .that.includes(refusal);
  });

  it("fails only once nothing can be frozen any more, also when it is given up", async () => {
    for (const isAborted of [false, true]) {
      const reason = new Error("enough");
      const stop = new AbortController();
      const late = Promise.withResolvers<undefined>();
      let hasFailed = false;
      const pauseContainer = async (id: string): Promise<void> => {
        await (id === "b" ? late.promise : Promise.resolve());
        if (id === "b") return;
        if (!isAborted) throw refused("SKEP_DOCKER_CONFLICT", false);
        stop.abort(reason);
      };
      const failing = failureOf(freezeAll(both, { pauseContainer }, stop.signal)).finally(() => {
        hasFailed = true;
      });
      await new Promise(setImmediate);
      expect(hasFailed).to.equal(false);
      late.resolve(undefined);
      if (isAborted) expect(await failing).to.equal(reason);
      else expect(await failing).to.include({ code: "SKEP_PAUSE_FAILED" });
    }
  });
});
