// The policy: what is backed up, when, and within which limits. Written as YAML, seeded by the stack's config,
// kept versioned in the store. All faults are reported at once, each with its line, what was expected and an example.
import { Cron } from "croner";
import { isNode, LineCounter, parseDocument, type Document } from "yaml";
import { z } from "zod";
import { volumeSelectionSchema } from "../shared/contract/job.ts";
import { SkepError } from "../shared/errors.ts";
import { listFaults } from "../shared/fault-list.ts";
import { isNestedTooDeep } from "../shared/yaml-text.ts";
import { imageModes } from "./images/image-plan.ts";
import { globFits } from "./name-glob.ts";
import { volumeRuleSchema } from "./volume-words.ts";

const count = (least: number, most: number) => z.int().min(least).max(most);

/** `faultOf`: what is wrong with a string that has the right type; null where nothing is. */
function checkedString(most: number, faultOf: (text: string) => string | null) {
  return z
    .string()
    .max(most)
    .check((context) => {
      const message = faultOf(context.value);
      if (message !== null) context.issues.push({ code: "custom", message, input: context.value });
    });
}

const scheduleSchema = z.strictObject({
  name: z.string().regex(/^[a-z0-9][a-z0-9-]{0,62}$/),
  /** Five fields: minute, hour, day of month, month, day of week. */
  cron: checkedString(200, cronFault),
  timeZone: checkedString(64, timeZoneFault),
  /** The start is put off by up to this long, by another time each day. */
  jitterSeconds: count(0, 86_400).default(0),
});
export type Schedule = z.infer<typeof scheduleSchema>;

const selectionSchema = z.strictObject({
  volumes: z
    .strictObject({
      include: volumeSelectionSchema.shape.include.default(["*"]),
      exclude: volumeSelectionSchema.shape.exclude.default([]),
    })
    .prefault({}),
  excludePaths: z.array(z.string().min(1).max(4096)).max(1000).default([]),
});

const limitsSchema = z.strictObject({
  /** How many nodes read volumes at the same time. */
  nodesAtOnce: count(1, 10_000).default(10),
  /** 0: no limit. Shared out among the jobs that a node does at once. */
  bytesPerSecondPerNode: z.int().min(0).default(0),
  /** 0: no limit. Shared out among the nodes that work at once. */
  bytesPerSecondInAll: z.int().min(0).default(0),
  /** Nodes begin spread over this long. */
  jitterSeconds: count(0, 86_400).default(0),
  /** What was stopped or paused for a backup is let go after this long, also where nobody is left to do it. */
  quietMinutes: count(1, 1440).default(30),
  /** One volume may take this long, attempts included. */
  jobTimeoutMinutes: count(1, 10_080).default(240),
});

/** How many runs to keep; the newest of each period counts. All absent: every run is kept. */
const retentionSchema = z.strictObject({
  last: count(1, 100_000).optional(),
  hourly: count(1, 100_000).optional(),
  daily: count(1, 100_000).optional(),
  weekly: count(1, 100_000).optional(),
  monthly: count(1, 100_000).optional(),
  yearly: count(1, 100_000).optional(),
  /** What kept runs need stays locked in the store for so many days ahead; absent: nothing is locked. */
  lockDays: count(1, 3650).optional(),
  /** In which days, weeks and months are counted; absent: that of the first schedule, else UTC. */
  timeZone: checkedString(64, timeZoneFault).optional(),
});

export const policySchema = z.strictObject({
  version: z.literal(1),
  schedules: z.array(scheduleSchema).max(100).default([]),
  select: selectionSchema.prefault({}),
  /** How volumes are to be taken; overrules their labels. */
  volumes: z.array(volumeRuleSchema).max(1000).default([]),
  /** Which images that services run are taken along. */
  images: z.enum(imageModes).default("none"),
  limits: limitsSchema.prefault({}),
  retention: retentionSchema.prefault({}),
});
export type Policy = z.infer<typeof policySchema>;

export interface PolicyFault {
  /** From 1; null where the whole text is meant. */
  line: number | null;
  /** `schedules[0].cron`; "" for the whole. */
  field: string;
  problem: string;
  expected: string;
  example: string;
}

/** What each field wants, by its path with `[]` for any index; the nearest known parent speaks for a path that is not here. */
export const policyFields: Readonly<Record<string, { expected: string; example: string }>> = {
  "": {
    expected: "a mapping with version, schedules, select, volumes, images, limits, retention",
    example: "version: 1",
  },
  version: { expected: "the number 1", example: "version: 1" },
  schedules: {
    expected: "a list of schedules",
    example: 'schedules: [{ name: nightly, cron: "0 3 * * *", timeZone: Europe/Zurich }]',
  },
  "schedules[].name": { expected: "lower-case letters, digits and dashes, used once", example: "name: nightly" },
  "schedules[].cron": {
    expected: "five cron fields: minute, hour, day of month, month, day of week",
    example: 'cron: "0 3 * * *"',
  },
  "schedules[].timeZone": { expected: "a time zone of the IANA database", example: "timeZone: Europe/Zurich" },
  "schedules[].jitterSeconds": { expected: "a whole number from 0 to 86400", example: "jitterSeconds: 300" },
  select: { expected: "a mapping with volumes, excludePaths", example: 'select: { volumes: { include: ["*"] } }' },
  "select.volumes": { expected: "a mapping with include, exclude", example: 'volumes: { include: ["*"] }' },
  "select.volumes.include": {
    expected: "a list of globs on NAME or HOSTNAME/NAME (* and ?)",
    example: 'include: ["*", "node1/db-*"]',
  },
  "select.volumes.exclude": {
    expected: "a list of globs on NAME or HOSTNAME/NAME (* and ?)",
    example: 'exclude: ["cache-*"]',
  },
  "select.excludePaths": {
    expected: "a list of globs relative to a volume's root (** crosses folders)",
    example: 'excludePaths: ["**/tmp/**"]',
  },
  volumes: {
    expected: "a list of rules for volumes",
    example: 'volumes: [{ match: "node1/pg*", quiesce: stop }]',
  },
  "volumes[].match": { expected: "a glob on NAME or HOSTNAME/NAME (* and ?)", example: 'match: "node1/pg*"' },
  "volumes[].enable": { expected: "true or false: is it backed up?", example: "enable: false" },
  "volumes[].quiesce": { expected: "none, pause or stop", example: "quiesce: pause" },
  "volumes[].group": {
    expected: "a name: volumes of one group are taken at one moment",
    example: "group: shop",
  },
  "volumes[].exclude": {
    expected: "a list of globs relative to the volume's root",
    example: 'exclude: ["tmp/**"]',
  },
  "volumes[].hook.pre": {
    expected: "a command with container, user, timeout, onError",
    example: 'pre: { command: "sync-cache", onError: continue }',
  },
  "volumes[].hook.post": {
    expected: "a command with container, user, timeout, onError",
    example: 'post: { command: ["/bin/resume"], timeout: 90s }',
  },
  "volumes[].dump": {
    expected: "a command with container, user, timeout",
    example: 'dump: { command: "pg_dumpall -U postgres" }',
  },
  "volumes[].load": {
    expected: "a command with container, user, timeout",
    example: 'load: { command: "psql -U postgres -f -" }',
  },
  images: { expected: "none, unpullable or all", example: "images: unpullable" },
  limits: { expected: "a mapping of limits", example: "limits: { nodesAtOnce: 10 }" },
  "limits.nodesAtOnce": { expected: "a whole number from 1 to 10000", example: "nodesAtOnce: 10" },
  "limits.bytesPerSecondPerNode": {
    expected: "a whole number of bytes, 0 for no limit",
    example: "bytesPerSecondPerNode: 50000000",
  },
  "limits.bytesPerSecondInAll": {
    expected: "a whole number of bytes, 0 for no limit",
    example: "bytesPerSecondInAll: 200000000",
  },
  "limits.jitterSeconds": { expected: "a whole number from 0 to 86400", example: "jitterSeconds: 60" },
  "limits.quietMinutes": { expected: "a whole number from 1 to 1440", example: "quietMinutes: 30" },
  "limits.jobTimeoutMinutes": { expected: "a whole number from 1 to 10080", example: "jobTimeoutMinutes: 240" },
  retention: {
    expected: "a mapping of last, hourly, daily, weekly, monthly, yearly to whole numbers from 1, and timeZone",
    example: "retention: { daily: 7, weekly: 5, monthly: 12 }",
  },
  "retention.lockDays": { expected: "a whole number from 1 to 3650", example: "lockDays: 30" },
};

/**
 * Reads a policy from YAML. `under` is where it stands in that text: [] for a policy of its own, ["policy"] in
 * skep.yaml. `place` names the text for the message. Throws SKEP_POLICY_INVALID with every fault.
 */
export function decodePolicy(text: string, place: string, under: readonly string[] = []): Policy {
  const { policy, faults } = readPolicy(text, under);
  if (policy !== null) return policy;
  const lines = faults.map(
    ({ line, field, problem, expected, example }) =>
      `${line === null ? "" : `line ${line}: `}${field === "" ? "" : `${field}: `}${problem}; expected ${expected}, e.g. ${example}`,
  );
  throw new SkepError({
    code: "SKEP_POLICY_INVALID",
    message: `the policy in ${place} is not valid:\n${listFaults(lines)}`,
    permanent: true,
    hint: "correct these lines; docs/POLICY.md tells every field",
  });
}

/** The policy, or every fault that it has, in the order of the text. */
export function readPolicy(
  text: string,
  under: readonly string[] = [],
): { policy: Policy; faults: [] } | { policy: null; faults: PolicyFault[] } {
  const lineCounter = new LineCounter();
  if (isNestedTooDeep(text)) {
    return { policy: null, faults: [{ line: null, field: "", problem: "it is nested too deep", ...wanted([]) }] };
  }
  const document = parseDocument(text, { lineCounter, prettyErrors: false });
  const misread = [...document.errors, ...document.warnings];
  if (misread.length > 0) {
    const faults = misread.map((error) => ({
      line: lineCounter.linePos(error.pos[0]).line,
      field: "",
      problem: `${error.name === "YAMLWarning" ? "not plain YAML" : "not YAML"}: ${error.message}`,
      ...wanted([]),
    }));
    return { policy: null, faults };
  }
  let json: unknown;
  try {
    json = document.toJS({ maxAliasCount: 0 });
    for (const key of under) json = (json as Record<string, unknown> | null)?.[key];
  } catch (error) {
    const problem = `aliases are not taken (${error instanceof Error ? error.message : String(error)})`;
    return { policy: null, faults: [{ line: null, field: "", problem, ...wanted([]) }] };
  }
  const parsed = policySchema.safeParse(json);
  const fault = (path: Path, problem: string): PolicyFault => ({
    line: lineOf(document, lineCounter, [...under, ...path]),
    field: nameOf(path),
    problem,
    ...wanted(path),
  });
  const faults = repeatedNames(json).map(({ index, name }) =>
    fault(["schedules", index, "name"], `another schedule is called ${JSON.stringify(name)}`),
  );
  if (parsed.success && faults.length === 0) return { policy: parsed.data, faults: [] };
  for (const issue of parsed.error?.issues ?? []) {
    for (const path of paths(issue)) faults.push(fault(path, problemOf(issue, path, json)));
  }
  return { policy: null, faults: faults.sort((a, b) => (a.line ?? 0) - (b.line ?? 0)) };
}

/** Schedules that are called like one before them; of whatever shape the rest is, so that all faults come at once. */
function repeatedNames(json: unknown): { index: number; name: string }[] {
  const loose = z.object({ schedules: z.array(z.object({ name: z.string() }).catch({ name: "" })) }).safeParse(json);
  const names = loose.data?.schedules.map(({ name }) => name) ?? [];
  return names.flatMap((name, index) => (name !== "" && names.indexOf(name) < index ? [{ index, name }] : []));
}

type Path = readonly (string | number)[];

/** One path for each unknown key; else the issue's own. */
function paths(issue: z.core.$ZodIssue): Path[] {
  const path = issue.path.map((segment) => (typeof segment === "symbol" ? String(segment) : segment));
  return issue.code === "unrecognized_keys" ? issue.keys.map((key) => [...path, key]) : [path];
}

function problemOf(issue: z.core.$ZodIssue, path: Path, json: unknown): string {
  if (issue.code === "unrecognized_keys") return "there is no such field";
  if (issue.code === "custom") return issue.message;
  let value = json;
  for (const segment of path) value = (value as Record<string | number, unknown> | null | undefined)?.[segment];
  if (value === undefined) return "is missing";
  const shown = JSON.stringify(value);
  return `${shown.length > 80 ? `${shown.slice(0, 80)}…` : shown} does not fit`;
}

function wanted(path: Path): { expected: string; example: string } {
  for (let length = path.length; length > 0; length--) {
    const known = policyFields[nameOf(path.slice(0, length)).replaceAll(/\[\d+\]/g, "[]")];
    if (known !== undefined) return known;
  }
  return policyFields[""] as { expected: string; example: string };
}

function nameOf(path: Path): string {
  return path.reduce<string>(
    (name, segment) =>
      typeof segment === "number" ? `${name}[${segment}]` : name === "" ? segment : `${name}.${segment}`,
    "",
  );
}

/** Of the node at the path, or the nearest one above it that is in the text. */
function lineOf(document: Document, lineCounter: LineCounter, path: Path): number | null {
  for (let length = path.length; length >= 0; length--) {
    const node: unknown = length === 0 ? document.contents : document.getIn(path.slice(0, length), true);
    if (isNode(node) && node.range) return lineCounter.linePos(node.range[0]).line;
  }
  return null;
}

function cronFault(cron: string): string | null {
  try {
    if (new Cron(cron, { mode: "5-part", paused: true }).nextRun() !== null) return null;
    return `${JSON.stringify(cron)} never comes`;
  } catch (error) {
    const why = error instanceof Error ? error.message.replace(/^CronPattern: /, "") : String(error);
    return `${JSON.stringify(cron)} is no cron pattern (${why})`;
  }
}

function timeZoneFault(timeZone: string): string | null {
  try {
    new Intl.DateTimeFormat("en", { timeZone });
    return null;
  } catch {
    return `${JSON.stringify(timeZone)} is no time zone`;
  }
}

/** True where the policy takes this volume. A glob with a slash is on HOSTNAME/NAME, another on NAME alone. */
export function selectsVolume(select: Policy["select"]["volumes"], hostname: string, name: string): boolean {
  const fits = (pattern: string): boolean => globFits(pattern, pattern.includes("/") ? `${hostname}/${name}` : name);
  return select.include.some(fits) && !select.exclude.some(fits);
}
