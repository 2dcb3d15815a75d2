// Run by volume-swap.test.ts: does one swap, undo or discard, and kills itself at the named step.
import { Journal } from "../../agent/journal.ts";
import { discardOld, readSwap, swapBack, swapIn } from "../../agent/volume-swap.ts";

const [journalFile = "", restoreId = "", act = "", dieAt = ""] = process.argv.slice(2);
const journal = new Journal(journalFile);
const record = readSwap(journal, restoreId);
if (record === null) throw new Error("no such swap");
const atStep = (step: string): void => {
  if (step === dieAt) process.kill(process.pid, "SIGKILL");
};
if (act === "swap") await swapIn(journal, record, atStep);
else if (act === "undo") await swapBack(journal, record, atStep);
else await discardOld(journal, record, atStep);
process.stdout.write("survived");
