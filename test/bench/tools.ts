// The tools that are compared, each as shell lines: $DIR is the tool's own folder, $SRC the data, $OUT an empty folder,
// $FILE a path below the data. Null: it has no such step.
import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { nodeFlags } from "../../shared/node-flags.ts";

export type Action = "backup" | "read again" | "restore all" | "restore one file";

export interface Tool {
  name: string;
  version: string;
  prepare: string;
  /** The folder below $DIR whose bytes are what is stored. */
  store: string;
  actions: Record<Action, string | null>;
}

/** In Debian's packages of the same names, but borg. */
const packages = { restic: "restic", borg: "borgbackup", age: "age", zstd: "zstd", tar: "tar" };

/** Installs what is missing; says so. */
export function installTools(): void {
  const missing = Object.entries(packages).flatMap(([program, name]) =>
    spawnSync("which", [program]).status === 0 ? [] : [name],
  );
  if (missing.length === 0) return;
  process.stderr.write(`bench: installing Debian packages: ${missing.join(" ")}\n`);
  const env = { ...process.env, DEBIAN_FRONTEND: "noninteractive" };
  const lock = ["-q", "-o", "DPkg::Lock::Timeout=300"];
  for (const args of [["update"], ["install", "-y", "--no-install-recommends", ...missing]]) {
    const { status, stderr } = spawnSync("apt-get", [...lock, ...args], { env, encoding: "utf8" });
    if (status !== 0) throw new Error(`apt-get ${args.join(" ")} failed: ${stderr}`);
  }
}

// NODE_COMPILE_CACHE: as in Skep's image, where the code is compiled once.
export const toolEnvironment = (folder: string): Record<string, string> => ({
  NODE_COMPILE_CACHE: `${folder}/compiled`,
  RESTIC_PASSWORD: "bench",
  BORG_PASSPHRASE: "bench",
  BORG_BASE_DIR: `${folder}/borg-base`,
});

const skep = `${process.execPath} ${nodeFlags.join(" ")} ${fileURLToPath(new URL("./skep-process.ts", import.meta.url))}`;

/** `resticRepository`: where restic keeps its own, and Skep its store (SKEP_BENCH_STORE) where that is not a folder. */
export function tools(resticRepository = "$DIR/repo"): Tool[] {
  const restic = `restic -q -r ${resticRepository} --cache-dir $DIR/cache`;
  return [
    {
      name: "skep",
      version: `node ${process.version}`,
      prepare: `${skep} init $DIR`,
      store: "store",
      actions: {
        backup: `${skep} backup $DIR $SRC`,
        "read again": `${skep} backup $DIR $SRC force`,
        "restore all": `${skep} restore $DIR $OUT`,
        "restore one file": `${skep} file $DIR $OUT $FILE`,
      },
    },
    {
      name: "restic",
      version: versionOf("restic", ["version"]),
      prepare: `${restic} init`,
      store: "repo",
      actions: {
        backup: `cd $SRC && ${restic} backup .`,
        "read again": `cd $SRC && ${restic} backup --force .`,
        "restore all": `${restic} restore latest --target $OUT`,
        "restore one file": `${restic} restore latest --target $OUT --include /$FILE`,
      },
    },
    {
      name: "borg",
      version: versionOf("borg", ["--version"]),
      prepare: "borg init -e repokey-blake2 $DIR/repo",
      store: "repo",
      actions: {
        backup: "cd $SRC && borg create -C zstd,3 $DIR/repo::{utcnow:%s%f} .",
        "read again": "cd $SRC && borg create -C zstd,3 --files-cache disabled $DIR/repo::{utcnow:%s%f} .",
        "restore all": "cd $OUT && borg extract $DIR/repo::$(borg list --short --last 1 $DIR/repo)",
        "restore one file": "cd $OUT && borg extract $DIR/repo::$(borg list --short --last 1 $DIR/repo) $FILE",
      },
    },
    {
      name: "tar|zstd|age",
      version: versionOf("age", ["--version"]),
      prepare: "mkdir $DIR/repo && age-keygen -o $DIR/key 2>/dev/null && age-keygen -y $DIR/key > $DIR/recipient",
      store: "repo",
      actions: {
        backup: "tar c -C $SRC . | zstd -q -3 -T2 | age -R $DIR/recipient > $DIR/repo/file",
        "read again": null,
        "restore all": "age -d -i $DIR/key $DIR/repo/file | zstd -q -d | tar x -C $OUT",
        "restore one file": null,
      },
    },
  ];
}

function versionOf(command: string, args: string[]): string {
  return spawnSync(command, args, { encoding: "utf8" }).stdout.trim().split("\n")[0] ?? "";
}
