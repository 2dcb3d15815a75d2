// The controller's daemon: one in the cluster. It reads the repository, serves agents and the API, keeps the
// schedules; and is told to stop by SIGTERM. What was under way goes on when it, or another, starts again.
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { decodeClusterFile } from "../shared/contract/cluster-file.ts";
import { runDaemon } from "../shared/daemon.ts";
import { SkepError, toErrorRecord } from "../shared/errors.ts";
import type { Logger } from "../shared/log.ts";
import { decodeControllerKey, type ControllerKey } from "../shared/repository/controller-key.ts";
import { readSettings, type Settings } from "../shared/settings.ts";
import { decodeCredentials, parseLocation, type StoreLocation } from "../shared/store/location.ts";
import { openStore } from "../shared/store/open.ts";
import type { Store } from "../shared/store/store.ts";
import { skepVersion } from "../shared/version.ts";
import { makeApi } from "./api/server.ts";
import { Controller } from "./controller.ts";
import { JobQueue } from "./queue.ts";
import { Repository } from "./repository.ts";
import { controllerSettings } from "./settings.ts";

/** Between two tries at the store while it is not reached, ms. */
const againMs = 5000;
/** The image's health check looks for a file that is not older than half a minute. */
const aliveMs = 5000;
const closeGraceMs = 10_000;

async function runController(
  settings: Settings<typeof controllerSettings>,
  log: Logger,
  { signal }: AbortController,
): Promise<void> {
  const cluster = decodeClusterFile(settings.SKEP_CONFIG_FILE, "the cluster file");
  const key = decodeControllerKey(settings.SKEP_CONTROLLER_KEY_FILE, "the controller key");
  if (key.repositoryId !== cluster.repository) throw otherRepository(key.repositoryId, cluster.repository);
  const credentials = decodeCredentials(settings.SKEP_STORE_CREDENTIALS_FILE);
  const location = parseLocation(cluster.store);
  const alive = beAlive(join(settings.SKEP_STATE_DIR, "alive"), log);
  const store = openStore(location, credentials);
  const address = {
    host: settings.SKEP_REDIS_HOST,
    port: Number(settings.SKEP_REDIS_PORT),
    password: settings.SKEP_REDIS_PASSWORD_FILE,
  };
  const queue = new JobQueue(address, log);
  try {
    const seedText = settings.SKEP_CONFIG_FILE;
    const controller = await untilReached(log, signal, async () => {
      const repository = await openRepository(store, location, key, signal);
      return Controller.open({ queue, repository, seedText, log });
    });
    const api = makeApi({
      backend: controller,
      pem: settings.SKEP_API_PEM_FILE,
      token: settings.SKEP_API_TOKEN_FILE,
      log,
    });
    try {
      await api.listen({ host: "::", port: Number(settings.SKEP_API_PORT) });
      log.info({ skepVersion, store: store.address, port: settings.SKEP_API_PORT }, "serves");
      await controller.work(signal);
    } finally {
      await api.close();
    }
  } finally {
    clearInterval(alive);
    await queue.close(closeGraceMs);
    await store.close();
  }
}

async function openRepository(
  store: Store,
  location: StoreLocation,
  key: ControllerKey,
  signal: AbortSignal,
): Promise<Repository> {
  const repository = await Repository.open(store, key, signal, location);
  repository.abilities = await store.probe(signal);
  return repository;
}

/** While the store is not reached it waits, and says so once for each reason. Throws what trying again can't help. */
async function untilReached<T>(log: Logger, signal: AbortSignal, act: () => Promise<T>): Promise<T> {
  let told = "";
  for (;;) {
    try {
      return await act();
    } catch (error) {
      const record = toErrorRecord(error);
      if (signal.aborted || !(error instanceof SkepError) || record.permanent) throw error;
      if (record.message !== told) log.error({ error: record }, "the repository is not reached; trying on");
      told = record.message;
      await sleep(againMs, undefined, { signal });
    }
  }
}

function beAlive(file: string, log: Logger): NodeJS.Timeout {
  const touch = (): void => {
    writeFile(file, `${new Date().toISOString()}\n`, { mode: 0o600 }).catch((error: unknown) => {
      log.warn({ err: error }, "the health check's file cannot be written");
    });
  };
  touch();
  return setInterval(touch, aliveMs);
}

function otherRepository(ofKey: string, ofFile: string): SkepError {
  return new SkepError({
    code: "SKEP_CONFIG_INVALID",
    message: `the controller key is of repository ${ofKey}, the cluster file of ${ofFile}`,
    permanent: true,
    hint: "deploy the files of one kit folder together",
  });
}

process.exitCode = await runDaemon(
  "skep-controller",
  () => readSettings(controllerSettings, process.env),
  runController,
);
