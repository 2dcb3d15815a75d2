// The swarm's objects by kind, replayed from a snapshot and the log's requests. Objects are held as the bytes that the
// engine wrote, so that fields of a newer engine survive a rewrite.
// InternalRaftRequest { 1 id, 2 action[] }, StoreAction { 1 kind, 2… one object }, Snapshot { 1 version, 2 membership,
// 3 store }, StoreSnapshot { one list for each kind }. Source: moby/swarmkit api/raft.proto, api/snapshot.proto,
// manager/state/store/memory.go (a request is applied as a whole or not at all; the stored object is final).
import { FieldReader } from "./field-reader.ts";
import { Membership } from "./membership.ts";
import { shelfBytes } from "./sealed-record.ts";
import type { MessageName } from "./swarmkit/message-types.ts";
import { BinaryWriter, fieldFault, formatError, readCounter, readFields, skipField, unexpectedField } from "./wire.ts";

export const objectKinds = [
  "node",
  "service",
  "network",
  "task",
  "cluster",
  "secret",
  "config",
  "volume",
  "resource",
  "extension",
] as const;
export type ObjectKind = (typeof objectKinds)[number];

interface KindNumbers {
  message: MessageName;
  /** Field in StoreAction, and in StoreSnapshot. */
  actionField: number;
  snapshotField: number;
}

export const kindNumbers: Record<ObjectKind, KindNumbers> = {
  node: { message: "Node", actionField: 2, snapshotField: 1 },
  service: { message: "Service", actionField: 3, snapshotField: 2 },
  task: { message: "Task", actionField: 4, snapshotField: 4 },
  network: { message: "Network", actionField: 5, snapshotField: 3 },
  cluster: { message: "Cluster", actionField: 6, snapshotField: 5 },
  secret: { message: "Secret", actionField: 7, snapshotField: 6 },
  resource: { message: "Resource", actionField: 8, snapshotField: 7 },
  extension: { message: "Extension", actionField: 9, snapshotField: 8 },
  config: { message: "Config", actionField: 10, snapshotField: 9 },
  volume: { message: "Volume", actionField: 11, snapshotField: 10 },
};

const kindByActionField = new Map(objectKinds.map((kind) => [kindNumbers[kind].actionField, kind]));
const kindBySnapshotField = new Map(objectKinds.map((kind) => [kindNumbers[kind].snapshotField, kind]));

const actionKind = { create: 1, update: 2, remove: 3 } as const;

/** Anomalies told one by one; more are only counted. */
const anomaliesTold = 100;

export class ObjectStore {
  /** Raw objects by kind and id. */
  readonly objects: Record<ObjectKind, Map<string, Uint8Array>>;
  /** What did not go as in an engine, for people; the request concerned was skipped, as an engine does. */
  readonly anomalies: string[] = [];
  anomalyCount = 0;
  /** Fields of StoreAction or StoreSnapshot that stand for kinds of object which this version does not know. */
  readonly unknownKinds = new Set<string>();

  constructor() {
    this.objects = Object.fromEntries(objectKinds.map((kind) => [kind, new Map()])) as typeof this.objects;
  }

  /** Objects by kind. */
  counts(): Record<ObjectKind, number> {
    return Object.fromEntries(objectKinds.map((kind) => [kind, this.objects[kind].size])) as Record<ObjectKind, number>;
  }

  /** Applies one InternalRaftRequest as a whole, or notes why not. Throws SKEP_RAFT_FORMAT where it is no request. */
  apply(request: Uint8Array, index: number): void {
    const actions = decodeRequest(request, (field) => this.unknownKinds.add(`StoreAction ${field}`));
    const before: (Uint8Array | undefined)[] = [];
    for (const { what, kind, id, bytes } of actions) {
      const table = this.objects[kind];
      const former = table.get(id);
      if ((what === actionKind.create) === (former !== undefined)) {
        this.#takeBack(actions, before);
        this.#note(`entry ${index}: ${former === undefined ? "no" : "already a"} ${kind} ${id}`);
        return;
      }
      before.push(former);
      if (what === actionKind.remove) table.delete(id);
      else table.set(id, compact(bytes));
    }
  }

  /** `before`: what the objects of the first actions were; the last is taken back first. */
  #takeBack(actions: readonly Action[], before: readonly (Uint8Array | undefined)[]): void {
    for (let at = before.length - 1; at >= 0; at--) {
      const action = actions[at];
      if (action === undefined) continue;
      const former = before[at];
      const table = this.objects[action.kind];
      if (former === undefined) table.delete(action.id);
      else table.set(action.id, former);
    }
  }

  /** Loads a StoreSnapshot into an empty store. */
  load(snapshot: Uint8Array): void {
    readFields("StoreSnapshot", snapshot, (tag, reader) => {
      if ((tag & 7) !== 2) return false;
      const bytes = reader.bytes();
      const kind = kindBySnapshotField.get(tag >>> 3);
      if (kind === undefined) this.unknownKinds.add(`StoreSnapshot ${tag >>> 3}`);
      else this.objects[kind].set(objectId(kind, bytes), compact(bytes));
      return true;
    });
  }

  /** The inverse of load. */
  encode(): Uint8Array {
    const writer = new BinaryWriter();
    const kinds = [...objectKinds].sort((a, b) => kindNumbers[a].snapshotField - kindNumbers[b].snapshotField);
    for (const kind of kinds) {
      const tag = (kindNumbers[kind].snapshotField << 3) | 2;
      for (const bytes of this.objects[kind].values()) writer.uint32(tag).bytes(bytes);
    }
    return writer.finish();
  }

  #note(anomaly: string): void {
    if (this.anomalies.length < anomaliesTold) this.anomalies.push(anomaly);
    this.anomalyCount++;
  }
}

/** A view that would keep a much larger buffer alive is copied. */
function compact(bytes: Uint8Array): Uint8Array {
  return bytes.buffer.byteLength > Math.max(shelfBytes, 2 * bytes.length) ? bytes.slice() : bytes;
}

interface Action {
  what: number;
  kind: ObjectKind;
  id: string;
  bytes: Uint8Array;
}

/** Throws SKEP_RAFT_FORMAT. Objects of unknown kinds are told to `onUnknown` by their field and left out. */
export function decodeRequest(request: Uint8Array, onUnknown: (field: number) => void): Action[] {
  const actions: Action[] = [];
  const reader = new FieldReader(request);
  try {
    while (reader.pos < reader.len) {
      const tag = reader.uint32();
      if (tag === 0x08) skipField(tag, reader);
      else if (tag === 0x12) {
        const action = decodeAction(reader.message(), onUnknown);
        if (action !== null) actions.push(action);
      } else throw unexpectedField("InternalRaftRequest", tag);
    }
  } catch (error) {
    throw fieldFault("InternalRaftRequest", error);
  }
  return actions;
}

function decodeAction(reader: FieldReader, onUnknown: (field: number) => void): Action | null {
  let what = 0;
  let kind: ObjectKind | undefined;
  let object: Uint8Array | null = null;
  let unknown: number[] | null = null;
  try {
    while (reader.pos < reader.len) {
      const tag = reader.uint32();
      if (tag === 0x08) what = readCounter(reader);
      else if ((tag & 7) === 2) {
        const known = kindByActionField.get(tag >>> 3);
        const value = reader.bytes();
        if (known === undefined) (unknown ??= []).push(tag >>> 3);
        else [kind, object] = [known, value];
      } else throw unexpectedField("StoreAction", tag);
    }
  } catch (error) {
    throw fieldFault("StoreAction", error);
  }
  if (what < actionKind.create || what > actionKind.remove) throw formatError(`StoreAction: unknown kind ${what}`);
  if (kind === undefined || object === null) {
    if (unknown === null) throw formatError("StoreAction: no object");
    unknown.forEach(onUnknown);
    return null;
  }
  return { what, kind, id: objectId(kind, object), bytes: object };
}

/** Field 1 of every object. */
function objectId(kind: ObjectKind, bytes: Uint8Array): string {
  const reader = new FieldReader(bytes);
  let id = "";
  try {
    while (reader.pos < reader.len) {
      const tag = reader.uint32();
      if (tag === 0x0a) id = reader.string();
      else skipField(tag, reader);
    }
  } catch (error) {
    throw fieldFault(kindNumbers[kind].message, error);
  }
  if (id === "") throw formatError(`${kind}: no id`);
  return id;
}

export interface SnapshotContent {
  membership: Membership;
  store: ObjectStore;
}

/** swarmkit's Snapshot, the plaintext of a snapshot file. Throws SKEP_RAFT_FORMAT. */
export function decodeSnapshot(bytes: Uint8Array): SnapshotContent {
  const content = { membership: new Membership(), store: new ObjectStore() };
  readFields("Snapshot", bytes, (tag, reader) => {
    if (tag === 0x08) {
      const version = readCounter(reader);
      if (version !== 0) throw formatError(`Snapshot: unknown version ${version}`);
    } else if (tag === 0x12) content.membership.load(reader.bytes());
    else if (tag === 0x1a) content.store.load(reader.bytes());
    else return false;
    return true;
  });
  return content;
}

/** `members` and `removed` as a Snapshot's membership, with the objects of `store`. */
export function encodeSnapshot(
  members: readonly Uint8Array[],
  removed: readonly bigint[],
  store: ObjectStore,
): Uint8Array {
  const membership = new BinaryWriter();
  for (const member of members) membership.uint32(0x0a).bytes(member);
  if (removed.length > 0) {
    const packed = new BinaryWriter();
    for (const raftId of removed) packed.uint64(raftId);
    membership.uint32(0x12).bytes(packed.finish());
  }
  return new BinaryWriter().uint32(0x12).bytes(membership.finish()).uint32(0x1a).bytes(store.encode()).finish();
}
