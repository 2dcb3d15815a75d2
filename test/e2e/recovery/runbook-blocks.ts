// The commands that docs/RUNBOOK.md and the runbook of a run show: taken from the page, and carried out as they stand there.
import { expect } from "chai";
import { cp, mkdir, readFile, writeFile } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import type { Store } from "../../../shared/store/store.ts";
import type { LabNode } from "../../lab/node.ts";
import type { Cluster } from "../cluster.ts";
import { onTerminal } from "../terminal.ts";

const page = join(import.meta.dirname, "../../../docs/RUNBOOK.md");
const mostBytes = 64 * 1024 * 1024;

/** The text of each block that is for a shell. */
export function shellBlocks(markdown: string): string[] {
  return [...markdown.matchAll(/^```sh\n(.*?)^```/gms)].map(([, body]) => body ?? "");
}

/** The one block of docs/RUNBOOK.md in which `part` stands, with the store of `cluster` in place of the page's, where one is named. */
export async function pageBlock(part: string, cluster: Cluster): Promise<string> {
  const found = shellBlocks(await readFile(page, "utf8")).filter((block) => block.includes(part));
  expect(found, part).to.have.length(1);
  return (found[0] ?? "")
    .replaceAll("s3://backups/swarm-a", `s3://${cluster.bucket}`)
    .replaceAll("https://s3.example.org", cluster.lab.s3.endpoint);
}

/** Stands for the operator's own S3 client, which the page leaves open: each object becomes the file `folder`/KEY. */
export async function fetchObjects(store: Store, keys: readonly string[], folder: string): Promise<void> {
  for (const key of keys) {
    const path = join(folder, key);
    await mkdir(dirname(path), { recursive: true });
    await writeFile(path, (await store.get(key, mostBytes)) ?? expect.fail(`no ${key}`));
  }
}

/** The runbook of the newest run, opened on `machine` by the page's commands. age, zstd and less are there. */
export async function readWithoutSkep(cluster: Cluster, machine: LabNode): Promise<string> {
  const work = "/root/without-skep";
  const folder = machine.hostPath(work);
  await mkdir(folder, { mode: 0o700 });
  await cp(cluster.identity, join(folder, "identity.txt"));
  const store = await cluster.openStore();
  let newest: string;
  try {
    const keys: string[] = [];
    for (const prefix of ["keys/", "archives/"]) for await (const { key } of store.list(prefix)) keys.push(key);
    const archives = keys.filter((key) => key.startsWith("archives/")).sort();
    newest = dirname(archives.at(-1) ?? expect.fail("no archive"));
    await fetchObjects(
      store,
      [...keys.filter((key) => key.startsWith("keys/")), ...archives.filter((key) => dirname(key) === newest)],
      folder,
    );
  } finally {
    await store.close();
  }
  const block = await pageBlock("archives/$RUN/", cluster);
  const shown = await machine.run(["sh", "-euc", `cd ${work}\n${block}`], { env: { RUN: basename(newest) } });
  expect(shown).to.contain("```sh");
  return await readFile(join(folder, "run/RUNBOOK.md"), "utf8");
}

/** The page's first block, in an empty folder and on a terminal, where the keys are to be rotated too. `inventory`: what the editor makes of the draft. What was said. */
export async function runFiveCommands(cluster: Cluster, inventory: string): Promise<string> {
  const folder = join(cluster.folder, "five-commands");
  const programs = join(folder, "bin");
  await mkdir(programs, { recursive: true });
  const cli = join(import.meta.dirname, "../../../controller/cli/main.ts");
  await writeFile(join(programs, "skep"), `#!/bin/sh\nexec ${process.execPath} ${cli} "$@"\n`, { mode: 0o700 });
  await cp(cluster.identity, join(folder, "identity-anna.txt"));
  await cp(join(cluster.folder, "s3.json"), join(folder, "keys.json"));
  const environment = ["env", `PATH=${programs}:${process.env["PATH"] ?? ""}`, `EDITOR=cp ${inventory}`];
  const block = await pageBlock("$EDITOR inventory.yml", cluster);
  const options = { cwd: folder, timeoutMs: 600_000 };
  const { code, text } = await onTerminal(
    [...environment, "sh", "-euc", block],
    [
      ["Rotate tokens, ca", "y"],
      ["Rebuild the swarm on", "y"],
    ],
    options,
  );
  expect(code, text).to.equal(0);
  return text;
}
