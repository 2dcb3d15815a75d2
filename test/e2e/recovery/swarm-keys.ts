// A swarm's keys, and whether a recovery that rotated them gave it others and kept them to itself.
import { expect } from "chai";
import { readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import type { LabNode } from "../../lab/node.ts";

/** Both tokens' secrets, the unlock key, the digest of the CA's certificate. */
export async function swarmKeys(manager: LabNode): Promise<string[]> {
  const tokens = ["worker", "manager"].map((role) => ["docker", "swarm", "join-token", "--quiet", role]);
  const [worker = "", other = "", unlock = ""] = await Promise.all(
    [...tokens, ["docker", "swarm", "unlock-key", "--quiet"]].map((argv) => manager.run(argv)),
  );
  const [, , digest = ""] = worker.trim().split("-");
  return [worker.trim().split("-").at(-1) ?? "", other.trim().split("-").at(-1) ?? "", unlock.trim(), digest];
}

/** Each is another; the new unlock key lies beside the report, for its owner alone, and no key in the report or the journal. */
export async function expectOtherKeys(manager: LabNode, before: readonly string[], journal: string): Promise<void> {
  const now = await swarmKeys(manager);
  for (const [index, key] of now.entries()) expect(key).to.not.be.oneOf(["", before[index]]);
  const path = join(journal, "unlock-key");
  expect((await readFile(path, "utf8")).trim()).to.equal(now[2]);
  expect((await stat(path)).mode & 0o777).to.equal(0o600);
  for (const file of ["journal.jsonl", "report.json", "report.md"]) {
    const text = await readFile(join(journal, file), "utf8");
    for (const key of now.slice(0, 3)) expect(text.includes(key), file).to.be.false;
  }
}
