// Where each volume comes from: the chosen run, or, where that wanted it and did not get it, the newest run before that did.
// One may have taken a volume's files, another a dump of what is in it. Pure.
import type { Part, Run, StoredObject, VolumeFacts } from "../../shared/repository/run.ts";

/** A volume as one run took it. */
export interface VolumeSource {
  /** HOSTNAME/NAME, as the run calls it. */
  id: string;
  /** Its files, or what a command in a container wrote. */
  kind: "volume" | "dump";
  run: Pick<Run, "id" | "startedAt">;
  part: Part & { volume: VolumeFacts; manifest: StoredObject; refs: StoredObject };
  sizeBytes: number;
  /** Bytes in the run before, where it was much larger then; else null. */
  shrankFromBytes: number | null;
}

/** What the chosen run wanted, did not get, and no run before has. */
export interface MissingVolume {
  id: string;
  nodeId: string;
  why: string;
}

/** A volume that lost more than half, and more than this, is pointed out. */
const shrinkBytes = 1024 * 1024;

/** `older`: newest first. */
export function volumeSources(run: Run, older: readonly Run[]): VolumeSource[] {
  const found = new Map<string, VolumeSource>();
  for (const part of run.parts) {
    const source = sourceOf(run, part, older);
    if (source !== null) found.set(keyOf(part), source);
  }
  // What the run wanted and did not get; not what was removed before it.
  const silentNodes = new Set(
    run.notCovered.flatMap(({ reason, hostname }) =>
      (reason === "node-down" || reason === "no-agent") && hostname !== undefined ? [hostname] : [],
    ),
  );
  const failed = new Set(failedParts(run).map(keyOf));
  for (const [index, earlier] of older.entries()) {
    for (const part of earlier.parts) {
      const key = keyOf(part);
      if (kindOf(part) === null || found.has(key)) continue;
      if (!failed.has(key) && !silentNodes.has(part.hostname)) continue;
      const source = sourceOf(earlier, part, older.slice(index + 1));
      if (source !== null) found.set(key, source);
    }
  }
  return [...found.values()].sort((a, b) => (a.id < b.id ? -1 : 1));
}

/** `sources`: of volumeSources. */
export function missingVolumes(run: Run, sources: readonly VolumeSource[]): MissingVolume[] {
  const found = new Set(sources.map(({ part }) => keyOf(part)));
  return failedParts(run)
    .filter((part) => !found.has(keyOf(part)))
    .map(({ name, nodeId, error }) => ({ id: name, nodeId, why: error?.message ?? "it failed" }));
}

function failedParts({ parts }: Run): Part[] {
  return parts.filter((part) => kindOf(part) !== null && part.manifest === undefined);
}

function kindOf({ kind }: Part): VolumeSource["kind"] | null {
  return kind === "volume" || kind === "dump" ? kind : null;
}

function keyOf({ nodeId, name }: Part): string {
  return `${nodeId} ${name}`;
}

function sourceOf(run: Run, part: Part, older: readonly Run[]): VolumeSource | null {
  const { volume, manifest, refs } = part;
  const kind = kindOf(part);
  if (kind === null || volume === undefined || manifest === undefined || refs === undefined) return null;
  // What Skep keeps for itself is made anew: the agent's cache and key, the queue.
  if (volume.labels["io.skep.own"] === "true") return null;
  const sizeBytes = part.totals?.sourceBytes ?? 0;
  const before = older
    .flatMap(({ parts }) => parts.filter((other) => other.kind === kind && keyOf(other) === keyOf(part)))
    .map(({ totals }) => totals?.sourceBytes)
    .find((bytes) => bytes !== undefined);
  const shrank = before !== undefined && before - sizeBytes > shrinkBytes && sizeBytes < before / 2;
  return {
    ...{ id: part.name, kind, sizeBytes },
    run: { id: run.id, startedAt: run.startedAt },
    part: { ...part, volume, manifest, refs },
    shrankFromBytes: shrank ? before : null,
  };
}
