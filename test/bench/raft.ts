// npm run bench -- --case raft: how fast a swarm's log is proven, all of it decrypted and applied. For a log as a swarm of
// a thousand services writes it while they are updated, for logs of entries of one length each, and for a small swarm:
// two preallocated segments of 64 MB, nearly all zeros, verified and copied. Medians, with CPU time beside wall time.
import { createWriteStream } from "node:fs";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { pipeline } from "node:stream/promises";
import { parseArgs } from "node:util";
import Table from "cli-table3";
import { raftArchiveFiles } from "../../shared/raft/archive-layout.ts";
import { copySwarmDirectory } from "../../shared/raft/copy.ts";
import { readSwarm } from "../../shared/raft/read-swarm.ts";
import { sealRecord } from "../../shared/raft/sealed-record.ts";
import { directoryFiles } from "../../shared/raft/swarm-files.ts";
import { encodeMessage } from "../../shared/raft/swarmkit/message-types.ts";
import { generateAgeIdentity, makeAgeHeader } from "../../shared/repository/age.ts";
import { archiveStream } from "../../shared/repository/archive-stream.ts";
import { dek, plainWal, syntheticSwarm } from "../shared/raft/synthetic-swarm.ts";
import { configRequests, serviceRequests, type Actions } from "./swarm-requests.ts";

const { values } = parseArgs({
  options: {
    case: { type: "string", default: "raft" },
    megabytes: { type: "string", default: "64" },
    rounds: { type: "string", default: "5" },
    json: { type: "boolean", default: false },
  },
});
const logBytes = Number(values.megabytes) * 1e6;
const rounds = Number(values.rounds);

interface Measured {
  what: string;
  /** Of the log that is used, or of the file that was stored. */
  sizeBytes: number;
  wallMs: number;
  cpuMs: number;
}

/** Of the config in each entry. */
const contentBytes = [200, 2_000, 50_000];
const segmentBytes = 64_000_000;

const folder = await mkdtemp(join(tmpdir(), "skep-bench-raft-"));
try {
  const results: Measured[] = [];
  const logs: [string, Iterable<Actions>][] = [
    ["a thousand services, updated", serviceRequests(1000)],
    ...contentBytes.map((bytes): [string, Iterable<Actions>] => [`entries of ${bytes} bytes`, configRequests(bytes)]),
  ];
  for (const [what, requests] of logs) {
    const directory = join(folder, "log");
    const sizeBytes = await writeLog(directory, requests);
    results.push(await measure(`verify, ${what}`, sizeBytes, () => verify(directory)));
    await rm(directory, { recursive: true });
  }
  const small = join(folder, "small");
  await writeSmall(small);
  results.push(await measure("verify a small swarm", 2 * segmentBytes, () => verify(small)));
  results.push(await measure("copy and store a small swarm", 0, () => store(small)));
  print(results);
} finally {
  await rm(folder, { recursive: true });
}

async function measure(what: string, sizeBytes: number, act: () => Promise<number | null>): Promise<Measured> {
  const times: { wallMs: number; cpuMs: number }[] = [];
  let stored: number | null = null;
  for (let round = 0; round <= rounds; round++) {
    const cpu = process.cpuUsage();
    const start = performance.now();
    stored = await act();
    const { user, system } = process.cpuUsage(cpu);
    // The first compiles.
    if (round > 0) times.push({ wallMs: performance.now() - start, cpuMs: (user + system) / 1000 });
  }
  const median = (of: number[]): number => of.sort((a, b) => a - b)[Math.floor(of.length / 2)] ?? 0;
  const wallMs = median(times.map((time) => time.wallMs));
  const cpuMs = median(times.map((time) => time.cpuMs));
  return { what, sizeBytes: stored ?? sizeBytes, wallMs, cpuMs };
}

async function verify(directory: string): Promise<null> {
  const { store } = await readSwarm(directoryFiles(directory));
  if (store.anomalyCount > 0) throw new Error(`not a log as an engine writes it: ${store.anomalies[0] ?? ""}`);
  return null;
}

/** The size of the encrypted file. */
async function store(directory: string): Promise<number> {
  const staging = await mkdtemp(join(folder, "staging-"));
  const copy = await copySwarmDirectory({
    source: directoryFiles(directory),
    stagingDirectory: staging,
    signal: new AbortController().signal,
  });
  const age = await makeAgeHeader([(await generateAgeIdentity()).recipient]);
  const files = [...raftArchiveFiles(copy)].map((file) => ({ ...file, mtimeMs: 0 }));
  const file = createWriteStream(join(staging, "stored"));
  await pipeline(archiveStream({ age, files }), file);
  await rm(staging, { recursive: true });
  return file.bytesWritten;
}

/** A log of the requests, each committed by itself; the bytes that it uses. */
async function writeLog(directory: string, requests: Iterable<Actions>): Promise<number> {
  const wal = plainWal(2);
  let index = 2;
  let sealedBytes = 0;
  for (const action of requests) {
    if (sealedBytes >= logBytes) break;
    index++;
    const data = sealRecord(encodeMessage("InternalRaftRequest", { id: BigInt(index), action }), dek);
    wal.entry(index, data).state(index);
    sealedBytes += data.length;
    if (sealedBytes % segmentBytes < data.length) wal.cut(index + 1);
  }
  const segments = wal.finish();
  await writeFiles(directory, await syntheticSwarm(segments));
  return segments.reduce((sum, { bytes }) => sum + bytes.length, 0);
}

async function writeSmall(directory: string): Promise<void> {
  const [segment] = plainWal(300).finish(segmentBytes);
  if (segment === undefined) throw new Error("no segment");
  const bytes = segment.bytes.subarray(0, segmentBytes);
  await writeFiles(directory, await syntheticSwarm([{ ...segment, bytes }]));
  await writeFile(join(directory, "raft/wal-v3-encrypted/0.tmp"), Buffer.alloc(segmentBytes));
}

async function writeFiles(directory: string, files: ReadonlyMap<string, Uint8Array>): Promise<void> {
  for (const [path, bytes] of files) {
    await mkdir(dirname(join(directory, path)), { recursive: true });
    await writeFile(join(directory, path), bytes);
  }
}

function print(results: readonly Measured[]): void {
  if (values.json) {
    process.stdout.write(`${JSON.stringify(results, null, 2)}\n`);
    return;
  }
  const table = new Table({ head: ["", "MB", "wall ms", "CPU ms", "MB/s", "MB/s of CPU"] });
  for (const { what, sizeBytes, wallMs, cpuMs } of results) {
    const megabytes = sizeBytes / 1e6;
    const speed = (ms: number): string => (what.startsWith("verify, ") ? ((megabytes / ms) * 1000).toFixed(0) : "");
    const cells = [megabytes.toFixed(2), wallMs.toFixed(0), cpuMs.toFixed(0), speed(wallMs), speed(cpuMs)];
    table.push([what, ...cells]);
  }
  process.stdout.write(`${table.toString()}\n`);
}
