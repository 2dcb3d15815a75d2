// What changed between two points in time of a swarm's state: objects added, removed and changed, by field of their
// Engine-API JSON. Objects are matched by id, and what is left by name (a service that was removed and made again, or
// the same stack in another swarm).
import { isDeepStrictEqual } from "node:util";

import { engineJson } from "./engine-api/objects.ts";
import type { ObjectKind } from "./object-store.ts";
import { listObjects } from "./open-swarm.ts";
import type { SwarmState } from "./read-swarm.ts";

export interface FieldChange {
  /** `Spec.TaskTemplate.ContainerSpec.Image`, `Spec.Labels["com.example.x"]`. */
  path: string;
  /** Undefined where the field was not there. Secret values are "[hidden]" unless revealed. */
  before: unknown;
  after: unknown;
}

export interface ObjectChange {
  kind: ObjectKind;
  /** Of the later point in time, where the object is there. */
  id: string;
  name: string;
  change: "added" | "removed" | "changed";
  /** Empty unless changed. */
  fields: FieldChange[];
}

/** Tasks come and go by themselves. */
export const comparedKinds: readonly ObjectKind[] = [
  "cluster",
  "node",
  "network",
  "volume",
  "secret",
  "config",
  "service",
  "resource",
  "extension",
];

export function diffSwarms(
  before: SwarmState,
  after: SwarmState,
  reveal: boolean,
  kinds: readonly ObjectKind[] = comparedKinds,
): ObjectChange[] {
  return kinds.flatMap((kind) => diffKind(before, after, kind, reveal));
}

function diffKind(before: SwarmState, after: SwarmState, kind: ObjectKind, reveal: boolean): ObjectChange[] {
  const left = new Map(listObjects(before, kind).map((head) => [head.id, head]));
  const changes: ObjectChange[] = [];
  const added = [];
  const compareObjects = (idBefore: string, idAfter: string, name: string): void => {
    left.delete(idBefore);
    const was = before.store.objects[kind].get(idBefore);
    const is = after.store.objects[kind].get(idAfter);
    if (was === undefined || is === undefined || Buffer.compare(was, is) === 0) return;
    const fields = fieldChanges(engineJson(kind, was, true), engineJson(kind, is, true));
    const shown = fields.filter(({ path }) => !isNoise(path)).map((field) => mask(kind, field, reveal));
    if (shown.length > 0) changes.push({ kind, id: idAfter, name, change: "changed", fields: shown });
  };
  for (const head of listObjects(after, kind)) {
    if (left.has(head.id)) compareObjects(head.id, head.id, head.name);
    else added.push(head);
  }
  for (const { id, name } of added) {
    const namesake = name === "" ? undefined : [...left.values()].find((head) => head.name === name);
    if (namesake === undefined) changes.push({ kind, id, name, change: "added", fields: [] });
    else compareObjects(namesake.id, id, name);
  }
  for (const { id, name } of left.values()) changes.push({ kind, id, name, change: "removed", fields: [] });
  return changes;
}

/** Where two values of JSON differ, by path; empty where they are equal. */
export function fieldChanges(before: unknown, after: unknown): FieldChange[] {
  const fields: FieldChange[] = [];
  compareValues("", before, after, fields);
  return fields;
}

function isNoise(path: string): boolean {
  return /^(Version|CreatedAt|UpdatedAt|Created|PreviousSpec|meta)(\.|$)/.test(path);
}

const secretPaths: Partial<Record<ObjectKind, RegExp>> = {
  secret: /^Spec\.Data$/,
  service: /^RegistryAuth$/,
  cluster: /^(JoinTokens|RootCAKey|UnlockKey|NetworkKeys|Spec\.CAConfig\.SigningCAKey)(\.|$)/,
};

function mask(kind: ObjectKind, field: FieldChange, reveal: boolean): FieldChange {
  if (reveal || secretPaths[kind]?.test(field.path) !== true) return field;
  const hide = (value: unknown): unknown => (value === undefined ? undefined : "[hidden]");
  return { path: field.path, before: hide(field.before), after: hide(field.after) };
}

function compareValues(path: string, before: unknown, after: unknown, fields: FieldChange[]): void {
  if (isDeepStrictEqual(before, after)) return;
  if (isRecord(before) && isRecord(after)) {
    for (const key of new Set([...Object.keys(before), ...Object.keys(after)])) {
      compareValues(join(path, key), before[key], after[key], fields);
    }
  } else if (isListOfRecords(before) && isListOfRecords(after) && before.length === after.length) {
    before.forEach((value, index) => {
      compareValues(`${path}[${index}]`, value, after[index], fields);
    });
  } else fields.push({ path, before, after });
}

function join(path: string, key: string): string {
  if (!/^[A-Za-z_]\w*$/.test(key)) return `${path}[${JSON.stringify(key)}]`;
  return path === "" ? key : `${path}.${key}`;
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function isListOfRecords(value: unknown): value is Record<string, unknown>[] {
  return Array.isArray(value) && value.every(isRecord);
}
