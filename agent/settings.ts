// What an agent's environment says.
import type { Setting } from "../shared/settings.ts";

const absolutePath = { expected: "an absolute path", pattern: /^\/[^\0]*$/ };

export const agentSettings = {
  SKEP_CONFIG_FILE: {
    expected: "the cluster file that `skep init` wrote",
    example: "/etc/skep/skep.yaml",
    fallback: "/etc/skep/skep.yaml",
    pattern: /\S/,
    file: true,
  },
  SKEP_STORE_CREDENTIALS_FILE: {
    expected: "a file of JSON with accessKeyId and secretAccessKey, or {}",
    example: "/run/secrets/store.json",
    pattern: /^\s*\{[\s\S]*\}\s*$/,
    file: true,
  },
  SKEP_REDIS_HOST: {
    expected: "a host name or address",
    example: "redis",
    fallback: "redis",
    pattern: /^[^\s/]{1,255}$/,
  },
  SKEP_REDIS_PORT: { expected: "a port", example: "6379", fallback: "6379", pattern: /^\d{1,5}$/ },
  SKEP_REDIS_PASSWORD_FILE: {
    expected: "a file with Redis' password",
    example: "/run/secrets/redis.password",
    pattern: /^\S{1,1024}$/,
    file: true,
  },
  SKEP_LOG_LEVEL: {
    expected: "trace, debug, info, warn or error",
    example: "info",
    fallback: "info",
    pattern: /^(trace|debug|info|warn|error)$/,
  },
  SKEP_STATE_DIR: { ...absolutePath, example: "/var/lib/skep", fallback: "/var/lib/skep" },
  SKEP_HOST_ROOT: { ...absolutePath, example: "/host", fallback: "/host" },
  SKEP_DOCKER_SOCKET: { ...absolutePath, example: "/var/run/docker.sock", fallback: "/var/run/docker.sock" },
} as const satisfies Record<string, Setting>;
