// Members of a tar stream with all that a manifest knows: POSIX.1-2001 (pax) for what ustar has no room for, xattrs as
// `SCHILY.xattr.NAME`, which GNU tar and libarchive take, holes as GNU's sparse format 1.0. tar-stream, which reads and
// writes our archives, makes text of every pax value: names that are not UTF-8 and binary attributes would be spoilt.
//
//   [x header │ pax records │ padding] header │ content │ padding to 512 bytes
import { isUtf8 } from "node:buffer";

export const tarBlockBytes = 512;
/** Two blocks of zeros and up to GNU tar's record of 20 blocks are usual; two are what POSIX asks. */
export const tarEnd = Buffer.alloc(2 * tarBlockBytes);

export type TarType = "file" | "link" | "symlink" | "character-device" | "block-device" | "directory" | "fifo";

export interface TarMember {
  /** A folder's without the slash at its end; empty for the root. */
  name: Buffer;
  type: TarType;
  /** Permission bits with setuid, setgid, sticky. */
  mode: number;
  uid: number;
  gid: number;
  /** Decimal nanoseconds since 1970. */
  mtimeNs: string;
  /** What follows as content, without its padding; 0 for all but files. */
  storedBytes: number;
  /** Of links and symlinks. */
  target: Buffer | null;
  device: readonly [major: number, minor: number] | null;
  /** Values in base64. */
  xattrs: Readonly<Record<string, string>>;
  /** The file's length where `storedBytes` are a sparse map and the stretches that it lists. */
  sparseBytes: number | null;
}

const typeFlags: Record<TarType, string> = {
  file: "0",
  link: "1",
  symlink: "2",
  "character-device": "3",
  "block-device": "4",
  directory: "5",
  fifo: "6",
};
const maxNameBytes = 100;
const maxOctal7 = 0o7777777;
const maxOctal11 = 0o77777777777;

export function encodeTarMember(member: TarMember): Buffer {
  const name = memberName(member);
  const records = paxRecords(member, name);
  const header = encodeHeader(member, name, typeFlags[member.type], member.storedBytes);
  if (records.length === 0) return header;
  const extended = { ...member, mode: 0o644, uid: 0, gid: 0, device: null, target: null };
  const paxHeader = encodeHeader(extended, Buffer.from("././@PaxHeader"), "x", records.length);
  return Buffer.concat([paxHeader, records, padding(records.length), header]);
}

/** Zero bytes up to the next block. */
export function padding(bytes: number): Buffer {
  return Buffer.alloc((tarBlockBytes - (bytes % tarBlockBytes)) % tarBlockBytes);
}

/** Stretches of a file that hold data, as [offset, length]. The map is padded to whole blocks. */
export function encodeSparseMap(stretches: readonly (readonly [offset: number, length: number])[]): Buffer {
  const numbers = [stretches.length, ...stretches.flat()];
  const text = Buffer.from(numbers.map((number) => `${number}\n`).join(""), "ascii");
  return Buffer.concat([text, padding(text.length)]);
}

function memberName({ name, type }: TarMember): Buffer {
  const shown = name.length === 0 ? Buffer.from(".") : name;
  return type === "directory" ? Buffer.concat([shown, Buffer.from("/")]) : shown;
}

function paxRecords(member: TarMember, name: Buffer): Buffer {
  const { target, uid, gid, mtimeNs, storedBytes, xattrs, sparseBytes } = member;
  const records: Buffer[] = [];
  const add = (key: string, value: string | Buffer): void => {
    records.push(encodePaxRecord(key, Buffer.from(value)));
  };
  // Names are UTF-8 by the standard; this says that they are bytes.
  if (!isUtf8(name) || (target !== null && !isUtf8(target))) add("hdrcharset", "BINARY");
  if (sparseBytes !== null) {
    add("GNU.sparse.major", "1");
    add("GNU.sparse.minor", "0");
    add("GNU.sparse.name", name);
    add("GNU.sparse.realsize", String(sparseBytes));
  } else if (!isPlainName(name)) add("path", name);
  if (target !== null && !isPlainName(target)) add("linkpath", target);
  if (storedBytes > maxOctal11) add("size", String(storedBytes));
  if (uid > maxOctal7) add("uid", String(uid));
  if (gid > maxOctal7) add("gid", String(gid));
  const nanoseconds = BigInt(mtimeNs);
  if (nanoseconds % 1_000_000_000n !== 0n || nanoseconds < 0n || nanoseconds / 1_000_000_000n > maxOctal11) {
    add("mtime", decimalSeconds(nanoseconds));
  }
  for (const [key, value] of Object.entries(xattrs)) add(`SCHILY.xattr.${key}`, Buffer.from(value, "base64"));
  return Buffer.concat(records);
}

/** A record's length counts its own digits. */
function encodePaxRecord(key: string, value: Buffer): Buffer {
  const rest = Buffer.concat([Buffer.from(` ${key}=`, "utf8"), value, Buffer.from("\n")]);
  let length = rest.length + 1;
  while (String(length).length + rest.length !== length) length = String(length).length + rest.length;
  return Buffer.concat([Buffer.from(String(length), "ascii"), rest]);
}

function isPlainName(name: Buffer): boolean {
  return name.length <= maxNameBytes && name.every((byte) => byte >= 0x20 && byte < 0x7f);
}

function decimalSeconds(nanoseconds: bigint): string {
  const size = nanoseconds < 0n ? -nanoseconds : nanoseconds;
  const fraction = String(size % 1_000_000_000n).padStart(9, "0");
  return `${nanoseconds < 0n ? "-" : ""}${size / 1_000_000_000n}.${fraction}`;
}

function encodeHeader(member: TarMember, name: Buffer, typeFlag: string, sizeBytes: number): Buffer {
  const { mode, uid, gid, mtimeNs, target, device } = member;
  const header = Buffer.alloc(tarBlockBytes);
  const octal = (value: number, at: number, digits: number): void => {
    // What has no room stands in the pax records.
    const fits = value >= 0 && value < 8 ** digits;
    header.write((fits ? value : 0).toString(8).padStart(digits, "0"), at, "ascii");
  };
  name.copy(header, 0, 0, maxNameBytes);
  octal(mode, 100, 7);
  octal(uid, 108, 7);
  octal(gid, 116, 7);
  octal(sizeBytes, 124, 11);
  octal(Number(BigInt(mtimeNs) / 1_000_000_000n), 136, 11);
  header.fill(" ", 148, 156);
  header.write(typeFlag, 156, "ascii");
  target?.copy(header, 157, 0, maxNameBytes);
  header.write("ustar\u000000", 257, "ascii");
  octal(device?.[0] ?? 0, 329, 7);
  octal(device?.[1] ?? 0, 337, 7);
  const sum = header.reduce((total, byte) => total + byte, 0);
  header.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148, "ascii");
  return header;
}
