// The recipes of docs/CONSISTENCY.md, for the tests that run them: what an operator copies is what was run.
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { parse } from "yaml";
import { z } from "zod";

const page = join(import.meta.dirname, "..", "..", "docs", "CONSISTENCY.md");
const labelsSchema = z.record(z.string().startsWith("skep."), z.string());

/** `NAME=VALUE` of each label that the page has under `heading` for this way, as `docker stack deploy` would read them. */
export async function recipe(heading: string, how: "stop" | "pause" | "dump"): Promise<string[]> {
  const section = (await readFile(page, "utf8")).split(`\n### ${heading}\n`)[1]?.split(/\n##+ /)[0] ?? "";
  const block = /```yaml\n([\s\S]*?)```/.exec(section)?.[1] ?? "";
  for (const text of block.split(/^# or.*$/m)) {
    const labels = labelsSchema.parse(parse(text));
    if (how === "dump" ? "skep.dump" in labels : labels["skep.quiesce"] === how) {
      return Object.entries(labels).map(([name, value]) => `${name}=${value.replaceAll("$$", "$")}`);
    }
  }
  throw new Error(`${page} has no recipe for ${heading} by ${how}`);
}
