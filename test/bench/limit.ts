// The limit: the same bytes through bare read, hash, zstd and ChaCha20 on all cores, without chunks, deduplication, index or
// store. What is compressed at all, and how hard, is the product's own choice, made by its own code: else the limit would be
// one of another product. `node limit.ts FOLDER`; the threads are this file, too.
import { Blake3Hasher } from "@napi-rs/blake-hash";
import { createCipheriv } from "node:crypto";
import { closeSync, openSync, readSync, statSync } from "node:fs";
import { availableParallelism } from "node:os";
import { isMainThread, Worker, workerData } from "node:worker_threads";
import { writeChunkFrame } from "../../shared/repository/chunk-frame.ts";
import { maxFrameBytes } from "../../shared/repository/pack-format.ts";
import { filesBelow } from "./cases.ts";

const blockBytes = 1024 * 1024;

function carry(paths: readonly string[]): void {
  const block = Buffer.allocUnsafeSlow(blockBytes);
  const target = Buffer.allocUnsafeSlow(maxFrameBytes);
  const key = Buffer.alloc(32, 1);
  for (const path of paths) {
    const descriptor = openSync(path, "r");
    for (let got = readSync(descriptor, block); got > 0; got = readSync(descriptor, block)) {
      const plain = block.subarray(0, got);
      Blake3Hasher.newKeyed(key).update(plain).digestBuffer();
      const frame = target.subarray(0, writeChunkFrame(plain, target));
      createCipheriv("chacha20-poly1305", key, Buffer.alloc(12), { authTagLength: 16 }).update(frame);
    }
    closeSync(descriptor);
  }
}

if (isMainThread) {
  const sizes = [...filesBelow(process.argv[2] ?? "")].map((path) => ({ path, bytes: statSync(path).size }));
  const shares = Array.from({ length: availableParallelism() }, () => ({ paths: [] as string[], bytes: 0 }));
  for (const { path, bytes } of sizes.toSorted((a, b) => b.bytes - a.bytes)) {
    const [least] = shares.toSorted((a, b) => a.bytes - b.bytes);
    least?.paths.push(path);
    if (least !== undefined) least.bytes += bytes + 20_000;
  }
  for (const { paths } of shares) new Worker(new URL(import.meta.url), { workerData: paths });
} else carry(workerData as string[]);
