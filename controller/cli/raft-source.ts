// SOURCE of `skep raft`: a swarm directory, a file with one (open-file.ts), or a run in the store.
import { mkdtemp, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { SkepError } from "../../shared/errors.ts";
import { openRaftArchive, type OpenedArchive } from "../../shared/raft/archive-layout.ts";
import { copiedFiles } from "../../shared/raft/copied-file.ts";
import { copySwarmDirectory } from "../../shared/raft/copy.ts";
import { chooseUnlockKey } from "../../shared/raft/fitting-key.ts";
import { openSwarm, type OpenedSwarm } from "../../shared/raft/open-swarm.ts";
import { directoryFiles } from "../../shared/raft/swarm-files.ts";
import { decodeUnlockKey } from "../../shared/raft/unlock-key.ts";
import { runIdPattern } from "../../shared/repository/layout.ts";
import { readArchive } from "../../shared/repository/open/archive-reader.ts";
import type { Catalogue } from "../../shared/repository/catalogue.ts";
import { readRuns, type ReadRun, type ReadRunsOptions } from "../../shared/repository/run-chain.ts";
import type { IdentityOptions, StoreOptions } from "./access.ts";
import { withOperator } from "./catalogue-access.ts";
import { passingOver } from "./run-address.ts";
import { readInputFile } from "./input-file.ts";
import type { Session } from "./session.ts";
import { readPassphrase } from "./swarm/file-keys.ts";
import { openSwarmFile } from "./swarm/open-file.ts";

export interface RaftSourceOptions extends StoreOptions, IdentityOptions {
  unlockKeyFile?: string;
  passphraseFile?: string;
}

/** Throws SKEP_RAFT_SOURCE where SOURCE is none of the three, and what reading it throws. */
export async function openRaftSource(
  session: Session,
  source: string,
  options: RaftSourceOptions,
): Promise<OpenedSwarm> {
  return await openSource(session, source, await readSecrets(options));
}

/** Two sources with what was given for either: a key, a passphrase, also from standard input. */
export async function openTwoRaftSources(
  session: Session,
  sources: readonly [string, string],
  options: RaftSourceOptions,
): Promise<[OpenedSwarm, OpenedSwarm]> {
  const secrets = await readSecrets(options);
  const [first, second] = sources;
  return [await openSource(session, first, secrets), await openSource(session, second, secrets)];
}

interface ReadOptions extends RaftSourceOptions {
  /** The key that was given. */
  given: Uint8Array | null;
}

/** Throws SKEP_CLI_USAGE where both are to be read from standard input. */
async function readSecrets(options: RaftSourceOptions): Promise<ReadOptions> {
  const { unlockKeyFile, passphraseFile } = options;
  if (unlockKeyFile === "-" && passphraseFile === "-") {
    throw new SkepError({
      code: "SKEP_CLI_USAGE",
      message: "unlock key and passphrase cannot both be read from standard input",
      permanent: true,
      hint: "give one of them in a file",
    });
  }
  const given =
    unlockKeyFile === undefined ? null : decodeUnlockKey(await readInputFile(unlockKeyFile, "the unlock key file"));
  const passphrase = passphraseFile === undefined ? {} : { passphrase: await readPassphrase(passphraseFile) };
  return { ...options, ...passphrase, given };
}

async function openSource(session: Session, source: string, options: ReadOptions): Promise<OpenedSwarm> {
  const found = await stat(source).catch(() => null);
  if (found?.isDirectory() === true) return await openDirectory(session, source, options.given);
  if (found?.isFile() === true) return await openFile(session, source, options);
  if (source === "latest" || runIdPattern.test(source)) return await openRun(session, source, options);
  throw new SkepError({
    code: "SKEP_RAFT_SOURCE",
    message: `${source} is no folder, no file and no run`,
    permanent: true,
    hint: "name a swarm directory such as /var/lib/docker/swarm, a file of `skep swarm backup`, a tar, or a run's whole id (`skep runs`)",
  });
}

async function openDirectory({ signal }: Session, path: string, unlockKey: Uint8Array | null): Promise<OpenedSwarm> {
  const inside = await stat(join(path, "swarm", "raft")).catch(() => null);
  const source = directoryFiles(inside === null ? path : join(path, "swarm"));
  try {
    return await openSwarm(source, { unlockKey, signal });
  } catch (error) {
    if (!(error instanceof SkepError) || error.code !== "SKEP_RAFT_FORMAT") throw error;
    // An engine may be at work in it: then a hot copy succeeds where reading in place is torn.
    return await openCopy(source, unlockKey, signal, error);
  }
}

async function openCopy(
  source: ReturnType<typeof directoryFiles>,
  unlockKey: Uint8Array | null,
  signal: AbortSignal,
  failure: SkepError,
): Promise<OpenedSwarm> {
  const stagingDirectory = await mkdtemp(join(tmpdir(), "skep-raft-"));
  try {
    const { files } = await copySwarmDirectory({
      source,
      stagingDirectory,
      signal,
      limits: { attempts: 3 },
      ...(unlockKey === null ? {} : { unlockKey: () => Promise.resolve(unlockKey) }),
    });
    return await openSwarm(copiedFiles(files), { unlockKey, signal });
  } catch (error) {
    throw error instanceof SkepError && error.code === "SKEP_RAFT_COPY_UNPROVEN" ? failure : error;
  } finally {
    await rm(stagingDirectory, { recursive: true, force: true });
  }
}

async function openFile(session: Session, path: string, options: ReadOptions): Promise<OpenedSwarm> {
  return await openArchive(await openSwarmFile(session, path, options), options.given, session.signal);
}

/** The archive's own key fits its copy; one that is given may be of another time, or of the other source. */
async function openArchive(
  archive: OpenedArchive,
  given: Uint8Array | null,
  signal: AbortSignal,
): Promise<OpenedSwarm> {
  const { files, unlockKey: own } = archive;
  try {
    return await openSwarm(files, { unlockKey: await chooseUnlockKey(files, [own, given]), signal });
  } finally {
    await archive.close();
  }
}

function missingRun(id: string): string {
  return id === "latest" ? "no run has a proven Raft copy" : `there is no run ${id}`;
}

/** `latest` is the newest run with a proven Raft copy; null where there is none. */
async function runWithRaft(catalogue: Catalogue, id: string, options: ReadRunsOptions): Promise<ReadRun | null> {
  for await (const found of readRuns(catalogue, options)) {
    const proven = found.run.parts.some(({ raft, archive }) => raft?.decrypted === true && archive !== undefined);
    if (id === "latest" ? proven : found.run.id === id) return found;
  }
  return null;
}

async function openRun(session: Session, id: string, options: ReadOptions): Promise<OpenedSwarm> {
  const { signal } = session;
  return await withOperator(session, options, async ({ store, catalogue, operator }) => {
    const found = await runWithRaft(catalogue, id, passingOver(session));
    const part = found?.run.parts.find(({ kind, archive }) => kind === "raft" && archive !== undefined);
    if (part?.archive === undefined || part.epoch === undefined) {
      throw new SkepError({
        code: "SKEP_RAFT_SOURCE",
        message: found === null ? missingRun(id) : `run ${id} has no Raft copy`,
        permanent: true,
        hint: "`skep runs` lists the runs, `skep show RUN` what is in one",
      });
    }
    const identity = await operator.epochIdentity(part.epoch);
    const entries = readArchive({ store, archive: part.archive, identity, signal });
    return await openArchive(await openRaftArchive(entries), options.given, signal);
  });
}
