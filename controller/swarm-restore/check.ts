// What the engine's API says after a restore, compared with the state that was laid down: every object that the API has a
// list for, by its id and by its content. Tasks come and go by themselves and are not compared.
import { isDeepStrictEqual } from "node:util";
import { z } from "zod";
import { engineJson, objectHead } from "../../shared/raft/engine-api/objects.ts";
import type { ObjectKind } from "../../shared/raft/object-store.ts";
import type { SwarmState } from "../../shared/raft/read-swarm.ts";
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

const comparedKinds = ["node", "service", "network", "secret", "config", "cluster"] as const;
type ComparedKind = (typeof comparedKinds)[number];

const paths: Record<ComparedKind, string> = {
  node: "/nodes",
  service: "/services",
  network: "/networks",
  secret: "/secrets",
  config: "/configs",
  cluster: "/swarm",
};

/** Of networks, which have no spec in the API; the rest of their fields is the engine's own view of the moment. */
const networkFields = ["Name", "Scope", "Driver", "EnableIPv6", "IPAM", "Internal", "Attachable", "Ingress", "Options"];

const objectSchema = z.looseObject({ ID: z.string().optional(), Id: z.string().optional() });

/** Throws what the engine's answers throw. */
export async function checkRestored(state: SwarmState, host: SwarmHost, signal: AbortSignal): Promise<RestoreCheck> {
  const check: RestoreCheck = { compared: {}, differences: [] };
  for (const kind of comparedKinds) {
    const answer = await host.askEngine({ path: paths[kind] }, signal);
    const listed = z.array(objectSchema).parse(kind === "cluster" ? [answer] : answer);
    const byId = new Map(listed.map((object) => [object.ID ?? object.Id ?? "", object]));
    let compared = 0;
    for (const [id, bytes] of state.store.objects[kind]) {
      // As JSON has it, without fields that are undefined.
      const expected = JSON.parse(JSON.stringify(engineJson(kind, bytes, false))) as Record<string, unknown>;
      if (kind === "network" && isNodeLocal(expected)) continue;
      compared++;
      const what = differenceOf(kind, expected, byId.get(id));
      if (what !== null) check.differences.push({ kind, id, name: objectHead(kind, bytes).name, what });
    }
    check.compared[kind] = compared;
  }
  return check;
}

/** The swarm keeps twins of every node's own `bridge` and `host`, which its list does not show. */
function isNodeLocal({ Driver }: Record<string, unknown>): boolean {
  return Driver === "bridge" || Driver === "host" || Driver === "null";
}

function differenceOf(
  kind: ComparedKind,
  expected: Record<string, unknown>,
  found: Record<string, unknown> | undefined,
): Difference["what"] | null {
  if (found === undefined) return "missing";
  const fields = kind === "network" ? networkFields : ["Spec"];
  const other = fields.filter((field) => !isDeepStrictEqual(expected[field], found[field]));
  return other.length === 0 ? null : other;
}
