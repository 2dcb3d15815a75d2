// A sign of life every 5 s: a key in Redis for `skep agents` and `skep doctor`, and a file for the container's
// health check. The file says that this process turns; Redis and the engine have health checks of their own.
import { writeFile } from "node:fs/promises";
import path from "node:path";
import { Redis } from "ioredis";
import { agentKey, heartbeatSeconds, type Heartbeat } from "../shared/contract/queues.ts";
import { onceInAWhile, redisOptions, type RedisAddress } from "./worker.ts";

export interface HeartbeatOptions {
  redis: RedisAddress;
  stateDir: string;
  /** Looks at the node anew for each beat. */
  look: () => Promise<Omit<Heartbeat, "at">>;
  onError: (error: Error) => void;
}

/** Beats until it is stopped; what fails is told and tried again with the next beat. */
export function startHeartbeat(options: HeartbeatOptions): { stop: () => Promise<void> } {
  const onError = onceInAWhile(options.onError);
  // A beat that Redis can't take now is worth nothing later: no queue, no retry.
  const redis = new Redis({ ...redisOptions(options.redis), enableOfflineQueue: false, maxRetriesPerRequest: 0 });
  redis.on("error", onError);
  const beat = async (): Promise<void> => {
    await writeFile(path.join(options.stateDir, "alive"), `${new Date().toISOString()}\n`, { mode: 0o600 });
    const heartbeat: Heartbeat = { ...(await options.look()), at: new Date().toISOString() };
    await redis.set(agentKey(heartbeat.nodeId), JSON.stringify(heartbeat), "EX", heartbeatSeconds.expires);
  };
  let beating = Promise.resolve();
  let stopped = false;
  const next = (): void => {
    beating = beat()
      .catch((error: unknown) => {
        onError(error instanceof Error ? error : new Error(String(error)));
      })
      .then(() => {
        if (!stopped) timer = setTimeout(next, heartbeatSeconds.every * 1000);
      });
  };
  let timer: NodeJS.Timeout | undefined;
  next();
  return {
    stop: async () => {
      stopped = true;
      clearTimeout(timer);
      await beating;
      redis.disconnect();
    },
  };
}
