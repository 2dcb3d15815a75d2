// skep swarm backup: this manager's Raft state, proven, in one encrypted file.
import { once } from "node:events";
import { mkdtemp, open, rename, rm, stat, type FileHandle } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { z } from "zod";
import { SkepError } from "../../../shared/errors.ts";
import { raftArchiveFiles, type BackupFacts } from "../../../shared/raft/archive-layout.ts";
import { copySwarmDirectory, type SwarmCopy } from "../../../shared/raft/copy.ts";
import { writeMarker } from "../../../shared/raft/marker.ts";
import { directoryFiles } from "../../../shared/raft/swarm-files.ts";
import { decodeUnlockKey } from "../../../shared/raft/unlock-key.ts";
import type { AgeHeader } from "../../../shared/repository/age.ts";
import { archiveStream } from "../../../shared/repository/archive-stream.ts";
import { systemErrorName } from "../../../shared/system-error.ts";
import { skepVersion } from "../../../shared/version.ts";
import { exitCodes, type ExitCode } from "../exit-code.ts";
import * as format from "../format.ts";
import type { Session } from "../session.ts";
import { callEngine } from "../standalone/engine-call.ts";
import { askEngineInfo, type EngineFacts } from "../standalone/engine.ts";
import { lockFile, type LockOptions } from "./file-keys.ts";

export interface SwarmBackupOptions extends LockOptions {
  output: string;
  dockerSocket: string;
}

export async function backupSwarm(session: Session, options: SwarmBackupOptions): Promise<ExitCode> {
  const { output, signal } = session;
  const isPiped = options.output === "-";
  if (isPiped && (output.json || process.stdout.isTTY)) {
    throw usage("standard output takes the file itself", "send it to a pipe or a file, without --json");
  }
  if (!isPiped) await refuseExisting(options.output);
  const info = await managerInfo(options.dockerSocket, signal);
  // Before the copy: a question on the terminal shall not make it old.
  const age = await lockFile(session, options);
  const stagingDirectory = await mkdtemp(join(tmpdir(), "skep-swarm-"));
  try {
    const copy = await takeCopy(options.dockerSocket, info, stagingDirectory, signal);
    const facts = factsOf(copy, info, Date.now());
    const write = isPiped ? toStdout() : toFile(options.output);
    const sizeBytes = await write(archiveOf(copy, facts, age, signal));
    const { proof } = facts;
    output.document({ output: options.output, sizeBytes, ...facts, warnings: copy.warnings });
    for (const warning of copy.warnings) output.warn(format.visible(warning));
    output.say(
      `proven up to index ${proof.commitIndex}, which is not before the marker ${proof.markerIndex ?? ""}; ` +
        `${format.bytes(sizeBytes)} written to ${isPiped ? "standard output" : options.output}`,
    );
    return exitCodes.done;
  } finally {
    await rm(stagingDirectory, { recursive: true, force: true });
  }
}

async function managerInfo(socket: string, signal: AbortSignal): Promise<EngineFacts> {
  const info = await askEngineInfo(socket, signal);
  if (info.Swarm.LocalNodeState === "active" && info.Swarm.ControlAvailable) return info;
  throw new SkepError({
    code: "SKEP_DOCKER_NOT_MANAGER",
    message: `${info.Name} is no manager of a swarm (${info.Swarm.LocalNodeState})`,
    permanent: true,
    hint: "run it on a manager; a swarm that is dead is read from its directory: skep raft verify /var/lib/docker/swarm",
  });
}

const nodeSchema = z.looseObject({ Version: z.looseObject({ Index: z.int() }), Spec: z.looseObject({}) });
const unlockKeySchema = z.looseObject({ UnlockKey: z.string() });

async function takeCopy(
  socket: string,
  { Swarm, DockerRootDir }: EngineFacts,
  stagingDirectory: string,
  signal: AbortSignal,
): Promise<SwarmCopy> {
  const path = `/nodes/${encodeURIComponent(Swarm.NodeID)}`;
  const markerIndex = await writeMarker({
    read: async () => {
      const { Version, Spec } = nodeSchema.parse(await callEngine(socket, { path }, signal));
      return { version: Version.Index, spec: Spec };
    },
    write: async (version, body) => {
      await callEngine(socket, { method: "POST", path: `${path}/update?version=${version}`, body }, signal);
    },
  });
  const unlockKey = async (): Promise<Uint8Array> => {
    const answer = unlockKeySchema.parse(await callEngine(socket, { path: "/swarm/unlockkey" }, signal));
    return decodeUnlockKey(answer.UnlockKey);
  };
  const source = directoryFiles(join(DockerRootDir, "swarm"));
  return await copySwarmDirectory({ source, stagingDirectory, signal, markerIndex, unlockKey });
}

function factsOf({ proof }: SwarmCopy, info: EngineFacts, now: number): BackupFacts {
  return {
    format: 1,
    takenAt: new Date(now).toISOString(),
    skepVersion,
    engineVersion: info.ServerVersion,
    hostname: info.Name,
    clusterId: info.Swarm.Cluster?.ID ?? "",
    proof,
  };
}

function archiveOf(
  copy: SwarmCopy,
  facts: BackupFacts,
  age: AgeHeader,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array> {
  const mtimeMs = Date.parse(facts.takenAt);
  const files = [...raftArchiveFiles(copy, facts)].map((file) => ({ ...file, mtimeMs }));
  return archiveStream({ age, files, signal });
}

type Write = (bytes: AsyncIterable<Uint8Array>) => Promise<number>;

function toStdout(): Write {
  return async (bytes) => {
    let sizeBytes = 0;
    for await (const piece of bytes) {
      sizeBytes += piece.length;
      if (!process.stdout.write(piece)) await once(process.stdout, "drain");
    }
    return sizeBytes;
  };
}

/** The name is there only once all is on the disk. */
function toFile(path: string): Write {
  return async (bytes) => {
    const partial = `${path}.partial`;
    let file: FileHandle | null = null;
    try {
      file = await open(partial, "wx", 0o600);
      let sizeBytes = 0;
      for await (const piece of bytes) {
        await file.writeFile(piece);
        sizeBytes += piece.length;
      }
      await file.sync();
      await file.close();
      await rename(partial, path);
      const folder = await open(dirname(resolve(path)));
      await folder.sync().finally(() => folder.close());
      return sizeBytes;
    } catch (error) {
      await file?.close();
      if (file !== null) await rm(partial, { force: true });
      throw systemErrorName(error) === null ? error : unwritable(path, error);
    }
  };
}

async function refuseExisting(path: string): Promise<void> {
  for (const name of [path, `${path}.partial`]) {
    if ((await stat(name).catch(() => null)) === null) continue;
    throw new SkepError({
      code: "SKEP_CLI_FILE_UNWRITABLE",
      message: `${name} is there already`,
      permanent: true,
      hint: "name a file that is not there yet with --output, or remove that one",
    });
  }
}

function unwritable(path: string, error: unknown): SkepError {
  return new SkepError({
    code: "SKEP_CLI_FILE_UNWRITABLE",
    message: `${path} cannot be written: ${error instanceof Error ? error.message : String(error)}`,
    permanent: true,
    hint: "is there room, and may you write there?",
    cause: error,
  });
}

function usage(message: string, hint: string): SkepError {
  return new SkepError({ code: "SKEP_CLI_USAGE", message, permanent: true, hint });
}
