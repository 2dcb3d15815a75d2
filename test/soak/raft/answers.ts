// What a living swarm's API says just before and just after a copy, and whether an engine that was started from the copy
// says the same of every object. Left out is only what a start elsewhere makes anew; each such field is named here.
import { isDeepStrictEqual } from "node:util";
import type { LabNode } from "../../lab/node.ts";
import { apiObjects, swarmState } from "../../e2e/raft-swarm.ts";
import { engineCall, type ApiObject } from "../../e2e/rich-swarm.ts";
import { untouched } from "./large-swarm.ts";

/** Every object that the API lists, by kind and id, in the fields that a copy must bring back. */
export type Answers = Map<string, unknown>;

type Said = ApiObject & Record<string, unknown>;

export async function answersOf(node: LabNode): Promise<Answers> {
  const self = `node ${(await swarmState(node)).NodeID}`;
  const answers: Answers = new Map();
  for (const [key, object] of (await apiObjects(node)) as Map<string, Said>) {
    switch (key.slice(0, key.indexOf(" "))) {
      case "cluster":
        // Autolock is switched amid copies: compared by itself, as the unlock key is.
        answers.set("autolock", object.Spec["EncryptionConfig"]);
        answers.set(key, { ...without(object, times), Spec: without(object.Spec, ["EncryptionConfig"]) });
        break;
      case "service":
        // The engine notes at a service that its tasks fail.
        answers.set(key, (object.Spec["Name"] as string).startsWith(untouched) ? object : without(object, times));
        break;
      case "node": {
        // The marker write changes the times, and a manager tells the swarm its host's name when it starts.
        const description = without(object["Description"] as object, key === self ? ["Hostname"] : []);
        answers.set(key, { ...without(object, [...times, "Status"]), Description: description });
        break;
      }
      case "task":
        if (waitsForever(object)) answers.set(key, waiting(object));
        break;
      default:
        answers.set(key, object);
    }
  }
  const { UnlockKey } = (await engineCall(node, "GET", "/swarm/unlockkey")) as { UnlockKey: string };
  answers.set("unlock key", UnlockKey);
  return answers;
}

/** Of an object's last change. */
const times = ["Version", "UpdatedAt"];

function without(object: object, fields: readonly string[]): Record<string, unknown> {
  return Object.fromEntries(Object.entries(object).filter(([field]) => !fields.includes(field)));
}

/** Other tasks come and go: those of services that try to start, and can't. */
function waitsForever(task: Said): boolean {
  const { Placement } = task.Spec as { Placement?: { Constraints?: string[] } };
  return Placement?.Constraints?.includes("node.labels.nowhere==1") ?? false;
}

/** The scheduler notes in the status why it waits: how many nodes it looked at. */
function waiting(task: Said): Record<string, unknown> {
  const attachments = (task["NetworksAttachments"] ?? []) as { Network: object }[];
  return {
    ...without(task, [...times, "Status"]),
    // Each has the whole network in it, which the engine writes anew when it starts.
    NetworksAttachments: attachments.map(({ Network, ...own }) => ({ ...own, Network: without(Network, times) })),
  };
}

/** Of the load's configs one is made and removed again at any moment. */
function isOfLoad(object: unknown): boolean {
  return ((object as { Spec?: { Name?: string } } | undefined)?.Spec?.Name ?? "").startsWith("load-");
}

function roundOf(object: unknown): number {
  return Number((object as { Spec: { Labels?: { round?: string } } }).Spec.Labels?.round ?? -1);
}

/**
 * What an engine says (`found`) that was started from a copy which was taken between `before` and `after`, against those.
 * What both say must be there, whole; what changed meanwhile, as one of them says. Gives how many objects were
 * compared, and of each that differs its key and what was said, in JSON.
 */
export function compareAnswers(
  before: Answers,
  after: Answers,
  found: Answers,
): { compared: number; differences: string[] } {
  const keys = new Set([...before.keys(), ...after.keys(), ...found.keys()]);
  const differing = [...keys].filter((key) => !isAmong(before.get(key), after.get(key), found.get(key)));
  const differences = differing.map((key) => {
    const [was, became, is] = [before, after, found].map((answers) => JSON.stringify(answers.get(key)));
    return `${key}: ${is} is neither ${was} nor ${became}`;
  });
  return { compared: keys.size, differences };
}

function isAmong(was: unknown, became: unknown, is: unknown): boolean {
  if (isDeepStrictEqual(was, is) || isDeepStrictEqual(became, is)) return true;
  const ofLoad = [was, became, is].filter((said) => said !== undefined);
  if (!ofLoad.every(isOfLoad)) return false;
  // A config may have been made after one question, and removed before the other.
  if (was === undefined || became === undefined || is === undefined) return was === undefined && became === undefined;
  return roundOf(was) <= roundOf(is) && roundOf(is) <= roundOf(became);
}
