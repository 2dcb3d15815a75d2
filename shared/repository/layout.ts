// Names of all objects in a repository. The keys are public to whoever can list the store: they say which
// writer and run an object belongs to, never what a volume, service or file is called.
//
//   repository/<version>                     signed by the root key; the highest version counts
//   keys/repository-<version>.age            repository key, encrypted to the operators
//   keys/epoch-<epoch>-<version>.age         epoch identity, encrypted to the operators; re-wrapped as a new version
//   policy/<version>                         sealed by the repository key
//   agents/<writer>/<version>                enrolment of one writer, sealed by the repository key
//   protection/<version>                     which runs are locked until when, sealed by the repository key
//   packs/<aa>/<pack>                        age file of zstd frames; <pack> = BLAKE3-256 of its bytes, <aa> its first byte
//   index/<writer>/<object>                  which chunks stand where in which packs, sealed by the writer
//   manifests/<run>/<object>.age             root of one volume's tree, age
//   refs/<run>/<object>                      what that manifest needs, sealed by the writer
//   archives/<run>/<object>.tar.zst.age      Raft state and definitions, node facts
//   kits/<version>                           list of kits, signed by the root key; the highest version counts
//   kits/<sha256>/<piece>                    a kit, cut; <sha256> of the whole file, a tar.gz
//   runs/<sequence>                          run object, sealed by the repository key, signed; written last
import { randomBytes } from "node:crypto";
import type { ObjectKey } from "../store/store.ts";

/** 16 random bytes as 32 hex digits. */
export const repositoryIdPattern = /^[0-9a-f]{32}$/;
/** A Swarm node id, or for a standalone host `s` and 24 hex digits of SHA-256 of the engine's id. */
export const writerIdPattern = /^[a-z0-9]{1,64}$/;
/** Start of the run in UTC and six random letters, e.g. `20261121-030000-k3v9qd`: sorts by time. */
export const runIdPattern = /^\d{8}-\d{6}-[0-9a-z]{6}$/;
/** BLAKE3-256 as 64 hex digits. */
export const digestPattern = /^[0-9a-f]{64}$/;
/** 16 random bytes as 32 hex digits: attempts at one job never meet under one key. */
export const objectIdPattern = /^[0-9a-f]{32}$/;

const numberDigits = 10;

function numbered(value: number): string {
  return String(value).padStart(numberDigits, "0");
}

export function newObjectId(): string {
  return randomBytes(16).toString("hex");
}

/** `now` in ms since 1970. */
export function newRunId(now: number): string {
  const [day, time] = new Date(now).toISOString().slice(0, 19).split("T") as [string, string];
  const letters = Array.from(randomBytes(6), (byte) => (byte % 36).toString(36)).join("");
  return `${day.replaceAll("-", "")}-${time.replaceAll(":", "")}-${letters}`;
}

export const layout = {
  repositoryPrefix: "repository/",
  repository: (version: number): ObjectKey => `repository/${numbered(version)}`,
  repositoryKey: (version: number): ObjectKey => `keys/repository-${numbered(version)}.age`,
  epochKeyPrefix: (epoch: number): string => `keys/epoch-${numbered(epoch)}-`,
  epochKey: (epoch: number, version: number): ObjectKey => `keys/epoch-${numbered(epoch)}-${numbered(version)}.age`,
  policyPrefix: "policy/",
  policy: (version: number): ObjectKey => `policy/${numbered(version)}`,
  agentsPrefix: "agents/",
  agent: (writer: string, version: number): ObjectKey => `agents/${writer}/${numbered(version)}`,
  protectionPrefix: "protection/",
  protection: (version: number): ObjectKey => `protection/${numbered(version)}`,
  pack: (pack: string): ObjectKey => `packs/${pack.slice(0, 2)}/${pack}`,
  indexPrefix: (writer: string): string => `index/${writer}/`,
  index: (writer: string, object: string): ObjectKey => `index/${writer}/${object}`,
  manifest: (run: string, object: string): ObjectKey => `manifests/${run}/${object}.age`,
  refs: (run: string, object: string): ObjectKey => `refs/${run}/${object}`,
  /** `piece` from 0: further ones sort behind the first, so that `cat ID.tar.zst.age*` is the whole. */
  archive: (run: string, object: string, piece = 0): ObjectKey =>
    `archives/${run}/${object}.tar.zst.age${piece === 0 ? "" : `.${piece.toString().padStart(4, "0")}`}`,
  kitsPrefix: "kits/",
  kitList: (version: number): ObjectKey => `kits/${numbered(version)}`,
  /** `piece` from 0. */
  kitPiece: (sha256: string, piece: number): ObjectKey => `kits/${sha256}/${piece.toString().padStart(4, "0")}`,
  runsPrefix: "runs/",
  run: (sequence: number): ObjectKey => `runs/${numbered(sequence)}`,
  /** What the keys of its thousand numbers begin with: a list of them is one answer of a store. */
  runsAround: (run: ObjectKey): string => run.slice(0, -3),
} as const;

/** The number that ends a key (`runs/0000000042` → 42); null for a foreign key. */
export function numberOfKey(key: ObjectKey): number | null {
  const match = /[/-](\d{10})(?:\.age)?$/.exec(key);
  return match?.[1] === undefined ? null : Number(match[1]);
}

/**
 * The first number above that one, which counts, under which nothing lies. Not above the highest that is taken: a foreign
 * object under the last number of all would end the row.
 */
export function freeAbove(counts: number, taken: Iterable<number>): number {
  const numbers = new Set(taken);
  let next = counts + 1;
  while (numbers.has(next)) next++;
  return next;
}
