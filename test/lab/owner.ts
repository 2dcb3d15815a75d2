// Which process an entry on disk belongs to. A pid alone comes back after a while; with its start time it does not.
import { readFileSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { z } from "zod";

export const ownerSchema = z.object({
  pid: z.int().positive(),
  /** Field 22 of /proc/PID/stat: clock ticks between boot and the process's start. */
  startTicks: z.int().nonnegative(),
});

export type Owner = z.infer<typeof ownerSchema>;

/** The process `pid` as an owner; null when there is none (or only a zombie). */
export function ownerOf(pid: number): Owner | null {
  const stat = readProc(`/proc/${String(pid)}/stat`);
  // The program's name, in parentheses, may hold spaces and parentheses itself.
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  const [status] = fields;
  if (stat === "" || status === "Z" || status === "X") return null;
  return { pid, startTicks: Number(fields[19]) };
}

export function thisOwner(): Owner {
  const owner = ownerOf(process.pid);
  if (owner === null) throw new Error("/proc has no entry for this process");
  return owner;
}

export function isAlive(owner: Owner): boolean {
  return ownerOf(owner.pid)?.startTicks === owner.startTicks;
}

/** Writes down which process runs; false when it has ended already. */
export async function writeOwner(path: string, pid: number): Promise<boolean> {
  const owner = ownerOf(pid);
  if (owner === null) return false;
  await writeFile(path, JSON.stringify(owner));
  return true;
}

/** The process that writeOwner wrote to `path`; null when it has ended, or none was written. */
export function readLivingOwner(path: string): Owner | null {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return null;
    throw error;
  }
  // Left by a power loss: nothing runs any more of what was started before it.
  if (text === "") return null;
  const owner = ownerSchema.parse(JSON.parse(text));
  return isAlive(owner) ? owner : null;
}

/** The text of a file below /proc; empty when the process is gone. */
export function readProc(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "ENOENT" || code === "ESRCH") return "";
    throw error;
  }
}
