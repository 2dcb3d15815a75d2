// A whole small repository of format 1 with an operator's identity file: two runs of a volume, after one was forgotten, a
// compaction and a prune. Frozen once format 1 is released.
import { createHash, randomBytes } from "node:crypto";
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createRepository } from "../../shared/repository/create.ts";
import { encodeIdentityFile } from "../../shared/repository/identity-file.ts";
import { compact } from "../../shared/repository/open/compact.ts";
import { putPolicy } from "../../shared/repository/catalogue.ts";
import { forgetRuns } from "../../shared/repository/upkeep/forget.ts";
import { prune } from "../../shared/repository/upkeep/prune.ts";
import { openDirectory } from "../../shared/store/directory.ts";
import { compactOptions } from "../shared/repository/upkeep/compact-work.ts";
import { appenderOf, backUpRun, catalogueOf, makeNode, pruneOptions } from "../shared/repository/upkeep/repository-of-runs.ts";

/** Of the volume as each run has it, newest first: SHA-256 of each file by its path. */
export interface FrozenRun {
  id: string;
  files: Record<string, string>;
}

export async function makeFrozenRepository(folder: string): Promise<void> {
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(join(folder, "store"), { recursive: true });
  const scratch = mkdtempSync(join(tmpdir(), "skep-frozen-"));
  const store = openDirectory(join(folder, "store"));
  try {
    const made = await createRepository({ store, operatorName: "anna", now: Date.now() });
    const home = { store, made };
    await putPolicy(catalogueOf(home), { createdAt: new Date().toISOString(), policy: { version: 1 } });
    const node = makeNode({ path: scratch }, "node1");
    const contents = new Map<string, Buffer>();
    const write = (name: string, bytes: Buffer): void => {
      contents.set(name, bytes);
      writeFileSync(join(node.source, name), bytes);
    };
    const runs: FrozenRun[] = [];
    const back = async (): Promise<void> => {
      const { id } = await backUpRun(home, node);
      const sums = [...contents].map(([name, bytes]) => [name, createHash("sha256").update(bytes).digest("hex")]);
      runs.unshift({ id, files: Object.fromEntries(sums) as Record<string, string> });
    };
    mkdirSync(join(node.source, "etc"));
    symlinkSync("etc/hosts", join(node.source, "link"));
    write("etc/hosts", Buffer.from("127.0.0.1 localhost\n".repeat(200)));
    write("holes", Buffer.alloc(300_000));
    write("big", randomBytes(1_200_000));
    write("kept", randomBytes(520_000));
    await back();
    contents.delete("big");
    rmSync(join(node.source, "big"));
    write("new", Buffer.from("new"));
    await back();
    write("new", Buffer.from("newer"));
    await back();
    const first = runs.pop();
    await forgetRuns({ ...appenderOf(home), choose: (all) => all.filter(({ id }) => id === first?.id) });
    const { changed } = await compact(await compactOptions(home));
    if (!changed) throw new Error("there was nothing to compact");
    await prune(pruneOptions(home));
    writeFileSync(join(folder, "identity.txt"), encodeIdentityFile(made.identityFile));
    writeFileSync(join(folder, "runs.json"), `${JSON.stringify(runs, null, 2)}\n`);
  } finally {
    await store.close();
    rmSync(scratch, { recursive: true });
  }
}
