// `skep recover run` in a process of its own that dies by SIGKILL where a test wants it.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { Cluster } from "../cluster.ts";

const cli = join(import.meta.dirname, "..", "..", "..", "controller", "cli", "main.ts");

interface JournalLine {
  step?: string;
  event?: string;
  error?: { code: string; message: string };
}

/** The whole lines of a recovery's journal; none where there is no journal yet. */
export async function journalLines(folder: string): Promise<JournalLine[]> {
  const text = await readFile(join(folder, "journal.jsonl"), "utf8").catch(() => "");
  return text
    .split("\n")
    .slice(0, -1)
    .map((line) => JSON.parse(line) as JournalLine);
}

/**
 * Runs it, and kills it as soon as a step begins for which `mortal` holds: that step; null where it came to its end with 0.
 * Throws what it said where it ended otherwise.
 */
export async function killedRun(
  cluster: Cluster,
  { journal, inventory, argv }: { journal: string; inventory: string; argv: readonly string[] },
  mortal: (step: string) => boolean,
): Promise<string | null> {
  const all = ["recover", "run", "--inventory", inventory, "--journal", journal, "--yes", ...argv];
  const before = (await journalLines(journal)).length;
  const child = spawn(process.execPath, [cli, ...all, "--identity", cluster.identity], {
    env: { ...process.env, SKEP_KIT: cluster.kit, NO_COLOR: "1" },
    stdio: ["ignore", "ignore", "pipe"],
  });
  let said = "";
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    said += text;
  });
  const ended = once(child, "exit") as Promise<[number | null]>;
  for (;;) {
    const exited = await Promise.race([ended, sleep(30)]);
    if (exited !== undefined) {
      if (exited[0] !== 0) throw new Error(said);
      return null;
    }
    const begun = (await journalLines(journal))
      .slice(before)
      .find(({ event, step }) => event === "started" && mortal(step ?? ""));
    if (begun?.step === undefined) continue;
    child.kill("SIGKILL");
    await ended;
    return begun.step;
  }
}
