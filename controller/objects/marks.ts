// While a restore is under way, secrets and configs that it made carry a mark: what they were made from (copied-objects.ts).
// So a restore that was cut off knows its own. In the end the marks go, for the objects shall be as in the copy; and for as
// long as they are being taken away one by one, a config keeps them.
import { createHash } from "node:crypto";
import { z } from "zod";
import { parseJsonText } from "../../shared/json-text.ts";
import type { Json } from "../../shared/raft/engine-api/values.ts";
import type { Engine, EngineObject } from "../engine/engine.ts";

const markLabel = "io.skep.restored";
/** On the config that keeps marks. */
export const marksRecordLabel = "io.skep.restored.marks";

/** Marks by the id of their object. */
const recordSchema = z.record(z.string().max(64), z.string().regex(/^[0-9a-f]{32}$/));
type MarksRecord = z.infer<typeof recordSchema>;

export function labelsWithMark(labels: unknown, mark: string): Json {
  return { ...(labels as Json | undefined), [markLabel]: mark };
}

/** Labels without the mark, and the mark; null where there is none. */
export function splitMark(labels: unknown): { labels: Record<string, string>; mark: string | null } {
  const { [markLabel]: mark, ...rest } = (labels ?? {}) as Record<string, string>;
  return { labels: rest, mark: mark ?? null };
}

export function isMarksRecord({ spec }: Pick<EngineObject, "spec">): boolean {
  return marksRecordLabel in ((spec["Labels"] ?? {}) as Json);
}

/** Marks that such a config keeps; none where somebody else labelled it so. */
export function decodeMarksRecord({ spec }: Pick<EngineObject, "spec">): MarksRecord {
  const data = typeof spec["Data"] === "string" ? spec["Data"] : "";
  return recordSchema.safeParse(parseJsonText(Buffer.from(data, "base64"))).data ?? {};
}

export function encodeMarksRecord(marks: MarksRecord): Json {
  const text = JSON.stringify(marks);
  const name = `skep-restored-${createHash("sha256").update(text).digest("hex").slice(0, 16)}`;
  return { Name: name, Labels: { [marksRecordLabel]: "" }, Data: Buffer.from(text).toString("base64") };
}

/** Takes the marks away from all of `wanted`, `secret NAME` or `config NAME`. May be cut off anywhere and called again. */
export async function removeMarks(engine: Engine, wanted: ReadonlySet<string>, signal?: AbortSignal): Promise<void> {
  const records = (await engine.list("config", signal)).filter(isMarksRecord);
  const marked = [];
  for (const kind of ["secret", "config"] as const) {
    for (const object of await engine.list(kind, signal)) {
      const { labels, mark } = splitMark(object.spec["Labels"]);
      if (mark !== null && wanted.has(`${kind} ${object.name}`)) marked.push({ kind, object, labels, mark });
    }
  }
  if (marked.length > 0) {
    const record = encodeMarksRecord(Object.fromEntries(marked.map(({ object, mark }) => [object.id, mark])));
    if (!records.some(({ name }) => name === record["Name"])) {
      const id = await engine.create("config", record, null, signal);
      records.push({ id, name: String(record["Name"]), version: 0, spec: record, previousSpec: null });
    }
  }
  for (const { kind, object, labels } of marked) {
    await engine.update(kind, object, { ...object.spec, Labels: labels }, null, signal);
  }
  for (const { id } of records) await engine.remove("config", id, signal);
}
