// The wire level: strict reading of the few small messages around the objects (WAL records, entries, snapshots,
// requests), and the one door to the library's writer. The objects themselves are read by their descriptors.
import { BinaryWriter } from "@bufbuild/protobuf/wire";

import { SkepError } from "../errors.ts";
import { FieldReader } from "./field-reader.ts";

export { BinaryWriter };

/** Malformed bytes: SKEP_RAFT_FORMAT, permanent, since the same bytes stay malformed. */
export function formatError(message: string, cause?: unknown): SkepError {
  return new SkepError({ code: "SKEP_RAFT_FORMAT", message, permanent: true, cause });
}

/**
 * Reads one message field by field. `take` gets the raw tag (field number × 8 + wire type), reads the value and
 * returns true; false means that it does not know the tag. Unknown tags, and whatever the reader refuses (truncated
 * values, overlong varints), are a SKEP_RAFT_FORMAT naming the message: these are framing messages of fixed shape, and
 * a field that we do not know could change what the others mean.
 */
export function readFields(what: string, bytes: Uint8Array, take: (tag: number, reader: FieldReader) => boolean): void {
  const reader = new FieldReader(bytes);
  try {
    while (reader.pos < reader.len) {
      const tag = reader.uint32();
      if (!take(tag, reader)) throw unexpectedField(what, tag);
    }
  } catch (error) {
    throw fieldFault(what, error);
  }
}

/** What a message's reader throws, as SKEP_RAFT_FORMAT that names the message. */
export function fieldFault(what: string, error: unknown): SkepError {
  if (error instanceof SkepError) return error;
  return formatError(`${what}: not a protobuf message: ${error instanceof Error ? error.message : "unreadable"}`);
}

export function unexpectedField(what: string, tag: number): SkepError {
  return formatError(`${what}: unexpected field ${tag >>> 3} of wire type ${tag & 7}`);
}

/** A 64-bit varint that must be a counter below 2^53 (indexes, terms); SKEP_RAFT_FORMAT otherwise. */
export function readCounter(reader: FieldReader): number {
  const value = reader.counter();
  if (!Number.isSafeInteger(value)) throw formatError("a counter does not fit 53 bits");
  return value;
}

/** A full 64-bit unsigned varint; Raft ids are random 63-bit numbers. */
export function readUint64(reader: FieldReader): bigint {
  return reader.uint64();
}

/** A packed list of them. */
export function readPackedUint64(reader: FieldReader): bigint[] {
  const packed = new FieldReader(reader.bytes());
  const values: bigint[] = [];
  while (packed.pos < packed.len) values.push(readUint64(packed));
  return values;
}

/** Passes over the value of a field whose tag was read. */
export function skipField(tag: number, reader: FieldReader): void {
  reader.skip(tag & 7);
}
