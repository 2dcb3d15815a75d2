// Where the files lie in the tar that `docker save` gives (ustar, POSIX.1): read header by header, without what is between.

export interface TarFile {
  name: string;
  /** Of its header, in the tar. */
  startsAt: number;
  contentAt: number;
  sizeBytes: number;
  /** Of what comes next. */
  endsAt: number;
}

/** Bytes [from, to) of the tar. */
export type ReadTar = (from: number, to: number) => Promise<Buffer>;

const blockBytes = 512;
/** An image has at most 127 layers, of three files each in older layouts. */
const mostFiles = 2000;

/** Null where there is anything in it but files and folders with short names: links, say, or what is no tar. */
export async function indexImageTar(read: ReadTar, sizeBytes: number): Promise<TarFile[] | null> {
  const files: TarFile[] = [];
  for (let startsAt = 0; startsAt + blockBytes <= sizeBytes;) {
    const header = await read(startsAt, startsAt + blockBytes);
    if (header.every((byte) => byte === 0)) return files;
    const found = decodeHeader(header);
    if (found === null || files.length >= mostFiles) return null;
    const contentAt = startsAt + blockBytes;
    const endsAt = contentAt + Math.ceil(found.sizeBytes / blockBytes) * blockBytes;
    if (endsAt > sizeBytes) return null;
    if (found.isFile) files.push({ name: found.name, startsAt, contentAt, sizeBytes: found.sizeBytes, endsAt });
    startsAt = endsAt;
  }
  return null;
}

function decodeHeader(header: Buffer): { name: string; sizeBytes: number; isFile: boolean } | null {
  if (header.toString("latin1", 257, 262) !== "ustar" || octal(header, 148, 8) !== sumOf(header)) return null;
  const type = header.toString("latin1", 156, 157);
  const sizeBytes = octal(header, 124, 12);
  if (sizeBytes === null || !["0", "\0", "5"].includes(type)) return null;
  const prefix = text(header, 345, 155);
  const name = text(header, 0, 100);
  return { name: prefix === "" ? name : `${prefix}/${name}`, sizeBytes, isFile: type !== "5" };
}

/** Of its bytes, those of the sum itself taken for blanks. */
function sumOf(header: Buffer): number {
  return header.reduce((sum, byte, at) => sum + (at >= 148 && at < 156 ? 32 : byte), 0);
}

function text(header: Buffer, at: number, length: number): string {
  const field = header.subarray(at, at + length);
  const end = field.indexOf(0);
  return field.toString("utf8", 0, end < 0 ? length : end);
}

/** Null for what is no octal number: a size above 8 GiB is written otherwise. */
function octal(header: Buffer, at: number, length: number): number | null {
  const digits = header
    .toString("latin1", at, at + length)
    .replaceAll("\0", " ")
    .trim();
  return /^[0-7]{1,11}$/.test(digits) ? Number.parseInt(digits, 8) : null;
}
