// What became of a held service, told from its spec, its previous spec and its version against the record of the hold.
// Docker keeps two specs of a service, and each update moves the present one to "previous":
//
//   before the hold    former,  previous
//   held               held,    former
//   released           former,  held        a rollback would go to `held`, which stops the service
//
// The engine has no way to put `previous` back without running it for a moment. So the record keeps it, and whoever
// sees that a rollback came out at `held` takes it on to where it was meant to go.
import type { HoldRecord } from "../../shared/contract/hold-record.ts";
import { heldSpec, sameSpec, withoutHold, type SpecJson } from "../../shared/held-spec.ts";
import type { SwarmService } from "../docker-objects.ts";

export type Spec = SwarmService["Spec"];

export type Verdict =
  /** Was not touched yet, or was given back. */
  | { kind: "as-before" }
  /** As the hold left it. */
  | { kind: "held" }
  /** Rolled back by its owner: `to` is what that one meant, null where there is nothing but what runs. */
  | { kind: "rolled-back"; to: Spec | null }
  /** Changed by its owner; `without` is that change without what the hold left in it, null where nothing is left. */
  | { kind: "changed"; without: Spec | null };

type Seen = Pick<SwarmService, "Spec" | "PreviousSpec" | "UpdateStatus" | "Version">;

/** `leftAt`: the service's version after the hold's own update, null where it died before it noted that. */
export function verdictOn(service: Seen, record: HoldRecord, leftAt: number | null): Verdict {
  const { Spec, PreviousSpec } = service;
  const former = record.former as Spec;
  const held = heldSpec(former);
  const isRollback = service.UpdateStatus?.State?.startsWith("rollback") === true;
  if (sameSpec(Spec, held)) {
    if (service.Version.Index === leftAt) return { kind: "held" };
    if (isRollback) return { kind: "rolled-back", to: meantFromHeld(PreviousSpec, record) };
    // Told to have no replicas while it had none: another update, whose previous spec is what the hold made. The
    // constraint of a global one is nobody else's.
    const isHold = former.Mode.Global != null || sameSpec(PreviousSpec, former);
    return isHold ? { kind: "held" } : { kind: "changed", without: null };
  }
  if (sameSpec(Spec, former)) {
    const fromHeld = sameSpec(PreviousSpec, held);
    if (fromHeld && isRollback) return { kind: "rolled-back", to: record.previous };
    return { kind: "as-before" };
  }
  return { kind: "changed", without: withoutHold(Spec, former) };
}

/** A released service that was rolled back onto what its hold left: where that was meant to go. Null for any other state. */
export function strayRollback(service: Seen, record: HoldRecord): Spec | null {
  const isRollback = service.UpdateStatus?.State?.startsWith("rollback") === true;
  if (!isRollback || !sameSpec(service.Spec, heldSpec(record.former))) return null;
  return meantFromHeld(service.PreviousSpec, record);
}

/** Docker's rollback changes places with the previous spec: here from `before` to `held`. What it should have gone to. */
function meantFromHeld(before: Spec | null | undefined, record: HoldRecord): Spec {
  const former = record.former as Spec;
  const previous = record.previous;
  return previous !== null && sameSpec(before, former) ? previous : former;
}

/**
 * What a rollback of the service means: Docker's previous spec, unless that is what a hold left there. `earlier`: the
 * record of the service's last hold, null where there is none. Null where the service has no previous spec.
 */
export function previousOf(service: Pick<Seen, "Spec" | "PreviousSpec">, earlier: HoldRecord | null): SpecJson | null {
  const { Spec, PreviousSpec } = service;
  if (PreviousSpec === undefined || PreviousSpec === null) return null;
  if (earlier === null || !sameSpec(PreviousSpec, heldSpec(earlier.former))) return PreviousSpec;
  return sameSpec(Spec, earlier.former) ? earlier.previous : earlier.former;
}

/** Then its update status is that of the release, and tells nothing of its owner's last update. */
export function isAsReleased({ Spec, PreviousSpec }: SwarmService, last: HoldRecord | null): boolean {
  return last !== null && sameSpec(Spec, last.former) && sameSpec(PreviousSpec, heldSpec(last.former));
}

/** What is to be written down of a service before it is held. `last`: the record of its hold before this. */
export function recordOf(
  service: SwarmService,
  hold: Pick<HoldRecord, "holdId" | "deadlineAt">,
  last: HoldRecord | null,
  serviceVersion: number,
): HoldRecord {
  const { ID: serviceId, Spec, UpdateStatus } = service;
  return {
    version: 1,
    ...hold,
    serviceId,
    former: Spec,
    previous: previousOf(service, last),
    updateStatus: (last !== null && isAsReleased(service, last) ? last.updateStatus : UpdateStatus) ?? null,
    serviceVersion,
  };
}
