// Programs of this machine on a node that has neither a package mirror nor a way out: each with its libraries and its own
// loader, so that it runs whatever release the node is.
import { chmod, cp, mkdir, realpath, writeFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { command, tryCommand } from "../../lab/command.ts";
import type { LabNode } from "../../lab/node.ts";

const root = "/opt/by-hand";

/** Into /usr/local/bin. Throws where this machine lacks one. */
export async function installTools(node: LabNode, names: readonly string[]): Promise<void> {
  const folder = node.hostPath(root);
  for (const part of ["bin", "lib"]) await mkdir(join(folder, part), { recursive: true });
  for (const name of names) {
    const isPython = name === "python3";
    const asked = isPython ? ["python3", "-c", "import sys; print(sys.executable)"] : ["which", name];
    const program = await realpath((await command(asked)).trim());
    await cp(program, join(folder, "bin", name));
    const loader = await copyLibraries(program, folder);
    const environment = isPython ? `PYTHONHOME=${root}/python PYTHONDONTWRITEBYTECODE=1 ` : "";
    const through = loader === null ? "" : `${root}/lib/${loader} --library-path ${root}/lib `;
    const wrapper = node.hostPath(`/usr/local/bin/${name}`);
    await writeFile(wrapper, `#!/bin/sh\n${environment}exec ${through}${root}/bin/${name} "$@"\n`);
    await chmod(wrapper, 0o755);
    if (isPython) await copyPython(folder);
  }
}

/** The loader's name; null of a program that needs none. */
async function copyLibraries(file: string, folder: string): Promise<string | null> {
  const { stdout, code } = await tryCommand(["ldd", file]);
  if (code !== 0) return null;
  let loader: string | null = null;
  for (const [, library] of stdout.matchAll(/(?:=> |^\s*)(\/\S+) \(0x/gm)) {
    if (library === undefined) continue;
    await cp(await realpath(library), join(folder, "lib", basename(library)));
    if (basename(library).startsWith("ld-")) loader = basename(library);
  }
  return loader;
}

async function copyPython(folder: string): Promise<void> {
  const ask = "import sysconfig; print(sysconfig.get_paths()['stdlib'])";
  const library = (await command(["python3", "-c", ask])).trim();
  const target = join(folder, "python", "lib", basename(library));
  const leftOut = /\/(test|site-packages|dist-packages|idlelib|tkinter|ensurepip|config-[^/]*|__pycache__)$/;
  await cp(library, target, { recursive: true, filter: (path) => !leftOut.test(path) });
}
