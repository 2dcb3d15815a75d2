// What a kit for another architecture than this machine's is made of, fetched by npm: Node's program from its package for that
// platform, and the modules that production needs with the prebuilt code for it. Nothing of it is run here.
import { execFile } from "node:child_process";
import { copyFile, mkdir } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { SkepError } from "../../shared/errors.ts";
import { projectRoot, type KitArchitecture, type KitParts } from "./runtime-kit.ts";

const npmTimeoutMs = 600_000;

/** `folder`: empty; a few hundred MB. Throws SKEP_RUNTIME_KIT_INCOMPLETE. */
export async function foreignParts(
  architecture: KitArchitecture,
  folder: string,
  signal: AbortSignal,
): Promise<KitParts> {
  const [modulesRoot, runtime] = [join(folder, "modules"), join(folder, "runtime")];
  for (const made of [modulesRoot, runtime]) await mkdir(made, { recursive: true });
  for (const file of ["package.json", "package-lock.json"]) {
    await copyFile(join(projectRoot, file), join(modulesRoot, file));
  }
  const platform = ["--os=linux", `--cpu=${architecture}`, "--libc=glibc"];
  const quiet = ["--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"];
  await npm(["ci", "--omit=dev", ...quiet, ...platform], modulesRoot, signal);
  const node = `node-linux-${architecture}@${process.versions.node}`;
  // npm refuses a package of another platform that it is asked for by name, unless it is forced.
  await npm(["install", "--force", "--no-save", "--no-package-lock", ...quiet, ...platform, node], runtime, signal);
  const nodePath = join(runtime, "node_modules", `node-linux-${architecture}`, "bin", "node");
  return { nodePath, modulesRoot, architecture };
}

async function npm(argv: readonly string[], cwd: string, signal: AbortSignal): Promise<void> {
  try {
    await promisify(execFile)("npm", [...argv], { cwd, signal, timeout: npmTimeoutMs, maxBuffer: 16 * 1024 * 1024 });
  } catch (error) {
    signal.throwIfAborted();
    const { stderr = "" } = error as { stderr?: string };
    throw new SkepError({
      code: "SKEP_RUNTIME_KIT_INCOMPLETE",
      message: `npm ${argv[0] ?? ""} could not fetch the parts of a kit: ${stderr.trim().slice(0, 4096)}`,
      permanent: true,
      hint: "a kit for another architecture needs npm, its registry, and a checkout with package-lock.json",
      cause: error,
    });
  }
}
