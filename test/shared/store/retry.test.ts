import { expect } from "chai";
import fc from "fast-check";
import { SkepError } from "../../../shared/errors.ts";
import { pauseMs, retried, withDeadline, type RetryPlan } from "../../../shared/store/retry.ts";
import { Slots } from "../../../shared/store/slots.ts";
import { thrownBy } from "./suite.ts";

const plan: RetryPlan = { attempts: 3, firstPauseMs: 1, longestPauseMs: 4, random: () => 0.99 };

function failure(permanent: boolean): SkepError {
  return new SkepError({ code: "SKEP_TEST_CASE", message: "it failed", permanent, hint: "look" });
}

describe("trying again", () => {
  it("tries what may pass as often as planned, and what cannot once", async () => {
    for (const [error, tries] of [
      [failure(false), 3],
      [failure(true), 1],
      [new TypeError("a fault of ours"), 1],
    ] as const) {
      let tried = 0;
      const thrown = await thrownBy(
        retried(plan, undefined, () => {
          tried++;
          return Promise.reject(error);
        }),
      );
      expect(tried).to.equal(tries);
      if (tries === 1) expect(thrown).to.equal(error);
      else expect(thrown).to.include({ code: "SKEP_TEST_CASE", message: "it failed; tried 3 times", hint: "look" });
    }
  });

  it("pauses longer each time, at most the longest, and never the full step", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 60 }),
        fc.double({ min: 0, max: 0.999, noNaN: true }),
        (attempt, random) => {
          const pause = pauseMs(
            { attempts: 9, firstPauseMs: 250, longestPauseMs: 15_000, random: () => random },
            attempt,
          );
          expect(pause).to.be.within(0, 15_000);
          expect(pause).to.be.at.most(250 * 2 ** (attempt - 1));
        },
      ),
    );
  });

  it("ends a pause at once when told to stop", async () => {
    const controller = new AbortController();
    const reason = new Error("stop");
    const slow = { ...plan, firstPauseMs: 60_000, longestPauseMs: 60_000 };
    const waiting = thrownBy(retried(slow, controller.signal, () => Promise.reject(failure(false))));
    setTimeout(() => {
      controller.abort(reason);
    }, 10);
    expect(await waiting).to.equal(reason);
  });
});

describe("a deadline", () => {
  const late = (): SkepError => failure(false);
  const untilAborted = (signal: AbortSignal): Promise<never> =>
    new Promise((_, reject) => {
      signal.addEventListener("abort", () => {
        reject(new Error("the act's own word for it"));
      });
    });

  it("ends the act, with its own error for being late and the signal's reason for being stopped", async () => {
    expect(await withDeadline(1000, undefined, late, () => Promise.resolve(7))).to.equal(7);
    expect(await thrownBy(withDeadline(5, undefined, late, untilAborted))).to.include({ code: "SKEP_TEST_CASE" });
    const controller = new AbortController();
    const stopped = thrownBy(withDeadline(60_000, controller.signal, late, untilAborted));
    controller.abort("reason");
    expect(await stopped).to.equal("reason");
  });
});

describe("slots", () => {
  it("let so many in, the rest in order, and one who left the line does not hold it up", async () => {
    const slots = new Slots(1);
    const order: string[] = [];
    let release = (): void => undefined;
    const first = slots.use(undefined, () => new Promise<void>((resolve) => (release = resolve)));
    const controller = new AbortController();
    const second = slots.use(undefined, () => Promise.resolve(order.push("second")));
    const third = thrownBy(slots.use(controller.signal, () => Promise.resolve(order.push("third"))));
    const fourth = slots.use(undefined, () => Promise.reject(new Error("fourth fails")));
    const fifth = slots.use(undefined, () => Promise.resolve(order.push("fifth")));
    controller.abort(new Error("left"));
    expect(String(await third)).to.include("left");
    release();
    await first;
    await second;
    expect(String(await thrownBy(fourth))).to.include("fourth fails");
    await fifth;
    expect(order).to.deep.equal(["second", "fifth"]);
    await slots.use(undefined, () => Promise.resolve());
  });
});
