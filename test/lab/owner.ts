// Which process an entry on disk belongs to. A pid alone comes back after a while; with its start time it does not.
import { readFileSync } from "node:fs";

export interface Owner {
  pid: number;
  /** Field 22 of /proc/PID/stat: clock ticks between boot and the process's start. */
  startTicks: number;
}

/** The process `pid` as an owner; null when there is none (or only a zombie). */
export function ownerOf(pid: number): Owner | null {
  let stat: string;
  try {
    stat = readFileSync(`/proc/${String(pid)}/stat`, "utf8");
  } catch {
    return null;
  }
  // The program's name, in parentheses, may hold spaces and parentheses itself.
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  if (fields[0] === "Z" || fields[0] === "X") return null;
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
