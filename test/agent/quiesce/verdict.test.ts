import { expect } from "chai";
import fc from "fast-check";
import type { SwarmService } from "../../../agent/docker-objects.ts";
import { previousOf, strayRollback, verdictOn, type Spec } from "../../../agent/quiesce/verdict.ts";
import type { HoldRecord } from "../../../shared/contract/hold-record.ts";
import { heldConstraint, heldSpec, withoutHold } from "../../../shared/held-spec.ts";

/** A service as the swarm keeps it: an update moves the spec to the previous one, a rollback changes their places. */
class Service implements Pick<SwarmService, "Spec" | "PreviousSpec" | "UpdateStatus" | "Version"> {
  Spec: Spec;
  PreviousSpec: Spec | null = null;
  UpdateStatus: { State: string } | null = null;
  Version = { Index: 10 };

  constructor(spec: Spec) {
    this.Spec = spec;
  }
  update(spec: Spec): this {
    this.PreviousSpec = this.Spec;
    this.Spec = spec;
    this.UpdateStatus = null;
    this.Version = { Index: this.Version.Index + 1 };
    return this;
  }
  rollBack(): this {
    this.update(this.PreviousSpec ?? this.Spec);
    this.UpdateStatus = { State: "rollback_completed" };
    return this;
  }
}

function spec(image: string, replicas: number | "global", constraints?: string[]): Spec {
  const Placement = constraints === undefined ? {} : { Placement: { Constraints: constraints } };
  return {
    Name: "db",
    Labels: { app: "x" },
    Mode: replicas === "global" ? { Global: {} } : { Replicated: { Replicas: replicas } },
    TaskTemplate: { ContainerSpec: { Image: image }, ...Placement },
  };
}

const held = (former: Spec): Spec => heldSpec(former) ?? expect.fail("is a job");
const recordOf = (service: Service, earlier: HoldRecord | null = null): HoldRecord => ({
  version: 1,
  holdId: "abcdefghijkl",
  deadlineAt: new Date(0).toISOString(),
  serviceId: "s",
  former: service.Spec,
  previous: previousOf(service, earlier),
  updateStatus: null,
  serviceVersion: service.Version.Index,
});
/** The service held, its record, and the version that the hold noted. */
function hold(service: Service, earlier: HoldRecord | null = null): { record: HoldRecord; leftAt: number } {
  const record = recordOf(service, earlier);
  service.update(held(service.Spec));
  return { record, leftAt: service.Version.Index };
}

for (const size of [3, "global"] as const) {
  describe(`a held service, ${size === "global" ? "global" : "replicated"}`, () => {
    const before = spec("old", size);
    const present = spec("new", size);
    const started = (): Service => new Service(before).update(present);

    it("is seen as held, also where its hold died before it noted the version", () => {
      const service = started();
      const { record, leftAt } = hold(service);
      expect(verdictOn(service, record, leftAt)).to.deep.equal({ kind: "held" });
      expect(verdictOn(service, record, null)).to.deep.equal({ kind: "held" });
    });

    it("is given back by a hold that lost track of its updates, where nobody else can have meant what it is", () => {
      const service = started();
      const { record, leftAt } = hold(service);
      service.update(held(present));
      const verdict = size === "global" ? { kind: "held" } : { kind: "changed", without: null };
      expect(verdictOn(service, record, leftAt)).to.deep.equal(verdict);
    });

    it("is as before while it was recorded only, and once it was given back", () => {
      const service = started();
      expect(verdictOn(service, recordOf(service), null)).to.deep.equal({ kind: "as-before" });
      const { record, leftAt } = hold(service);
      expect(verdictOn(service.update(present), record, leftAt)).to.deep.equal({ kind: "as-before" });
    });

    it("goes to the spec before, when its owner rolls it back during the hold", () => {
      const service = started();
      const { record, leftAt } = hold(service);
      expect(verdictOn(service.rollBack(), record, leftAt)).to.deep.equal({ kind: "rolled-back", to: before });
    });

    it("goes to the spec before, when its owner rolls it back after the hold, and back again", () => {
      const service = started();
      const { record } = hold(service);
      service.update(present);
      expect(strayRollback(service, record)).to.equal(null);
      expect(strayRollback(service.rollBack(), record)).to.deep.equal(before);
      service.update(before);
      expect(strayRollback(service.rollBack(), record)).to.deep.equal(present);
    });

    it("goes to what it was, when its owner changed it during the hold and rolls back after it", () => {
      const service = started();
      const { record, leftAt } = hold(service);
      service.update(spec("newest", size));
      expect(verdictOn(service, record, leftAt)).to.deep.equal({ kind: "changed", without: null });
      expect(previousOf(service, record)).to.deep.equal(present);
      expect(strayRollback(service.rollBack(), record)).to.deep.equal(present);
    });

    it("keeps its owner's update without what the hold left in it", () => {
      const service = started();
      const { record, leftAt } = hold(service);
      const update = { ...service.Spec, TaskTemplate: { ...service.Spec.TaskTemplate, ForceUpdate: 1 } };
      const verdict = verdictOn(service.update(update), record, leftAt);
      if (verdict.kind !== "changed" || verdict.without === null) throw new Error(verdict.kind);
      expect(verdict.without.Mode).to.deep.equal(present.Mode);
      expect(verdict.without.TaskTemplate.Placement?.Constraints ?? []).to.deep.equal([]);
      expect(verdict.without.TaskTemplate["ForceUpdate"]).to.equal(1);
      // And the record that is made of it knows the held one that lies behind it then.
      expect(held(verdict.without)).to.deep.equal(
        size === "global" ? update : { ...verdict.without, Mode: update.Mode },
      );
    });

    it("knows its previous spec through any number of holds and rollbacks", () => {
      const word = fc.constantFrom("hold", "rollback", "update");
      fc.assert(
        fc.property(fc.array(word, { maxLength: 12 }), (words) => {
          const service = started();
          let meant: [Spec, Spec] = [present, before];
          let record: HoldRecord | null = null;
          let updates = 0;
          for (const each of words) {
            if (each === "hold") {
              ({ record } = hold(service, record));
              service.update(record.former);
            } else if (each === "rollback") {
              service.rollBack();
              const stray = record === null ? null : strayRollback(service, record);
              if (stray !== null) service.update(stray);
              meant = [meant[1], meant[0]];
            } else {
              const next = spec(`update ${updates++}`, size);
              service.update(next);
              meant = [next, meant[0]];
            }
            expect(service.Spec).to.deep.equal(meant[0]);
            expect(previousOf(service, record)).to.deep.equal(meant[1]);
          }
        }),
      );
    });
  });
}

describe("a held replicated service", () => {
  it("stays at the replicas that its owner gave it meanwhile, none too", () => {
    for (const replicas of [5, 0]) {
      const service = new Service(spec("new", 3));
      const { record, leftAt } = hold(service);
      service.update(spec("new", replicas));
      expect(verdictOn(service, record, leftAt)).to.deep.equal({ kind: "changed", without: null });
    }
  });

  it("has nothing to roll back to, where it was never updated but by the hold", () => {
    const service = new Service(spec("new", 3));
    const { record } = hold(service);
    service.update(spec("new", 3));
    expect(previousOf(service, record)).to.equal(null);
    expect(strayRollback(service.rollBack(), record)).to.deep.equal(spec("new", 3));
  });

  it("keeps other constraints of its owner's", () => {
    const changed = spec("x", "global", ["node.role==worker", heldConstraint, "node.labels.a==b"]);
    expect(withoutHold(changed, spec("x", "global"))?.TaskTemplate.Placement?.Constraints).to.deep.equal([
      "node.role==worker",
      "node.labels.a==b",
    ]);
  });
});

describe("a job", () => {
  it("is never held", () => {
    const job = { ...spec("x", 1), Mode: { ReplicatedJob: {} } };
    expect(heldSpec(job)).to.equal(null);
  });
});
