// What stands in Redis beside the queues: heartbeats of agents, and texts kept for a while. And how it is reached:
// for ever, whatever becomes of it.
import { Redis } from "ioredis";
import { z } from "zod";
import { agentKey, heartbeatSchema, queuePrefix, type Heartbeat } from "../shared/contract/queues.ts";
import { parseJsonText } from "../shared/json-text.ts";
import type { Logger } from "../shared/log.ts";

export interface RedisAddress {
  host: string;
  port: number;
  password: string;
}

/** Connects again and again until disconnect(); tells once when the server is gone, and once when it is back. */
export function connectRedis(address: RedisAddress, name: string, log: Logger): Redis {
  const redis = new Redis({
    ...address,
    maxRetriesPerRequest: null,
    // Redis' name stands before it answers: a first packet that is lost costs two seconds, not ten.
    connectTimeout: 2000,
    retryStrategy: (times) => Math.min(times * 100, 2000),
  });
  let down = false;
  redis.on("error", (error: Error) => {
    if (!down) log.error({ connection: name, why: error.message }, "Redis is not reachable; trying on");
    down = true;
  });
  redis.on("ready", () => {
    if (down) log.info({ connection: name }, "Redis is back");
    down = false;
  });
  return redis;
}

export class RedisSide {
  readonly #redis: Redis;

  /** On somebody else's connection, who closes it. */
  constructor(redis: Redis) {
    this.#redis = redis;
  }

  /** Those nodes' agents that are heard. What is not a heartbeat is none. */
  async heartbeats(nodeIds: readonly string[]): Promise<Map<string, Heartbeat>> {
    const heard = new Map<string, Heartbeat>();
    if (nodeIds.length === 0) return heard;
    const texts = await this.#redis.mget(nodeIds.map(agentKey));
    for (const [index, nodeId] of nodeIds.entries()) {
      const text = texts[index] ?? null;
      const heartbeat = text === null ? undefined : heartbeatSchema.safeParse(parseJsonText(text)).data;
      if (heartbeat?.nodeId === nodeId) heard.set(nodeId, heartbeat);
    }
    return heard;
  }

  /** Keeps a text beside the queue for at most that long, ms. */
  async keep(name: string, text: string, forMs: number): Promise<void> {
    await this.#redis.set(`${queuePrefix}:kept:${name}`, text, "PX", forMs);
  }

  /** Null where there is none (any more). */
  async kept(name: string): Promise<string | null> {
    return this.#redis.get(`${queuePrefix}:kept:${name}`);
  }

  async forget(name: string): Promise<void> {
    await this.#redis.del(`${queuePrefix}:kept:${name}`);
  }

  /** Settings of the server that decide whether the queue survives; null where it does not tell. */
  async serverSettings(): Promise<{ maxmemoryPolicy: string | null; appendOnly: string | null }> {
    const ask = async (name: string): Promise<string | null> => {
      const answer = await this.#redis.config("GET", name);
      return Array.isArray(answer) ? (z.string().safeParse(answer[1]).data ?? null) : null;
    };
    return { maxmemoryPolicy: await ask("maxmemory-policy"), appendOnly: await ask("appendonly") };
  }
}
