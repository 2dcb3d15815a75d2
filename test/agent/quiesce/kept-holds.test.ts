import { expect } from "chai";
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { mock } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import type { SwarmService } from "../../../agent/docker-objects.ts";
import { Journal } from "../../../agent/journal.ts";
import { writeRecord } from "../../../agent/quiesce/hold-book.ts";
import { writeHold } from "../../../agent/quiesce/hold-note.ts";
import { holdNoted, releaseDue, releaseNoted, settleHolds } from "../../../agent/quiesce/kept-holds.ts";
import type { TaskOf } from "../../../shared/contract/job.ts";
import { SkepError, toErrorRecord, type ErrorRecord } from "../../../shared/errors.ts";
import { heldSpec } from "../../../shared/held-spec.ts";
import { SwarmOfOne } from "./swarm-of-one.ts";

const holdId = "abcdefghijkl";
const { signal } = new AbortController();

function orderFor(ms: number): TaskOf<"hold"> {
  const deadlineAt = new Date(Date.now() + ms).toISOString();
  return { kind: "hold", holdId, serviceIds: ["svc1"], deadlineAt, allOrNone: false, sharedVolumes: [] };
}

describe("holds that a journal keeps", () => {
  let swarm: SwarmOfOne;
  let journal: Journal;
  beforeEach(() => {
    swarm = new SwarmOfOne();
    journal = new Journal(":memory:");
  });
  afterEach(() => {
    mock.restoreAll();
    journal.close();
  });
  const codeOf = async (promise: Promise<unknown>): Promise<unknown> =>
    await promise.then(
      () => null,
      (error: unknown) => (error as { code?: unknown }).code,
    );

  /** From now on the clock is past the deadline of any hold. */
  const passDeadlines = (): void => {
    const now = Date.now.bind(Date);
    mock.method(Date, "now", () => now() + 3_600_000);
  };

  it("stay noted while one is in the making, though its deadline has passed", async () => {
    const { reached, goOn } = swarm.holdUp("nodes");
    const held = codeOf(holdNoted(orderFor(60_000), swarm.docker, journal, signal));
    await reached;
    passDeadlines();
    expect(await releaseDue(swarm.docker, journal, Date.now())).to.deep.equal({ released: [], lost: [], faults: [] });
    expect(journal.holds()).to.have.length(1);
    goOn();
    expect(await held).to.equal("SKEP_HOLD_OVER");
    await releaseDue(swarm.docker, journal, Date.now());
    expect(journal.holds()).to.deep.equal([]);
  });

  for (const call of ["nodes", "createConfig"])
    it(`stop nothing once their deadline has passed at the engine's answer to ${call}`, async () => {
      swarm.before = (name) => {
        if (name === call) passDeadlines();
      };
      expect(await codeOf(holdNoted(orderFor(60_000), swarm.docker, journal, signal))).to.equal("SKEP_HOLD_OVER");
      expect(swarm.calls).to.not.include("updateService");
      expect(swarm.calls.includes("createConfig"), "a record").to.equal(call === "createConfig");
      expect(swarm.replicas).to.equal(2);
    });

  it("end before they are released, where they are still in the making", async () => {
    const reached = Promise.withResolvers<undefined>();
    swarm.before = async (call) => {
      if (call !== "nodes") return;
      reached.resolve(undefined);
      await sleep(200);
    };
    const held = codeOf(holdNoted(orderFor(60_000), swarm.docker, journal, signal));
    await reached.promise;
    const { released } = await releaseNoted(holdId, swarm.docker, journal);
    expect(await held).to.equal("SKEP_HOLD_OVER");
    expect([released, swarm.replicas, journal.holds()]).to.deep.equal([[], 2, []]);
  });

  it("stop nothing where the journal's disk is full, and are released where it is full by then", async () => {
    const folder = mkdtempSync(join(tmpdir(), "skep-kept-holds-"));
    execFileSync("mount", ["-t", "tmpfs", "-o", "size=1m", "tmpfs", folder]);
    const filler = join(folder, "filler");
    const fill = (): void => {
      expect(() => {
        writeFileSync(filler, Buffer.alloc(2 << 20));
      }).to.throw("ENOSPC");
    };
    const small = new Journal(join(folder, "journal.sqlite"));
    const failureOf = async (promise: Promise<unknown>): Promise<ErrorRecord> =>
      await promise.then(() => expect.fail("it did not fail"), toErrorRecord);
    try {
      fill();
      const refused = await failureOf(holdNoted(orderFor(60_000), swarm.docker, small, signal));
      expect(refused).to.include({ code: "SKEP_STATE_FULL", permanent: true });
      expect(refused.message).to.contain(`hold ${holdId} of service shop_db`).and.contain(small.file);
      expect(swarm.calls).to.include("service").and.not.include("createConfig").and.not.include("updateService");
      rmSync(filler);
      await holdNoted(orderFor(60_000), swarm.docker, small, signal);
      expect(swarm.replicas).to.equal(0);
      fill();
      const kept = await failureOf(releaseNoted(holdId, swarm.docker, small));
      expect(kept).to.include({ code: "SKEP_STATE_FULL", permanent: false });
      expect(kept.message).to.contain(holdId).and.contain(small.file);
      expect(swarm.service.Spec, "it runs again").to.deep.equal(new SwarmOfOne().service.Spec);
      expect((await releaseDue(swarm.docker, small, Infinity)).faults).to.have.length(1);
      rmSync(filler);
      expect((await releaseDue(swarm.docker, small, Infinity)).faults).to.deep.equal([]);
      expect(small.holds()).to.deep.equal([]);
      expect(swarm.replicas).to.equal(2);
    } finally {
      small.close();
      execFileSync("umount", [folder]);
      rmSync(folder, { recursive: true });
    }
  });

  describe("beside a stranger's hold that is over and can't be released", () => {
    const stranger = "strangerhold";
    const gone = new SkepError({ code: "SKEP_DOCKER_FAILED", message: "network lost is not found", permanent: true });
    beforeEach(async () => {
      const { ID, Version, ...service } = { ...swarm.service, ID: "svc2" };
      const former = { ...service.Spec, Name: "mail_box" };
      const Spec = heldSpec(former) as SwarmService["Spec"];
      swarm.others.set(ID, { ID, Version, ...service, Spec, PreviousSpec: former });
      const deadlineAt = new Date(Date.now() - 60_000).toISOString();
      const more = { serviceId: ID, previous: null, updateStatus: null, serviceVersion: 9 };
      await writeRecord(swarm.docker, { version: 1, holdId: stranger, deadlineAt, former, ...more });
      swarm.before = (call, id) => {
        if (call === "updateService" && id === "svc2") throw gone;
      };
    });

    it("stop another service all the same, and name the service and hold that are stuck", async () => {
      const faults: SkepError[] = [];
      const tell = (fault: SkepError): void => void faults.push(fault);
      const { held } = await holdNoted(orderFor(60_000), swarm.docker, journal, signal, tell);
      expect([held.map(({ name }) => name), swarm.replicas]).to.deep.equal([["shop_db"], 0]);
      expect(faults.map(({ code }) => code)).to.deep.equal(["SKEP_HOLD_STUCK"]);
      expect(faults[0]?.message).to.contain(stranger).and.contain("mail_box").and.contain("network lost");
      await releaseNoted(holdId, swarm.docker, journal);
      expect(swarm.replicas).to.equal(2);
    });

    it("refuse that very service, by its hold and why, and stop what else is asked for", async () => {
      const order = { ...orderFor(60_000), serviceIds: ["svc2", "svc1"] };
      const { held, skipped } = await holdNoted(order, swarm.docker, journal, signal);
      expect(held.map(({ name }) => name)).to.deep.equal(["shop_db"]);
      expect(skipped.map(({ serviceId, reason }) => [serviceId, reason])).to.deep.equal([["svc2", "held"]]);
      expect(skipped[0]?.message).to.contain(stranger).and.contain("network lost");
      await releaseNoted(holdId, swarm.docker, journal);
      const all = { ...order, holdId: "mnopqrstuvwx", allOrNone: true };
      expect(await codeOf(holdNoted(all, swarm.docker, journal, signal))).to.equal("SKEP_HOLD_REFUSED");
      expect(swarm.replicas).to.equal(2);
    });

    it("are given back whole but for a service of theirs that is stuck", async () => {
      const order = { ...orderFor(60_000), holdId: stranger };
      const { Version, Spec } = swarm.service;
      const more = { serviceId: "svc1", previous: null, updateStatus: null, serviceVersion: Version.Index };
      await writeRecord(swarm.docker, {
        version: 1,
        holdId: stranger,
        deadlineAt: order.deadlineAt,
        former: Spec,
        ...more,
      });
      swarm.update(heldSpec(Spec) as SwarmService["Spec"]);
      expect(await codeOf(releaseNoted(stranger, swarm.docker, journal))).to.equal("SKEP_HOLD_STUCK");
      expect(swarm.replicas).to.equal(2);
    });
  });

  describe("of a process that was killed as it told the engine to stop a service", () => {
    const { now } = Date;
    let looks: number;
    let lookMs: number;
    beforeEach(async () => {
      const { Version, Spec } = swarm.service;
      const more = { serviceId: "svc1", previous: null, updateStatus: null, serviceVersion: Version.Index };
      const { deadlineAt } = orderFor(3600_000);
      await writeRecord(swarm.docker, { version: 1, holdId, deadlineAt, former: Spec, ...more });
      writeHold(journal, { holdId, deadlineAt, notedAt: deadlineAt, services: [], clusterId: null });
      looks = 0;
      lookMs = 4000;
      Date.now = () => now() + looks * lookMs;
    });
    afterEach(() => {
      Date.now = now;
    });
    const stopped = (): SwarmService["Spec"] => heldSpec(swarm.service.Spec) as SwarmService["Spec"];

    it("are released once that is done, however slow it is, and though the engine fails meanwhile", async () => {
      swarm.before = (call) => {
        if (call !== "configs") return;
        looks++;
        if (looks === 2) throw new SkepError({ code: "SKEP_DOCKER_UNREACHABLE", message: "away", permanent: false });
        if (looks === 5) swarm.update(stopped());
      };
      await settleHolds(swarm.docker, journal);
      expect([looks, swarm.replicas]).to.deep.equal([5, 0]);
      const { released } = await releaseDue(swarm.docker, journal, Infinity);
      expect(released).to.deep.equal(["shop_db"]);
      expect(swarm.replicas).to.equal(2);
    });

    it("are waited for no longer than the engine may need, nor where it refuses for good", async () => {
      lookMs = 10_000;
      swarm.before = (call) => {
        if (call === "configs") looks++;
      };
      await settleHolds(swarm.docker, journal);
      expect(looks).to.equal(3);
      swarm.before = (call) => {
        if (call !== "configs") return;
        looks++;
        throw new SkepError({ code: "SKEP_DOCKER_NOT_MANAGER", message: "demoted", permanent: true });
      };
      await settleHolds(swarm.docker, journal);
      expect(looks).to.equal(4);
    });
  });
});
