// Reads protobuf's wire format field by field, for the small messages around the objects: of a log of a hundred thousand
// records it makes half a million readers. The library's own has a view and a closure each, and goes by BigInt for
// every 64-bit number; with this one a log of small records is proven in half the time.
// Source: protobuf.dev/programming-guides/encoding.

const decoder = new TextDecoder();
const twoTo32 = 2 ** 32;
/** Makes one BigInt of the two halves of a number, where shifting makes three. */
const halves = new DataView(new ArrayBuffer(8));

/** Every method throws a RangeError where the bytes end within the value, or it is overlong. */
export class FieldReader {
  readonly #bytes: Uint8Array;
  /** Where the fields end. */
  readonly len: number;
  pos: number;
  /** Upper half of the varint that was read last; its lower half is what #varint returned. */
  #high = 0;

  /** Of the fields from `start` to before `end`. */
  constructor(bytes: Uint8Array, start = 0, end = bytes.length) {
    this.#bytes = bytes;
    this.pos = start;
    this.len = end;
  }

  /** A tag or a length. */
  uint32(): number {
    const low = this.#varint();
    if (this.#high !== 0) throw new RangeError("a number is longer than 32 bits");
    return low;
  }

  uint64(): bigint {
    const low = this.#varint();
    halves.setUint32(0, low, true);
    halves.setUint32(4, this.#high, true);
    return halves.getBigUint64(0, true);
  }

  /** As uint64, as a number: exact below 2^53. */
  counter(): number {
    const low = this.#varint();
    return this.#high * twoTo32 + low;
  }

  /** Passes over a value that has a length, and says where it begins; it ends where the reader then is. */
  enter(): number {
    const length = this.uint32();
    const start = this.pos;
    this.#advance(length);
    return start;
  }

  /** A view, not a copy. */
  bytes(): Uint8Array {
    const start = this.enter();
    return this.#bytes.subarray(start, this.pos);
  }

  /** Of the fields of a message within. */
  message(): FieldReader {
    const start = this.enter();
    return new FieldReader(this.#bytes, start, this.pos);
  }

  string(): string {
    return decoder.decode(this.bytes());
  }

  bool(): boolean {
    return this.counter() !== 0;
  }

  /** Passes over a value. Groups are in no message of swarmkit or etcd, and are refused. */
  skip(wireType: number): void {
    if (wireType === 0) this.#varint();
    else if (wireType === 1) this.#advance(8);
    else if (wireType === 2) this.#advance(this.uint32());
    else if (wireType === 5) this.#advance(4);
    else throw new RangeError(`wire type ${wireType}`);
  }

  #advance(length: number): void {
    if (length > this.len - this.pos) throw new RangeError("premature EOF");
    this.pos += length;
  }

  /** The lower 32 bits, unsigned; at most ten bytes, of which the last has one bit. */
  #varint(): number {
    const bytes = this.#bytes;
    let at = this.pos;
    const first = at < this.len ? bytes[at] : undefined;
    // Tags and most lengths are below 128.
    if (first !== undefined && first < 0x80) {
      this.pos = at + 1;
      this.#high = 0;
      return first;
    }
    let low = 0;
    let high = 0;
    for (let shift = 0; ; shift += 7) {
      const byte = at < this.len ? bytes[at++] : undefined;
      if (byte === undefined) throw new RangeError("premature EOF");
      if (shift === 63 && byte > 1) throw new RangeError("a number is longer than 64 bits");
      const part = byte & 0x7f;
      if (shift < 28) low |= part << shift;
      else if (shift === 28) {
        low |= part << 28;
        high = part >>> 4;
      } else high |= part << (shift - 32);
      if (byte < 0x80) break;
    }
    this.pos = at;
    this.#high = high >>> 0;
    return low >>> 0;
  }
}
