// The words that say how a volume is to be taken: as labels `skep.…` on volumes, services and containers, and the same
// words in the policy, which overrules. Read strictly: a word that is not understood is a fault that the run names.
import { z } from "zod";
import type { TaskOf, TaskResultOf } from "../shared/contract/job.ts";
import { globFits } from "./policy-glob.ts";

export type ServiceLabels = Pick<TaskResultOf<"definitions">["services"][number], "id" | "name" | "labels">;
export type FoundVolume = TaskResultOf<"node">["volumes"][number];
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
): { words: VolumeWords; faults: string[] } {
  const faults: string[] = [];
  const words: Record<string, unknown> = {};
  const take = (label: string, word: string, raw: unknown, into: Record<string, unknown>, key: string): void => {
    if (raw !== undefined) into[key] = raw;
    else faults.push(`${prefix}${label} on ${place} wants ${wordExpectations[word] ?? ""}`);
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
      else commandWord(name, name.slice(owner.length + 1), value, into, owner.startsWith("hook"), take, faults, place);
    } else if (name === "enable") take(name, name, { true: true, false: false }[value], words, "enable");
    else if (name === "exclude") {
      const globs = listOr(value);
      const list = typeof globs === "string" ? globs.split(",").map((glob) => glob.trim()) : globs;
      take(name, name, check(volumeWordsSchema.shape.exclude, list), words, "exclude");
    } else if (name === "quiesce") take(name, name, check(volumeWordsSchema.shape.quiesce, value), words, "quiesce");
    else if (name === "group") take(name, name, check(volumeWordsSchema.shape.group, value), words, "group");
    else faults.push(`there is no label ${label}, as ${place} has it`);
  }
  const hook: Record<string, unknown> = {};
  for (const [owner, command] of commands) {
    if (command["command"] === undefined) {
      if (labels[`${prefix}${owner}`] === undefined)
        faults.push(`${place} has options of ${prefix}${owner} and no command`);
    } else if (owner === "dump" || owner === "load") words[owner] = command;
    else {
      hook[owner.slice("hook.".length)] = command;
      words["hook"] = hook;
    }
  }
  return { words, faults };
}

function commandWord(
  name: string,
  option: string,
  value: string,
  into: Record<string, unknown>,
  isHook: boolean,
  take: (label: string, word: string, raw: unknown, into: Record<string, unknown>, key: string) => void,
  faults: string[],
  place: string,
): void {
  if (option === "container") take(name, option, check(commandSchema.shape.container, value), into, option);
  else if (option === "user") take(name, option, check(commandSchema.shape.user, value), into, option);
  else if (option === "timeout") take(name, option, check(commandSchema.shape.timeout, value), into, option);
  else if (option === "on-error" && isHook) take(name, option, check(hookSchema.shape.onError, value), into, "onError");
  else faults.push(`there is no label ${prefix}${name}, as ${place} has it`);
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

export interface WordSources {
  rules: readonly VolumeRule[];
  services: readonly ServiceLabels[];
}
export const noWords: WordSources = { rules: [], services: [] };

/** The nearer to the data, the more a label counts: container, service, volume; the policy's rules, in order, most. */
export function wordsFor(
  { facts, users }: FoundVolume,
  hostname: string,
  { rules, services }: WordSources,
): { words: VolumeWords; faults: string[] } {
  const found: { words: VolumeWords; faults: string[] }[] = [];
  for (const user of users) found.push(wordsOfLabels(user.labels, `container ${user.container}`));
  const ids = new Set(users.map(({ serviceId }) => serviceId));
  for (const service of services) {
    if (ids.has(service.id)) found.push(wordsOfLabels(service.labels, `service ${service.name}`));
  }
  found.push(wordsOfLabels(facts.labels, `volume ${hostname}/${facts.name}`));
  const faults = found.flatMap((each) => each.faults);
  const clashes = (["quiesce", "group"] as const).flatMap((word) => {
    const said = new Set(found.slice(0, -1).flatMap(({ words }) => words[word] ?? []));
    const settled = found.at(-1)?.words[word] !== undefined;
    return said.size > 1 && !settled
      ? [`those that use ${facts.name} say ${prefix}${word}=${[...said].join(" and ")}`]
      : [];
  });
  let words: VolumeWords = {};
  for (const each of found) words = { ...words, ...each.words };
  for (const { match, ...rule } of rules) {
    if (globFits(match, match.includes("/") ? `${hostname}/${facts.name}` : facts.name)) words = { ...words, ...rule };
  }
  return { words, faults: [...new Set([...faults, ...clashes])] };
}
