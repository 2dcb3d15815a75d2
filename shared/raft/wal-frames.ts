// etcd's WAL frames. A segment is a run of frames up to the end of the file or to a zero length word (segments are
// preallocated with zeros). One frame: a little-endian 64-bit length word, the payload, padding to a multiple of 8.
// Low 56 bits of the word: payload length. Top byte: 0, or 0x80 | padding length. The payload is a walpb.Record:
// 1 type (int64), 2 crc (uint32), 3 data (bytes, absent in CRC records). Source: etcd server/storage/wal
// (encoder.go, decoder.go, walpb/record.proto), the same from 3.3 to 3.6.
import { SkepError } from "../errors.ts";
import { FieldReader } from "./field-reader.ts";
import { BinaryWriter, fieldFault, formatError, readCounter, unexpectedField } from "./wire.ts";

/** Record types of walpb. */
export const recordType = { metadata: 1, entry: 2, state: 3, crc: 4, snapshot: 5 } as const;
export type RecordType = (typeof recordType)[keyof typeof recordType];

export interface Frame {
  type: RecordType;
  /** The running CRC-32C that the writer noted; unsigned. */
  crc: number;
  /** Empty in CRC records. A view of the bytes given to decodeFrame. */
  data: Uint8Array;
  /** Frame length in bytes with length word and padding. */
  lengthBytes: number;
}

/** etcd refuses longer records since 3.3.23 (10 MiB); swarm's own are below 2 MB. */
export const longestRecordBytes = 10 * 1024 * 1024;

const lengthWordBytes = 8;

export type FrameResult =
  | { kind: "frame"; frame: Frame }
  /** A zero length word: the preallocated tail begins here. */
  | { kind: "zero" }
  /** More bytes are needed: at least `neededBytes` from the frame's start. */
  | { kind: "short"; neededBytes: number }
  /** These bytes are no frame. */
  | { kind: "bad"; reason: string };

/** Reads the frame at `at`. Never throws on what the bytes say; what they are is in the result. */
export function decodeFrame(bytes: Uint8Array, at: number): FrameResult {
  const available = bytes.length - at;
  if (available < lengthWordBytes) return { kind: "short", neededBytes: lengthWordBytes };
  const low = uint32(bytes, at);
  const high = uint32(bytes, at + 4);
  if (low === 0 && high === 0) return { kind: "zero" };
  const payloadBytes = low + (high & 0xffffff) * 2 ** 32;
  if (payloadBytes > longestRecordBytes) {
    return { kind: "bad", reason: `a record of ${payloadBytes} bytes, more than ${longestRecordBytes}` };
  }
  const paddingBytes = paddingOf(payloadBytes);
  if (high >>> 24 !== (paddingBytes === 0 ? 0 : 0x80 | paddingBytes)) {
    return { kind: "bad", reason: `a length word whose padding does not fit its length of ${payloadBytes}` };
  }
  const lengthBytes = lengthWordBytes + payloadBytes + paddingBytes;
  if (available < lengthBytes) return { kind: "short", neededBytes: lengthBytes };
  const start = at + lengthWordBytes;
  try {
    return { kind: "frame", frame: decodeRecord(bytes, start, start + payloadBytes, lengthBytes) };
  } catch (error) {
    if (error instanceof SkepError) return { kind: "bad", reason: error.message };
    throw error;
  }
}

const none = new Uint8Array(0);

function decodeRecord(bytes: Uint8Array, start: number, end: number, lengthBytes: number): Frame {
  const reader = new FieldReader(bytes, start, end);
  let type = 0;
  let crc = 0;
  let data: Uint8Array = none;
  try {
    while (reader.pos < reader.len) {
      const tag = reader.uint32();
      if (tag === 0x08) type = readCounter(reader);
      else if (tag === 0x10) crc = readCounter(reader);
      else if (tag === 0x1a) data = reader.bytes();
      else throw unexpectedField("WAL record", tag);
    }
  } catch (error) {
    throw fieldFault("WAL record", error);
  }
  if (!isRecordType(type)) throw formatError(`WAL record: unknown type ${type}`);
  return { type, crc, data, lengthBytes };
}

/** Little-endian; `at + 3` is within. */
function uint32(bytes: Uint8Array, at: number): number {
  const [first, second, third, fourth] = [bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]];
  return ((first ?? 0) | ((second ?? 0) << 8) | ((third ?? 0) << 16) | ((fourth ?? 0) << 24)) >>> 0;
}

function isRecordType(type: number): type is RecordType {
  return type >= 1 && type <= 5;
}

function paddingOf(payloadBytes: number): number {
  return (8 - (payloadBytes % 8)) % 8;
}

/** The inverse of decodeFrame. `data` null writes no data field, as CRC records have none. */
export function encodeFrame(type: RecordType, crc: number, data: Uint8Array | null): Uint8Array {
  const writer = new BinaryWriter().uint32(0x08).uint32(type).uint32(0x10).uint32(crc);
  if (data !== null) writer.uint32(0x1a).bytes(data);
  const payload = writer.finish();
  const paddingBytes = paddingOf(payload.length);
  const frame = new Uint8Array(lengthWordBytes + payload.length + paddingBytes);
  const view = new DataView(frame.buffer);
  view.setUint32(0, payload.length, true);
  if (paddingBytes !== 0) view.setUint8(7, 0x80 | paddingBytes);
  frame.set(payload, lengthWordBytes);
  return frame;
}
