// The frozen vectors of test/vectors/raft, and what a damaged copy of one may look like.
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { SkepError } from "../../../shared/errors.ts";
import { readSwarm, type SwarmState } from "../../../shared/raft/read-swarm.ts";
import { memoryFiles } from "../../../shared/raft/swarm-files.ts";
import { decodeUnlockKey } from "../../../shared/raft/unlock-key.ts";
import { decodeFrame } from "../../../shared/raft/wal-frames.ts";

const root = join(import.meta.dirname, "..", "..", "vectors", "raft");

export interface RaftVector {
  name: string;
  files: Map<string, Uint8Array>;
  unlockKey: Uint8Array | null;
  secret: { name: string; text: string };
  proof: Pick<SwarmState["proof"], "commitIndex" | "lastIndex" | "snapshotIndex" | "term" | "locked" | "counts">;
}

export function raftVectors(): RaftVector[] {
  const engines = readdirSync(root).filter((name) => name.startsWith("docker-"));
  return engines.flatMap((engine) =>
    readdirSync(join(root, engine)).map((shape) => {
      const folder = join(root, engine, shape);
      const paths = readdirSync(folder, { recursive: true, withFileTypes: true })
        .filter((entry) => entry.isFile())
        .map((entry) => join(entry.parentPath, entry.name).slice(folder.length + 1));
      const said = JSON.parse(readFileSync(join(folder, "vector.json"), "utf8")) as Omit<RaftVector, "unlockKey"> & {
        unlockKey: string | null;
      };
      return {
        name: `${engine}/${shape}`,
        files: new Map(
          paths.filter((path) => path !== "vector.json").map((path) => [path, readFileSync(join(folder, path))]),
        ),
        unlockKey: said.unlockKey === null ? null : decodeUnlockKey(said.unlockKey),
        secret: said.secret,
        proof: said.proof,
      };
    }),
  );
}

/** What a restore lays down, or makes its directory of; the engine's two JSON files are made anew. */
export function neededPaths({ files }: RaftVector): string[] {
  return [...files.keys()].filter((path) => path.startsWith("raft/") || path.startsWith("certificates/"));
}

export function readVector(
  vector: RaftVector,
  changed: ReadonlyMap<string, Uint8Array> = new Map(),
): Promise<SwarmState> {
  return readSwarm(memoryFiles(new Map([...vector.files, ...changed])), { unlockKey: vector.unlockKey });
}

/**
 * How the damage shows: the error's code, a warning, or a proof other than that which the run keeps. Null where it does
 * not, and then `sound` has the same state. Throws what is no SkepError, and where the state differs unseen.
 */
export async function findDamage(
  vector: RaftVector,
  sound: SwarmState,
  path: string,
  bytes: Uint8Array,
): Promise<string | null> {
  let state: SwarmState;
  try {
    state = await readVector(vector, new Map([[path, bytes]]));
  } catch (error) {
    if (error instanceof SkepError) return error.code;
    throw error;
  }
  const warning = state.warnings.find((text) => !sound.warnings.includes(text));
  if (warning !== undefined) return `warning: ${warning}`;
  if (JSON.stringify(state.proof) !== JSON.stringify(sound.proof)) return "another proof";
  const same = Buffer.compare(state.store.encode(), sound.store.encode()) === 0;
  if (!same || state.member.addr !== sound.member.addr || state.appliedIndex !== sound.appliedIndex) {
    throw new Error(`${vector.name}: damage of ${path} changed the state and was not found`);
  }
  return null;
}

/** Why a changed byte changes nothing; null where it should have been found. */
export function harmlessRegion(path: string, bytes: Uint8Array, at: number): string | null {
  if (path.endsWith(".wal")) {
    return isPadding(bytes, at) ? "padding of a frame: nobody reads it" : null;
  }
  if (!path.startsWith("certificates/")) return null;
  const text = Buffer.from(bytes).toString("latin1");
  const line = text.slice(
    text.lastIndexOf("\n", at - 1) + 1,
    (text.indexOf("\n", at) + text.length + 1) % (text.length + 1),
  );
  if (line.startsWith("kek-version: ")) return "kek-version: a restore writes 0";
  if (text[at] === "\n") return "line ends of PEM: the bytes within are the same";
  // Of a last group that is not full, base64 has two or four bits that stand for nothing.
  if (/^[A-Za-z0-9+/]+={1,2}$/.test(line) || /^raft-dek/.test(line)) return "bits of base64 that stand for no byte";
  return null;
}

function isPadding(bytes: Uint8Array, at: number): boolean {
  for (let start = 0; start < bytes.length;) {
    const result = decodeFrame(bytes, start);
    if (result.kind !== "frame") return false;
    const end = start + result.frame.lengthBytes;
    const padding = (bytes[start + 7] ?? 0) & 7;
    if (at < end) return at >= end - padding;
    start = end;
  }
  return false;
}
