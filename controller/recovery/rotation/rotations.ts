// What a recovery rotates at its end, where it is asked to: whoever has a disk of the old machines has all of it. Pure.
import type { JournalEvent } from "../journal.ts";
import type { PlannedStep } from "../steps.ts";
import type { SwarmView } from "../swarm-view.ts";

/** In the order in which they are done. The unlock key last: where the CA waits for a node, nobody has a key yet that he knows not of. */
export const rotationKinds = ["tokens", "ca", "unlock-key"] as const;
export type Rotation = (typeof rotationKinds)[number];

export const rotationTexts: Readonly<Record<Rotation, string>> = {
  tokens: "the join tokens",
  "unlock-key": "the unlock key",
  ca: "the CA, and with it every node's certificate",
};

/** By hand, on a manager. */
export const rotationCommands: Readonly<Record<Rotation, string>> = {
  tokens: "docker swarm join-token --rotate worker; docker swarm join-token --rotate manager",
  "unlock-key": "docker swarm unlock-key --rotate",
  ca: "docker swarm ca --rotate",
};

/** A swarm that is not autolocked has no key, and the CA may be another's. */
export function rotatable({ locked, externalCas = [] }: Pick<SwarmView, "locked" | "externalCas">): Rotation[] {
  return rotationKinds.filter((kind) =>
    kind === "unlock-key" ? locked === true : kind !== "ca" || externalCas.length === 0,
  );
}

/**
 * A swarm that is not autolocked has no key. `steps`: the last event of each that the journal has. What was begun is ended,
 * also where it is not asked for any more; but the exchange of the CA, which may wait for ever for a node, may be dropped.
 */
export function plannedRotations(
  asked: readonly Rotation[],
  { locked }: Pick<SwarmView, "locked">,
  steps: ReadonlyMap<string, JournalEvent["event"]>,
): Rotation[] {
  return rotationKinds.filter((kind) => {
    if (kind === "unlock-key" && locked !== true) return false;
    const event = steps.get(rotationStepId(kind));
    return asked.includes(kind) || (kind === "ca" ? event === "done" : event !== undefined);
  });
}

export function rotationStepId(kind: Rotation): string {
  return `rotate:${kind}`;
}

/** One after the other: each changes the same object. `before`: the steps after which they come. */
export function rotationSteps(rotations: readonly Rotation[], before: readonly string[]): PlannedStep[] {
  return rotations.map((kind, index) => {
    const former = rotations[index - 1];
    return {
      id: rotationStepId(kind),
      phase: "rotate",
      title: `rotate ${rotationTexts[kind]}`,
      after: former === undefined ? [...before] : [rotationStepId(former)],
    };
  });
}

/** What is to be said before; the names are of nodes that survive and are no machines of the inventory. */
export function examineRotations(
  asked: readonly Rotation[],
  { locked, externalCas = [] }: Pick<SwarmView, "locked" | "externalCas">,
  surviving: readonly string[],
  say: (severity: "error" | "warning" | "note", code: string, text: string) => void,
): void {
  if (asked.includes("unlock-key") && locked !== true) {
    say("note", "rotate-unlocked", "the swarm is not autolocked: it has no unlock key to be rotated");
  }
  if (!asked.includes("ca")) return;
  if (externalCas.length > 0) {
    say("error", "rotate-external-ca", `certificates come from ${externalCas.join(", ")}: --rotate without ca`);
  } else if (surviving.length > 0) {
    const names = surviving.join(", ");
    say("warning", "rotate-ca-waits", `the rotation of the CA waits for every node: ${names} must be back by then`);
  }
}
