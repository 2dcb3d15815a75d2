// A database in forty lines: it commits numbered rows to one file for ever, each with a checksum over all rows so
// far, each on the disk before the next begins. At its start it reads what is there, cuts off a row that was not
// finished, and refuses a file whose rows don't follow from each other.
// Plain JavaScript: it runs in a container that has Node and nothing of the project.
import { createHash } from "node:crypto";
import { closeSync, existsSync, fsyncSync, ftruncateSync, openSync, readFileSync, writeSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";

const [file] = process.argv.slice(2);
const content = existsSync(file) ? readFileSync(file, "utf8") : "";
const rows = content.split("\n");
rows.pop();

let number = 0;
let chain = "";
const sumOf = (row) => createHash("sha256").update(`${chain} ${row}`).digest("hex").slice(0, 16);
for (const row of rows) {
  const [rowNumber, sum] = row.split(" ");
  if (Number(rowNumber) !== number + 1 || sum !== sumOf(number + 1)) {
    console.error(`row ${number + 1} does not follow from the rows before it: "${row}"`);
    process.exit(1);
  }
  number += 1;
  chain = sum;
}

const ledger = openSync(file, "a");
ftruncateSync(ledger, Buffer.byteLength(rows.map((row) => `${row}\n`).join("")));
console.log(`opened with ${number} committed rows`);
process.on("SIGTERM", () => {
  closeSync(ledger);
  process.exit(0);
});
for (;;) {
  chain = sumOf(number + 1);
  number += 1;
  writeSync(ledger, `${number} ${chain}\n`);
  fsyncSync(ledger);
  await sleep(5);
}
