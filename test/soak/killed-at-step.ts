// Imported before a program: it is killed before its nth step that changes a file or a folder (SKEP_TEST_STEP, from 1).
import fs from "node:fs/promises";
import { syncBuiltinESMExports } from "node:module";

let left = Number(process.env["SKEP_TEST_STEP"]);

function step(): void {
  if (--left > 0) return;
  process.kill(process.pid, "SIGKILL");
  // The signal comes before this is over.
  for (;;);
}

const { open, rename, link, unlink, rm } = fs;
fs.open = async (path, flags, mode) => {
  if (typeof flags === "string" ? flags !== "r" : ((flags ?? 0) & 3) !== 0) step();
  return await open(path, flags, mode);
};
fs.rename = async (from, to) => {
  step();
  await rename(from, to);
};
fs.link = async (from, to) => {
  step();
  await link(from, to);
};
fs.unlink = async (path) => {
  step();
  await unlink(path);
};
fs.rm = async (path, options) => {
  step();
  await rm(path, options);
};
syncBuiltinESMExports();
