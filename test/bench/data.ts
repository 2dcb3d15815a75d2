// Data for the benchmark, made from a seed: the same bytes on every machine.
import { createHash } from "node:crypto";
import { closeSync, mkdirSync, openSync, utimesSync, writeFileSync, writeSync } from "node:fs";
import { join } from "node:path";

/** mulberry32: numbers from 0 to 1. */
function makeRandom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 0x1_0000_0000;
  };
}

function noise(seed: string, bytes: number): Buffer {
  return createHash("shake256", { outputLength: Math.max(1, bytes) })
    .update(seed)
    .digest();
}

/** Words of a small vocabulary: zstd makes about a third of it. */
function makeText(random: () => number, bytes: number): Buffer {
  const text = Buffer.alloc(bytes);
  for (let at = 0; at < bytes;) {
    const word = words[Math.floor(random() ** 2 * words.length)] ?? "";
    at += text.write(word, at, "latin1");
  }
  return text;
}
const wordRandom = makeRandom(7);
const words = Array.from({ length: 4000 }, () => {
  const letters = Array.from({ length: 2 + Math.floor(wordRandom() * 9) }, () => Math.floor(wordRandom() * 26));
  return `${String.fromCharCode(...letters.map((letter) => 97 + letter))}${wordRandom() < 0.1 ? "\n" : " "}`;
});

export interface MadeData {
  files: number;
  bytes: number;
}

/**
 * About so many bytes: a tenth in files below 64 KiB, the rest up to 64 MiB; of it half text, a third noise (as
 * pictures and archives are), the rest copies of what was there before.
 */
export function makeMixed(root: string, totalBytes: number, seed = 1): MadeData {
  const random = makeRandom(seed);
  const made: MadeData = { files: 0, bytes: 0 };
  const kept: Buffer[] = [];
  const put = (bytes: number): void => {
    const kind = random();
    const copied = kept[Math.floor(random() * kept.length)];
    let content: Buffer;
    if (kind < 0.5) content = makeText(random, bytes);
    else if (kind < 0.83 || copied === undefined) content = noise(`${seed}-${made.files}`, bytes);
    else content = copied;
    if (content.length < 8 * 1024 * 1024 && random() < 0.2) kept[Math.floor(random() * 20)] = content;
    const folder = join(root, `d${made.files % 40}`, `e${Math.floor(made.files / 400)}`);
    mkdirSync(folder, { recursive: true });
    writeFileSync(join(folder, `file${made.files}`), content);
    made.files++;
    made.bytes += content.length;
  };
  while (made.bytes < totalBytes * 0.1) put(Math.floor(1 + random() ** 3 * 65_536));
  while (made.bytes < totalBytes) put(Math.floor(65_536 + random() ** 6 * 64 * 1024 * 1024));
  return made;
}

/** So many files of 100 bytes to 12 KiB in folders of 100. */
export function makeSmallFiles(root: string, files: number, seed = 2): MadeData {
  const random = makeRandom(seed);
  const made: MadeData = { files, bytes: 0 };
  for (let file = 0; file < files; file++) {
    const folder = join(root, `d${Math.floor(file / 10_000)}`, `e${Math.floor(file / 100)}`);
    if (file % 100 === 0) mkdirSync(folder, { recursive: true });
    const content = makeText(random, 100 + Math.floor(random() ** 2 * 12_000));
    writeFileSync(join(folder, `f${file}`), content);
    made.bytes += content.length;
  }
  return made;
}

/** One file, a third of it text. */
export function makeBigFile(path: string, bytes: number, seed = 4): MadeData {
  const random = makeRandom(seed);
  const descriptor = openSync(path, "w");
  const block = 4 * 1024 * 1024;
  for (let at = 0; at < bytes; at += block) {
    const content = (at / block) % 3 === 0 ? makeText(random, block) : noise(`${seed}-${at}`, block);
    writeSync(descriptor, content, 0, Math.min(block, bytes - at));
  }
  closeSync(descriptor);
  return { files: 1, bytes };
}

/** So many files of about 300 bytes, a hundred in a folder and a hundred folders in one. */
export function makeManyFiles(root: string, files: number, seed = 5): MadeData {
  const text = makeText(makeRandom(seed), 65_536);
  const made: MadeData = { files, bytes: 0 };
  for (let file = 0; file < files; file++) {
    const folder = join(root, `d${Math.floor(file / 10_000)}`, `e${Math.floor(file / 100) % 100}`);
    if (file % 100 === 0) mkdirSync(folder, { recursive: true });
    const start = (file * 61) % 65_000;
    const content = `${file} ${text.toString("latin1", start, start + 50 + ((file * 37) % 500))}`;
    writeFileSync(join(folder, `f${file % 10_000}`), content);
    made.bytes += content.length;
  }
  return made;
}

/** All files' times an hour back, so that every tool takes them for settled; `shiftS` makes them others. */
export function setTimes(paths: Iterable<string>, shiftS = 0): void {
  const time = Date.now() / 1000 - 3600 + shiftS;
  for (const path of paths) utimesSync(path, time, time);
}
