// The load of images into an engine, and its answer: lines of JSON, of what it did or what went wrong.
import { createInterface } from "node:readline";
import type { Readable } from "node:stream";
import { z } from "zod";
import type { EngineRequests } from "./engine-requests.ts";
import { SkepError } from "./errors.ts";
import { parseJsonText } from "./json-text.ts";

const loadLine = z.looseObject({ stream: z.string().optional(), error: z.string().optional() });
const loaded = /^Loaded image(?: ID)?: (\S+)/;

/**
 * Loads what `docker save` gave, and says what the engine calls it: names, or ids. Throws what the content's source threw,
 * `notLoaded` for what the engine said, the signal's reason, and as the door's stream does.
 */
export async function loadImage(
  stream: EngineRequests["stream"],
  content: Readable,
  options: { notLoaded: (why: string, cause?: unknown) => SkepError; signal: AbortSignal },
): Promise<string[]> {
  const { notLoaded, signal } = options;
  try {
    const answer = await stream({ method: "POST", path: "/images/load", content, signal });
    const said = await readLoadAnswer(createInterface({ input: answer }));
    if ("why" in said) throw notLoaded(said.why);
    return said.names;
  } catch (thrown) {
    signal.throwIfAborted();
    // An engine whose content ends half-way tells that it does: not why.
    const first: unknown = content.errored ?? thrown;
    throw first instanceof SkepError ? first : notLoaded(String(first), first);
  }
}

/**
 * What the engine calls what it loaded, names or ids; or why it loaded nothing. Throws SKEP_DOCKER_ANSWER_INVALID where a
 * line is none of an engine's, and what `lines` throws.
 */
export async function readLoadAnswer(lines: AsyncIterable<string>): Promise<{ names: string[] } | { why: string }> {
  const names: string[] = [];
  for await (const line of lines) {
    if (line.trim() === "") continue;
    const { stream: said = "", error } = decodeLine(line);
    if (error !== undefined) return { why: error };
    const [, name] = loaded.exec(said) ?? [];
    if (name !== undefined) names.push(name);
  }
  return names.length === 0 ? { why: "it named no image that it loaded" } : { names };
}

function decodeLine(line: string): z.infer<typeof loadLine> {
  const parsed = loadLine.safeParse(parseJsonText(line));
  if (parsed.success) return parsed.data;
  throw new SkepError({
    code: "SKEP_DOCKER_ANSWER_INVALID",
    message: "docker answered the load of an image with a line that is none of its progress",
    permanent: true,
    hint: "is this engine older than 20.10, or not Docker?",
  });
}
