// What the controller's environment says.
import type { Setting } from "../shared/settings.ts";

const file = (expected: string, example: string, pattern: RegExp): Setting => ({
  expected,
  example,
  pattern,
  file: true,
});

export const controllerSettings = {
  SKEP_CONFIG_FILE: {
    ...file("the cluster file that `skep init` wrote", "/etc/skep/skep.yaml", /\S/),
    fallback: "/etc/skep/skep.yaml",
  },
  SKEP_STORE_CREDENTIALS_FILE: file(
    "a file of JSON with accessKeyId and secretAccessKey, or {}",
    "/run/secrets/store.json",
    /^\s*\{[\s\S]*\}\s*$/,
  ),
  SKEP_REDIS_HOST: {
    expected: "a host name or address",
    example: "redis",
    fallback: "redis",
    pattern: /^[^\s/]{1,255}$/,
  },
  SKEP_REDIS_PORT: { expected: "a port", example: "6379", fallback: "6379", pattern: /^\d{1,5}$/ },
  SKEP_REDIS_PASSWORD_FILE: file("a file with Redis' password", "/run/secrets/redis.password", /^\S{1,1024}$/),
  SKEP_CONTROLLER_KEY_FILE: file("the controller.key that `skep init` wrote", "/run/secrets/controller.key", /\S/),
  SKEP_API_TOKEN_FILE: file("the api.token that `skep init` wrote", "/run/secrets/api.token", /^\S{16,1024}$/),
  SKEP_API_PEM_FILE: file(
    "the api.pem that `skep init` wrote",
    "/run/secrets/api.pem",
    /-----BEGIN [\s\S]*-----BEGIN /,
  ),
  SKEP_API_PORT: { expected: "a port", example: "8420", fallback: "8420", pattern: /^\d{1,5}$/ },
  SKEP_STATE_DIR: { expected: "an absolute path", example: "/tmp", fallback: "/tmp", pattern: /^\/[^\0]*$/ },
  SKEP_LOG_LEVEL: {
    expected: "trace, debug, info, warn or error",
    example: "info",
    fallback: "info",
    pattern: /^(trace|debug|info|warn|error)$/,
  },
} as const satisfies Record<string, Setting>;
