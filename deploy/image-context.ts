// Lays out what deploy/Dockerfile copies: the sources that run, and the production dependencies for one
// platform. npm resolves the platform's prebuilt modules, so that nothing is compiled or emulated.
import { execFile } from "node:child_process";
import { chmod, cp, mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";

const run = promisify(execFile);
const projectRoot = join(import.meta.dirname, "..");

/** As Docker and npm name them. */
export const platforms = { "linux/amd64": "x64", "linux/arm64": "arm64" } as const;
export type Platform = keyof typeof platforms;

const copied = [
  "agent",
  "controller",
  "shared",
  "deploy/redis.conf",
  "package.json",
  "package-lock.json",
  "LICENSE",
  "stack.yml",
];

// The folder of the launcher comes first in the image's PATH.
const launcher = `#!/bin/sh
exec node /opt/skep/controller/cli/skep.cjs "$@"
`;

/** Fills `folder` (made if missing, should be empty). Takes some seconds, most of it npm. */
export async function layOutImageContext(folder: string, platform: Platform): Promise<void> {
  await layOutSources(folder);
  await installModules(folder, platform);
}

/** All of the context but node_modules. */
export async function layOutSources(folder: string): Promise<void> {
  await mkdir(folder, { recursive: true });
  for (const path of copied) await cp(join(projectRoot, path), join(folder, path), { recursive: true });
  await mkdir(join(folder, "bin"), { recursive: true });
  await writeFile(join(folder, "bin", "skep"), launcher);
  await chmod(join(folder, "bin", "skep"), 0o755);
  await cp(join(import.meta.dirname, "Dockerfile"), join(folder, "Dockerfile"));
}

/** node_modules of production for `platform`, in `folder`, by the package.json and package-lock.json that are there. */
export async function installModules(folder: string, platform: Platform): Promise<void> {
  const target = ["--os=linux", `--cpu=${platforms[platform]}`, "--libc=glibc"];
  await run("npm", ["ci", "--omit=dev", "--ignore-scripts", "--no-audit", "--no-fund", ...target], { cwd: folder });
}
