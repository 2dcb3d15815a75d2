// What is measured: the data of each case and the steps that every tool takes on it, one tool after the other in each.
import { closeSync, openSync, readdirSync, statSync, writeSync } from "node:fs";
import { createHash } from "node:crypto";
import { join } from "node:path";
import { makeBigFile, makeManyFiles, makeMixed, makeSmallFiles, setTimes, type MadeData } from "./data.ts";
import type { Action } from "./tools.ts";

export interface Step {
  name: string;
  action: Action;
  /** Changes the data, once a round, before the tools take the step. */
  change?: (source: string) => void;
  /** Only to get where the next step begins. */
  isUnmeasured?: boolean;
}

export interface Case {
  name: string;
  /** `scale`: 1 is the whole case. */
  make: (source: string, scale: number) => MadeData;
  steps: Step[];
  /** Of Skep's peers, who take part. */
  peers: string[];
  /** Path below the data for the step that restores one file. */
  file?: string;
  store?: "s3";
}

const allPeers = ["restic", "borg", "tar|zstd|age"];

export const cases: Case[] = [
  {
    name: "mixed",
    make: (source, scale) => makeMixed(source, 1e9 * scale),
    peers: allPeers,
    steps: [
      { name: "first backup", action: "backup" },
      // Before what is read again: that is told by another identity of the volume, after which no file counts as known.
      { name: "unchanged", action: "backup" },
      { name: "read again, nothing new", action: "read again" },
      {
        name: "all times changed",
        action: "backup",
        change: (source) => {
          setTimes(filesBelow(source), -60);
        },
      },
      { name: "restore all", action: "restore all" },
    ],
  },
  {
    name: "small-files",
    make: (source, scale) => makeSmallFiles(source, 100_000 * scale),
    peers: allPeers,
    steps: [
      { name: "first backup", action: "backup" },
      { name: "unchanged", action: "backup" },
      { name: "restore all", action: "restore all" },
    ],
  },
  {
    name: "big-file",
    make: (source, scale) => makeBigFile(join(source, "big"), 1e9 * scale),
    peers: ["restic", "borg"],
    steps: [
      { name: "first backup", action: "backup", isUnmeasured: true },
      {
        name: "1 % changed",
        action: "backup",
        change: (source) => {
          changeOnePercent(join(source, "big"));
        },
      },
    ],
  },
  {
    name: "million-files",
    make: (source, scale) => makeManyFiles(source, 1_000_000 * scale),
    peers: ["restic"],
    file: "d0/e44/f4444",
    steps: [
      { name: "first backup", action: "backup" },
      { name: "unchanged", action: "backup" },
      { name: "restore one file", action: "restore one file" },
    ],
  },
  {
    name: "s3",
    store: "s3",
    make: (source, scale) => makeMixed(source, 3e8 * scale, 3),
    peers: ["restic"],
    steps: [
      { name: "first backup", action: "backup" },
      { name: "unchanged", action: "backup" },
      { name: "restore all", action: "restore all" },
    ],
  },
];

let changes = 0;

/** A hundred stretches of a hundredth of a percent each, all over the file. */
function changeOnePercent(path: string): void {
  const { size } = statSync(path);
  const length = Math.floor(size / 10_000);
  const descriptor = openSync(path, "r+");
  for (let stretch = 0; stretch < 100; stretch++) {
    const noise = createHash("shake256", { outputLength: length }).update(`${changes++}`).digest();
    writeSync(descriptor, noise, 0, length, Math.floor((size / 100) * stretch));
  }
  closeSync(descriptor);
  setTimes([path], -60);
}

export function* filesBelow(folder: string): Generator<string> {
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) yield* filesBelow(path);
    else yield path;
  }
}
