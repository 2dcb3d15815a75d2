import { expect } from "chai";
import { encodeHoldRecord, holdLabels } from "../../../shared/contract/hold-record.ts";
import { heldConstraint, type SpecJson } from "../../../shared/held-spec.ts";
import { ObjectStore } from "../../../shared/raft/object-store.ts";
import {
  decodeMessage,
  encodeMessage,
  makeMessage,
  type Message,
} from "../../../shared/raft/swarmkit/message-types.ts";
import { openHolds, undoHolds } from "../../../shared/raft/undo-holds.ts";

const holdId = "abcdefghijkl";
const now = Date.parse("2026-11-22T10:00:00.000Z");

/** A state with one service, replicated with so many replicas or global with these constraints, and one record. */
function state(present: bigint | string[], former: SpecJson, labels: Record<string, string> = {}): ObjectStore {
  const store = new ObjectStore();
  const mode =
    typeof present === "bigint"
      ? { case: "replicated" as const, value: makeMessage("ReplicatedService", { replicas: present }) }
      : { case: "global" as const, value: makeMessage("GlobalService", {}) };
  const constraints = typeof present === "bigint" ? [] : present;
  const service = makeMessage("Service", {
    id: "s",
    spec: { annotations: { name: "db" }, task: { placement: { constraints } } },
  });
  if (service.spec !== undefined) service.spec.mode = mode;
  store.objects.service.set("s", encodeMessage("Service", service));
  const data = encodeHoldRecord({
    ...{ version: 1, holdId, serviceId: "s", former, previous: null, updateStatus: null, serviceVersion: 7 },
    deadlineAt: "2026-11-21T03:30:00.000Z",
  });
  const annotations = { name: "record", labels: { [holdLabels.hold]: holdId, ...labels } };
  store.objects.config.set(
    "c",
    encodeMessage("Config", makeMessage("Config", { id: "c", spec: { annotations, data } })),
  );
  return store;
}
const replicated = (Replicas: number): SpecJson => ({
  Name: "db",
  Mode: { Replicated: { Replicas } },
  TaskTemplate: {},
});
const global: SpecJson = { Name: "db", Mode: { Global: {} }, TaskTemplate: {} };
const specOf = (store: ObjectStore): NonNullable<Message<"Service">["spec"]> =>
  decodeMessage("Service", store.objects.service.get("s") ?? new Uint8Array()).spec ?? expect.fail("no spec");

describe("a copy that was taken while services were held", () => {
  it("gives a replicated service its replicas back", () => {
    const store = state(0n, replicated(3));
    expect(undoHolds(store, now)).to.deep.equal([{ holdId, serviceId: "s", name: "db" }]);
    expect(specOf(store).mode.value).to.deep.include({ replicas: 3n });
    expect(undoHolds(store, now)).to.deep.equal([]);
  });

  it("takes the constraint of the hold from a global service, and leaves others", () => {
    const store = state(["node.role==worker", heldConstraint], global);
    expect(undoHolds(store, now)).to.have.length(1);
    expect(specOf(store).task?.placement?.constraints).to.deep.equal(["node.role==worker"]);
  });

  it("leaves alone what was released, what its owner changed, and what was not stopped yet", () => {
    expect(
      undoHolds(state(0n, replicated(3), { [holdLabels.releasedAt]: "2026-11-21T03:10:00.000Z" }), now),
    ).to.deep.equal([]);
    expect(undoHolds(state(5n, replicated(3)), now)).to.deep.equal([]);
    expect(undoHolds(state(3n, replicated(3)), now)).to.deep.equal([]);
    expect(undoHolds(state(0n, replicated(0)), now)).to.deep.equal([]);
    expect(undoHolds(state(["node.role==worker"], global), now)).to.deep.equal([]);
  });

  it("closes every open record, also one whose service is not touched, and no other", () => {
    const labelsOf = (store: ObjectStore): Record<string, string> =>
      decodeMessage("Config", store.objects.config.get("c") ?? new Uint8Array()).spec?.annotations?.labels ?? {};
    for (const store of [state(0n, replicated(3)), state(5n, replicated(3)), state(["node.role==worker"], global)]) {
      undoHolds(store, now);
      expect(labelsOf(store)).to.include({
        [holdLabels.hold]: holdId,
        [holdLabels.releasedAt]: "2026-11-22T10:00:00.000Z",
      });
      expect(openHolds(store)).to.deep.equal([]);
    }
    const released = "2026-11-21T03:10:00.000Z";
    const store = state(0n, replicated(3), { [holdLabels.releasedAt]: released });
    undoHolds(store, now);
    expect(labelsOf(store)[holdLabels.releasedAt]).to.equal(released);
  });

  it("passes over configs that only look like records", () => {
    const store = state(0n, replicated(3));
    const spec = { annotations: { name: "x", labels: { [holdLabels.hold]: "x" } }, data: Buffer.from("{") };
    store.objects.config.set("c", encodeMessage("Config", makeMessage("Config", { id: "c", spec })));
    expect(undoHolds(store, now)).to.deep.equal([]);
  });
});
