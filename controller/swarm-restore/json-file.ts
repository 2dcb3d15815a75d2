// What a restore left on its host as JSON.
import type { z } from "zod";
import { readText, type SwarmHost } from "./host.ts";

/** Null where there is no such file; `content` null where there is one and it is not of that shape. */
export async function readJsonFile<T>(
  host: SwarmHost,
  path: string,
  schema: z.ZodType<T>,
  signal: AbortSignal,
): Promise<{ content: T | null } | null> {
  const text = await readText(host, path, signal);
  if (text === null) return null;
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return { content: null };
  }
  return { content: schema.safeParse(value).data ?? null };
}
