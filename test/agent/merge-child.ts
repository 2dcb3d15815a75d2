// Run by files-merge.test.ts: puts files into a volume, or takes them out again, and kills itself at the named step.
import { Journal } from "../../agent/journal.ts";
import { mergeBack, mergeIn, readSwap } from "../../agent/volume-swap.ts";

const [journalFile = "", restoreId = "", act = "", dieAt = ""] = process.argv.slice(2);
const journal = new Journal(journalFile);
const record = readSwap(journal, restoreId);
if (record === null) throw new Error("no such restore");
const atStep = (step: string): void => {
  if (step === dieAt) process.kill(process.pid, "SIGKILL");
};
if (act === "merge") await mergeIn(journal, record, "update", new AbortController().signal, atStep);
else await mergeBack(journal, record, atStep);
process.stdout.write("survived");
