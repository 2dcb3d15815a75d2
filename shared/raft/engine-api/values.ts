// From swarmkit's values to those of the Engine API's JSON. Source: moby daemon/cluster/convert/*.go and the JSON tags in
// moby api/types/swarm/*.go: what is empty is left out where the tag says omitempty.
import type { Message } from "../swarmkit/message-types.ts";
import { formatError } from "../wire.ts";

export type Json = Record<string, unknown>;

/** Without what is undefined, false, 0, "", an empty list or an empty map: Go's omitempty. */
export function omitEmpty(fields: Json): Json {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => !isEmpty(value)));
}

function isEmpty(value: unknown): boolean {
  if (Array.isArray(value)) return value.length === 0;
  return value === undefined || value === false || value === 0 || value === "";
}

/** Undefined where the map is empty. */
export function filled(map: Record<string, string>): Record<string, string> | undefined {
  return Object.keys(map).length === 0 ? undefined : map;
}

/** As a JSON number; the few that doubles cannot hold exactly as a decimal string. */
export function integer(value: bigint): number | string {
  const number = Number(value);
  return BigInt(number) === value ? number : value.toString();
}

/** Nanoseconds. */
export function nanoseconds(duration: Message<"Duration"> | undefined): number | string | undefined {
  return duration === undefined ? undefined : integer(duration.seconds * 1_000_000_000n + BigInt(duration.nanos));
}

/** Seconds since 1970, of the years 1 to 9999: what protobuf's Timestamp may say, and Go's JSON can. */
const [firstSecond, lastSecond] = [-62_135_596_800n, 253_402_300_799n];

/** As Go writes a time in JSON: RFC 3339, UTC, as many digits after the second as are needed. Throws SKEP_RAFT_FORMAT. */
export function time(timestamp: Message<"Timestamp"> | undefined): string {
  const { seconds, nanos } = timestamp ?? { seconds: firstSecond, nanos: 0 };
  if (seconds < firstSecond || seconds > lastSecond || nanos < 0 || nanos >= 1_000_000_000) {
    throw formatError(`an object has a time that is none: ${seconds} s and ${nanos} ns since 1970`);
  }
  const whole = new Date(Number(seconds) * 1000).toISOString().slice(0, 19);
  const fraction = String(nanos).padStart(9, "0").replace(/0+$/, "");
  return fraction === "" ? `${whole}Z` : `${whole}.${fraction}Z`;
}

/** The shortest decimal that is the same 32-bit float, as Go writes it. */
export function float32(value: number): number {
  for (let digits = 1; digits <= 9; digits++) {
    const short = Number(value.toPrecision(digits));
    if (Math.fround(short) === Math.fround(value)) return short;
  }
  return value;
}

export function base64(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("base64");
}

/** Version, CreatedAt and UpdatedAt, which follow the ID in every object. */
export function meta(of: Message<"Meta"> | undefined): Json {
  return {
    Version: version(of?.version),
    CreatedAt: time(of?.createdAt),
    UpdatedAt: time(of?.updatedAt),
  };
}

export function version(of: Message<"Version"> | undefined): Json {
  return omitEmpty({ Index: integer(of?.index ?? 0n) });
}

export function annotations(of: Message<"Annotations"> | undefined): Json {
  return { ...omitEmpty({ Name: of?.name }), Labels: of?.labels ?? {} };
}

export function driver(of: Message<"Driver"> | undefined): Json | undefined {
  return of === undefined ? undefined : omitEmpty({ Name: of.name, Options: filled(of.options) });
}

export function platform(of: Message<"Platform">): Json {
  return omitEmpty({ Architecture: of.architecture, OS: of.os });
}

export function genericResources(list: Message<"GenericResource">[]): Json[] {
  return list.map(({ resource }) => {
    if (resource.case === "namedResourceSpec")
      return { NamedResourceSpec: omitEmpty({ Kind: resource.value.kind, Value: resource.value.value }) };
    if (resource.case === "discreteResourceSpec") {
      return { DiscreteResourceSpec: omitEmpty({ Kind: resource.value.kind, Value: integer(resource.value.value) }) };
    }
    return {};
  });
}
