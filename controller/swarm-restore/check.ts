// What the engine's API says after a restore, compared with the state that was laid down: every object that the API has a
// list for, by its id and by what its owner gave it; of the cluster also what no owner may change later: address pool, port,
// trust root, join tokens. Tasks come and go by themselves and are not compared, nor are Skep's own records of holds and
// restores: agents of living nodes mark and remove them, and a call that goes on laid them down as another one closed them.
import { isDeepStrictEqual } from "node:util";
import { z } from "zod";
import { engineJson, objectHead } from "../../shared/raft/engine-api/objects.ts";
import type { ObjectKind } from "../../shared/raft/object-store.ts";
import type { SwarmState } from "../../shared/raft/read-swarm.ts";
import { networkFields } from "../objects/network-fields.ts";
import { isOwnRecord } from "../objects/own-records.ts";
import { isNewerDefault } from "../objects/portable.ts";
import type { SwarmHost } from "./host.ts";

export interface Difference {
  kind: ObjectKind;
  id: string;
  name: string;
  /** `missing`: the API does not have it. Else the fields that are another. */
  what: "missing" | string[];
}

export interface RestoreCheck {
  /** Objects compared, by kind. */
  compared: Partial<Record<ObjectKind, number>>;
  differences: Difference[];
}

const comparedKinds = ["node", "service", "network", "secret", "config", "cluster", "volume"] as const;
type ComparedKind = (typeof comparedKinds)[number];

const paths: Record<ComparedKind, string> = {
  node: "/nodes",
  service: "/services",
  network: "/networks",
  secret: "/secrets",
  config: "/configs",
  cluster: "/swarm",
  volume: "/volumes",
};

/** The rest of an object's fields is the engine's own view of the moment. */
const comparedFields: Record<ComparedKind, string[]> = {
  node: ["Spec"],
  service: ["Spec", "PreviousSpec"],
  network: [...networkFields, "Scope", "ConfigFrom", "ConfigOnly"],
  secret: ["Spec"],
  config: ["Spec"],
  cluster: ["Spec", "DataPathPort", "DefaultAddrPool", "SubnetSize", "TrustRoot", "JoinTokens"],
  // A cluster volume; its driver's own view changes.
  volume: ["Name", "Driver"],
};

const objectSchema = z.looseObject({ ID: z.string().optional(), Id: z.string().optional() });

/** Throws what the engine's answers throw. */
export async function checkRestored(state: SwarmState, host: SwarmHost, signal: AbortSignal): Promise<RestoreCheck> {
  const check: RestoreCheck = { compared: {}, differences: [] };
  for (const kind of comparedKinds) {
    const objects = state.store.objects[kind];
    // Local volumes may be many, and slow to list.
    if (kind === "volume" && objects.size === 0) continue;
    const listed = listedObjects(kind, await host.askEngine({ path: paths[kind] }, signal));
    let compared = 0;
    for (const [id, bytes] of objects) {
      // As JSON has it, without fields that are undefined.
      const expected = JSON.parse(JSON.stringify(engineJson(kind, bytes, kind === "cluster"))) as JsonObject;
      if (kind === "network" && isNodeLocal(expected)) continue;
      if (kind === "config" && isOwnRecord(specSchema.parse(expected).Spec.Labels)) continue;
      compared++;
      const what = differenceOf(kind, kind === "cluster" ? expectedCluster(expected) : expected, listed.get(id));
      if (what !== null) check.differences.push({ kind, id, name: objectHead(kind, bytes).name, what });
    }
    check.compared[kind] = compared;
  }
  return check;
}

type JsonObject = Record<string, unknown>;

const volumesSchema = z.looseObject({
  Volumes: z.array(z.looseObject({ ClusterVolume: objectSchema.optional() })).nullable(),
});
const specSchema = z.looseObject({
  Spec: z.looseObject({ Labels: z.record(z.string(), z.string()).nullish() }),
});
const clusterSchema = z.looseObject({ TLSInfo: z.looseObject({ TrustRoot: z.string() }) });

/** By their ids in the swarm. */
function listedObjects(kind: ComparedKind, answer: unknown): Map<string, JsonObject> {
  if (kind === "volume") {
    const { Volumes } = volumesSchema.parse(answer);
    return new Map((Volumes ?? []).map((volume) => [volume.ClusterVolume?.ID ?? "", volume]));
  }
  const listed = z.array(objectSchema).parse(kind === "cluster" ? [withTrustRoot(answer)] : answer);
  return new Map(listed.map((object) => [object.ID ?? object.Id ?? "", object]));
}

function withTrustRoot(cluster: unknown): JsonObject {
  const parsed = clusterSchema.parse(cluster);
  return { ...parsed, TrustRoot: parsed.TLSInfo.TrustRoot };
}

/** Without what the engine makes up where nothing was set, and what the end of a rotation changes. */
function expectedCluster(expected: JsonObject): JsonObject {
  const kept = withTrustRoot(expected);
  if (kept["DataPathPort"] === 0) delete kept["DataPathPort"];
  if (kept["SubnetSize"] === 0) delete kept["SubnetSize"];
  if (isDeepStrictEqual(kept["DefaultAddrPool"], [])) delete kept["DefaultAddrPool"];
  if (kept["RootRotationInProgress"] === true) {
    delete kept["TrustRoot"];
    delete kept["JoinTokens"];
  }
  return kept;
}

/** The swarm keeps twins of every node's own `bridge` and `host`, which its list does not show. */
function isNodeLocal({ Driver }: JsonObject): boolean {
  return Driver === "bridge" || Driver === "host" || Driver === "null";
}

function differenceOf(
  kind: ComparedKind,
  expected: JsonObject,
  found: JsonObject | undefined,
): Difference["what"] | null {
  if (found === undefined) return "missing";
  const fields = comparedFields[kind].filter((field) => kind !== "cluster" || field in expected);
  const other = fields.filter((field) => !isDeepStrictEqual(expected[field], withoutNewerDefaults(found[field])));
  return other.length === 0 ? null : other;
}

function withoutNewerDefaults(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(withoutNewerDefaults);
  if (typeof value !== "object" || value === null) return value;
  const kept = Object.entries(value).filter(([name, field]) => !isNewerDefault(name, field));
  return Object.fromEntries(kept.map(([name, field]) => [name, withoutNewerDefaults(field)]));
}
