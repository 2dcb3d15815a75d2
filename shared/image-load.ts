// What an engine answers while it loads an image: lines of JSON, of what it did or what went wrong.
import { z } from "zod";

const loadLine = z.looseObject({ stream: z.string().optional(), error: z.string().optional() });
const loaded = /^Loaded image(?: ID)?: (\S+)/;

/**
 * What the engine calls what it loaded, names or ids; or why it loaded nothing. Throws where a line is none of an engine's,
 * and what `lines` throws.
 */
export async function readLoadAnswer(lines: AsyncIterable<string>): Promise<{ names: string[] } | { why: string }> {
  const names: string[] = [];
  for await (const line of lines) {
    if (line.trim() === "") continue;
    const { stream: said = "", error } = loadLine.parse(JSON.parse(line));
    if (error !== undefined) return { why: error };
    const [, name] = loaded.exec(said) ?? [];
    if (name !== undefined) names.push(name);
  }
  return names.length === 0 ? { why: "it named no image that it loaded" } : { names };
}
