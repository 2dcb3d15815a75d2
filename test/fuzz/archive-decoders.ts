// Swarm archives: age, zstd and tar around files, streamed. And age files that a passphrase opens.
import { Encrypter } from "age-encryption";
import { buffer } from "node:stream/consumers";
import { constants, createZstdCompress, zstdCompressSync } from "node:zlib";
import { Readable } from "node:stream";
import { pack } from "tar-stream";
import { encryptAge, generateAgeIdentity } from "../../shared/repository/age.ts";
import { openAgeStream } from "../../shared/repository/open/age-stream.ts";
import { decryptWithPassphrase, openAgeHeader } from "../../shared/repository/open/age.ts";
import { unpackArchive } from "../../shared/repository/open/archive-reader.ts";
import type { Decoder } from "./decoder.ts";

const place = "the input";

async function* slices(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += 65_536) yield await Promise.resolve(bytes.subarray(at, at + 65_536));
}

async function readAll(compressed: AsyncIterable<Uint8Array>): Promise<number> {
  let count = 0;
  for await (const { content } of unpackArchive(compressed, place)) {
    for await (const piece of content) count += piece.length;
    count++;
  }
  return count;
}

/** A header of this type, `x` of PAX or `L` of GNU, that says that it is followed by so much, and that much. */
async function longHeader(type: string, sizeBytes: number): Promise<Uint8Array> {
  const header = Buffer.alloc(512);
  header.write("././@LongLink", 0);
  header.write(
    "0000644\0" + "0000000\0".repeat(2) + `${sizeBytes.toString(8).padStart(11, "0")}\0` + "0".repeat(11) + "\0",
    100,
  );
  header.write(" ".repeat(8) + type, 148);
  header.write("ustar\x0000", 257);
  const sum = header.reduce((total, byte) => total + byte, 0);
  header.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148);
  const piece = Buffer.alloc(1024 * 1024);
  function* all(): Generator<Buffer> {
    yield header;
    for (let left = sizeBytes; left > 0; left -= piece.length) yield piece;
  }
  return await buffer(
    Readable.from(all()).pipe(createZstdCompress({ params: { [constants.ZSTD_c_compressionLevel]: 1 } })),
  );
}

export async function archiveDecoders(): Promise<Decoder[]> {
  const { identity, recipient } = await generateAgeIdentity();
  const tar = pack();
  tar.entry({ name: "raft/wal/0", mode: 0o600 }, "bytes");
  tar.entry({ name: `definitions/${"n".repeat(150)}.json`, mode: 0o644 }, "{}");
  tar.finalize();
  const plain = await buffer(tar);
  const compressed = zstdCompressSync(plain);
  const unlock = (header: Uint8Array) => openAgeHeader(header, [identity], place);
  const encrypter = new Encrypter();
  // As few rounds as there can be: the bytes are the same but for one digit.
  encrypter.setScryptWorkFactor(1);
  encrypter.setPassphrase("passphrase");
  return [
    {
      name: "archive file",
      sample: await encryptAge(compressed, [recipient]),
      decode: (b) => readAll(openAgeStream(slices(b), unlock, place)),
    },
    { name: "archive's zstd", sample: compressed, decode: (b) => readAll(slices(b)) },
    {
      name: "archive's tar",
      sample: plain,
      wrap: zstdCompressSync,
      decode: (b) => readAll(slices(b)),
      hostile: [await longHeader("x", 1 << 27), await longHeader("L", 1 << 27)],
    },
    {
      name: "file that a passphrase opens",
      sample: await encrypter.encrypt("plain"),
      decode: (b) => decryptWithPassphrase(b, "passphrase", place),
    },
  ];
}
