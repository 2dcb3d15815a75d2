// The words that say how a volume is to be taken: as labels `skep.…` on volumes, services and containers, and the same
// words in the policy, which overrules. Read strictly: a word that is not understood is a fault that the run names.
import { z } from "zod";
import type { TaskOf } from "../shared/contract/job.ts";

export type Hook = TaskOf<"pause">["before"][number];

const prefix = "skep.";
const day = 86_400;

/** `90`, `90s`, `5m`, `2h` to seconds. */
const durationSchema = z
  .union([z.int().min(1).max(day), z.string().regex(/^\d{1,5}[smh]?$/)])
  .transform((given) => {
    if (typeof given === "number") return given;
    const unit = { s: 1, m: 60, h: 3600 }[given.at(-1) as "s" | "m" | "h"] as number | undefined;
    return Number.parseInt(given, 10) * (unit ?? 1);
  })
  .refine((seconds) => seconds >= 1 && seconds <= day);

/** A list of arguments as it is; a text is given to /bin/sh -c in the container. */
const argvSchema = z
  .union([z.string().min(1).max(16_384), z.array(z.string().max(16_384)).min(1).max(256)])
  .transform((command) => (typeof command === "string" ? ["/bin/sh", "-c", command] : command));

const commandSchema = z.strictObject({
  command: argvSchema,
  /** Name of a container or a service; without it the container that uses the volume. */
  container: z.string().min(1).max(255).optional(),
  user: z.string().min(1).max(255).optional(),
  timeout: durationSchema.optional(),
});
const hookSchema = commandSchema.extend({ onError: z.enum(["fail", "continue"]).optional() });
export type Command = z.infer<typeof commandSchema>;

export const volumeWordsSchema = z.strictObject({
  enable: z.boolean().optional(),
  quiesce: z.enum(["none", "pause", "stop"]).optional(),
  group: z
    .string()
    .regex(/^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$/)
    .optional(),
  exclude: z.array(z.string().min(1).max(4096)).max(1000).optional(),
  hook: z.strictObject({ pre: hookSchema.optional(), post: hookSchema.optional() }).optional(),
  dump: commandSchema.optional(),
  load: commandSchema.optional(),
});
export type VolumeWords = z.infer<typeof volumeWordsSchema>;
export type VolumeWord = keyof VolumeWords;

/** What of a label was not understood. `word`: that it would have been; null: none that there is. */
export interface LabelFault {
  word: VolumeWord | null;
  message: string;
}

/** Of the policy: the words for the volumes that `match` fits, a glob on NAME or HOSTNAME/NAME. */
export const volumeRuleSchema = volumeWordsSchema.extend({ match: z.string().min(1).max(255) });
export type VolumeRule = z.infer<typeof volumeRuleSchema>;

/** What each word wants, as people write it. */
export const wordExpectations: Readonly<Record<string, string>> = {
  enable: "true or false",
  quiesce: "none, pause or stop",
  group: "letters, digits, dots, dashes and underscores, at most 63",
  exclude: "globs relative to the volume's root, separated by commas, or a JSON list of them",
  "hook.pre": "a command for /bin/sh, or a JSON list of arguments",
  "hook.post": "a command for /bin/sh, or a JSON list of arguments",
  dump: "a command for /bin/sh, or a JSON list of arguments",
  load: "a command for /bin/sh, or a JSON list of arguments",
  container: "the name of a container or a service",
  user: "a user of the container, as docker exec takes it",
  timeout: "a time such as 90s, 5m or 2h, at most 24h",
  "on-error": "fail or continue",
};

const commandWords = ["hook.pre", "hook.post", "dump", "load"] as const;

/** The words among a thing's labels, and what is wrong with them. `place`: `volume db`, say. */
export function wordsOfLabels(
  labels: Readonly<Record<string, string>>,
  place: string,
): { words: VolumeWords; faults: LabelFault[] } {
  const faults: LabelFault[] = [];
  const fault = (label: string, message: string): void => {
    faults.push({ word: wordOf(label), message });
  };
  const words: Record<string, unknown> = {};
  const take: TakeWord = (label, word, raw, into, key) => {
    if (raw !== undefined) into[key] = raw;
    else fault(label, `${prefix}${label} on ${place} wants ${wordExpectations[word] ?? ""}`);
  };
  const commands = new Map<string, Record<string, unknown>>();
  for (const [label, value] of Object.entries(labels)) {
    if (!label.startsWith(prefix)) continue;
    const name = label.slice(prefix.length);
    const owner = commandWords.find((word) => name === word || name.startsWith(`${word}.`));
    if (owner !== undefined) {
      const into = commands.get(owner) ?? {};
      commands.set(owner, into);
      if (name === owner) take(name, owner, check(argvSchema, listOr(value)), into, "command");
      else if (!commandWord(name, owner, value, into, take)) fault(name, unknownLabel(label, place));
    } else if (name === "enable") take(name, name, { true: true, false: false }[value], words, "enable");
    else if (name === "exclude") {
      const globs = listOr(value);
      const list = typeof globs === "string" ? globs.split(",").map((glob) => glob.trim()) : globs;
      take(name, name, check(volumeWordsSchema.shape.exclude, list), words, "exclude");
    } else if (name === "quiesce") take(name, name, check(volumeWordsSchema.shape.quiesce, value), words, "quiesce");
    else if (name === "group") take(name, name, check(volumeWordsSchema.shape.group, value), words, "group");
    else fault(name, unknownLabel(label, place));
  }
  const hook: Record<string, unknown> = {};
  for (const [owner, command] of commands) {
    if (command["command"] === undefined) {
      if (labels[`${prefix}${owner}`] === undefined)
        fault(owner, `${place} has options of ${prefix}${owner} and no command`);
    } else if (owner === "dump" || owner === "load") words[owner] = command;
    else {
      hook[owner.slice("hook.".length)] = command;
      words["hook"] = hook;
    }
  }
  return { words, faults };
}

type TakeWord = (label: string, word: string, raw: unknown, into: Record<string, unknown>, key: string) => void;

/** An option of a command; false for one that it does not have. */
function commandWord(
  name: string,
  owner: (typeof commandWords)[number],
  value: string,
  into: Record<string, unknown>,
  take: TakeWord,
): boolean {
  const option = name.slice(owner.length + 1);
  if (option === "container") take(name, option, check(commandSchema.shape.container, value), into, option);
  else if (option === "user") take(name, option, check(commandSchema.shape.user, value), into, option);
  else if (option === "timeout") take(name, option, check(commandSchema.shape.timeout, value), into, option);
  else if (option === "on-error" && owner.startsWith("hook."))
    take(name, option, check(hookSchema.shape.onError, value), into, "onError");
  else return false;
  return true;
}

function unknownLabel(label: string, place: string): string {
  return `there is no label ${label}, as ${place} has it`;
}

/** Of a label's name without its prefix: `hook.pre.timeout` is of `hook`. */
function wordOf(name: string): VolumeWord | null {
  const [first = ""] = name.split(".");
  return first in volumeWordsSchema.shape ? (first as VolumeWord) : null;
}

/** Undefined for what does not fit. */
function check<T>(schema: z.ZodType<T>, value: unknown): T | undefined {
  return schema.safeParse(value).data;
}

/** A text that begins as a JSON list is one; null where it is broken. */
function listOr(value: string): unknown {
  if (!value.trimStart().startsWith("[")) return value;
  try {
    return JSON.parse(value) as unknown;
  } catch {
    return null;
  }
}
