import { expect } from "chai";
import type { InspectedContainer } from "../../../agent/docker-objects.ts";
import { stopsEndBy, verdictOnStopped, type StoppedContainer } from "../../../agent/quiesce/stopped-container.ts";

const startedAt = "2026-11-27T03:00:00.123456789Z";
const sentAt = "2026-11-27T04:00:00.000Z";
const stopped: StoppedContainer = {
  ...{ id: "id-of-db", name: "db", layer: 0, startedAt, restartPolicy: "unless-stopped", stopSeconds: 10, sentAt },
};
const found = (running: boolean, life = startedAt, policy = "unless-stopped"): InspectedContainer => ({
  ...{ Id: "id-of-db", Name: "/db", Config: {}, State: { Running: running, StartedAt: life } },
  HostConfig: { RestartPolicy: { Name: policy } },
});
const after = (ms: number): number => Date.parse(sentAt) + ms;

describe("what becomes of a container that a backup stopped", () => {
  it("is started where it is as it was left, also by an engine that lost its memory of the stop", () => {
    expect(verdictOnStopped(stopped, found(false), after(1000))).to.equal("start");
    expect(verdictOnStopped({ ...stopped, restartPolicy: "no" }, found(false, startedAt, "no"), after(0))).to.equal(
      "start",
    );
    expect(verdictOnStopped(stopped, found(false, startedAt, "always"), after(0))).to.equal("start");
  });

  it("stays as its owner wants it: started, started and stopped, removed, or never to start again", () => {
    const later = "2026-11-27T04:00:30.5Z";
    expect(verdictOnStopped(stopped, found(true, later), after(1000))).to.equal("runs");
    expect(verdictOnStopped(stopped, found(false, later), after(1000))).to.equal("left");
    expect(verdictOnStopped(stopped, null, after(1000))).to.equal("left");
    expect(verdictOnStopped(stopped, found(false, startedAt, "no"), after(1000))).to.equal("left");
  });

  it("is waited for while the engine may still be stopping it, and runs if it was never told", () => {
    expect(verdictOnStopped(stopped, found(true), after(909_999)), "its disk hangs").to.equal("wait");
    expect(verdictOnStopped(stopped, found(true), after(910_000))).to.equal("runs");
    const untold: StoppedContainer = { ...stopped };
    delete untold.sentAt;
    expect(verdictOnStopped(untold, found(true), after(0))).to.equal("runs");
    expect(verdictOnStopped(untold, found(false), after(0)), "it ended by itself").to.equal("runs");
  });

  it("is ours in any life that began before the engine was told, also where it had restarted unseen", () => {
    const unseen = "2026-11-27T03:59:59.999999999Z";
    expect(verdictOnStopped(stopped, found(false, unseen), after(1000))).to.equal("start");
    expect(verdictOnStopped(stopped, found(true, unseen), after(1000))).to.equal("wait");
    expect(verdictOnStopped(stopped, found(false, "2026-11-27T04:00:00.001Z"), after(1000))).to.equal("left");
  });

  it("should be down by its own patience and a minute, the last one of a pause", () => {
    const untold: StoppedContainer = { ...stopped };
    delete untold.sentAt;
    expect(stopsEndBy({ stops: [untold, { ...stopped, quietMs: 0 }] })).to.equal(0);
    expect(stopsEndBy({ stops: [stopped, { ...stopped, stopSeconds: 20 }, untold] })).to.equal(after(80_000));
  });
});
