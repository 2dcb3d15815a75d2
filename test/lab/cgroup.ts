// Each machine of a lab has a cgroup of its own in every hierarchy. It is also how the lab knows its processes: all
// that a machine ever started is in there, whoever its parent is by now.
import { readFileSync } from "node:fs";
import { mkdir, readdir, readFile, rmdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { SkepError } from "../../shared/errors.ts";

const controllers = ["cpuset", "cpu", "io", "memory", "pids"];

/** Mount points of the machine's cgroup hierarchies: one with cgroup v2, several with v1. */
export function hierarchies(): string[] {
  const mounts = readFileSync("/proc/self/mounts", "utf8").split("\n");
  const found = mounts.flatMap((line) => {
    const [, path = "", type = ""] = line.split(" ");
    return (type === "cgroup" || type === "cgroup2") && path.startsWith("/sys/fs/cgroup") ? [path] : [];
  });
  if (found.length === 0) {
    throw new SkepError({
      code: "SKEP_LAB_NO_CGROUP",
      message: "no cgroup hierarchy is mounted below /sys/fs/cgroup",
      permanent: true,
      hint: "run the lab on a machine, or in a virtual one, where root may mount cgroups",
    });
  }
  return [...new Set(found)];
}

/** True where the machine has cgroup v2 alone; false with v1, also when v2 is mounted beside it. */
export function isUnified(): boolean {
  return hierarchies().includes("/sys/fs/cgroup");
}

/** Makes the cgroup `name` ("a" or "a/b") in every hierarchy, with all the machine's processors and memory. */
export async function createCgroup(name: string): Promise<void> {
  for (const hierarchy of hierarchies()) {
    let parent = hierarchy;
    for (const part of name.split("/")) {
      if (isUnified()) await enableControllers(parent);
      const path = join(parent, part);
      await mkdir(path, { recursive: true });
      if (hierarchy.endsWith("/cpuset")) {
        for (const file of ["cpuset.cpus", "cpuset.mems"]) {
          await writeFile(join(path, file), await readFile(join(parent, file)));
        }
      }
      parent = path;
    }
  }
}

async function enableControllers(path: string): Promise<void> {
  const available = (await readFile(join(path, "cgroup.controllers"), "utf8")).trim().split(" ");
  const wanted = controllers.filter((name) => available.includes(name)).map((name) => `+${name}`);
  if (wanted.length > 0) await writeFile(join(path, "cgroup.subtree_control"), wanted.join(" "));
}

/** An argv that enters cgroup `name` and then becomes `argv`: the process is in there before it does anything. */
export function inCgroup(name: string, argv: readonly string[]): string[] {
  const paths = hierarchies().map((hierarchy) => join(hierarchy, name));
  const script =
    'n=$1; shift; while [ "$n" -gt 0 ]; do echo $$ > "$1/cgroup.procs" || exit 125; shift; n=$((n-1)); done; exec "$@"';
  return ["/bin/sh", "-c", script, "enter", String(paths.length), ...paths, ...argv];
}

/** Kills (SIGKILL) all that is in cgroup `name` and below, waits for its end and removes the cgroup. Absent: nothing to do. */
export async function removeCgroup(name: string): Promise<void> {
  await killCgroup(name);
  const deadlineMs = Date.now() + 10_000;
  for (const hierarchy of hierarchies()) {
    for (const path of (await tree(join(hierarchy, name))).reverse()) {
      while (!(await tryRmdir(path))) {
        if (Date.now() > deadlineMs) {
          throw new SkepError({ code: "SKEP_LAB_CGROUP_BUSY", message: `${path}: still in use`, permanent: false });
        }
        await sleep(20);
      }
    }
  }
}

/** Kills (SIGKILL) all that is in cgroup `name` and below and waits, at most 15 s, until it is gone. */
export async function killCgroup(name: string): Promise<void> {
  const deadlineMs = Date.now() + 15_000;
  for (;;) {
    const pids = await processesIn(name);
    if (pids.length === 0) return;
    if (Date.now() > deadlineMs) {
      const message = `cgroup ${name}: processes ${pids.join(", ")} do not end`;
      throw new SkepError({ code: "SKEP_LAB_CGROUP_BUSY", message, permanent: false });
    }
    for (const pid of pids) {
      try {
        process.kill(pid, "SIGKILL");
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
      }
    }
    await thaw(name);
    await sleep(20);
  }
}

/** With cgroup v1 what is frozen, a paused container say, ends by no signal before it is thawed. */
async function thaw(name: string): Promise<void> {
  for (const hierarchy of hierarchies().filter((path) => path.endsWith("/freezer"))) {
    for (const path of await tree(join(hierarchy, name))) {
      const file = join(path, "freezer.state");
      if ((await orNull(readFile(file, "utf8")))?.trim() === "FROZEN") await orNull(writeFile(file, "THAWED"));
    }
  }
}

/** All processes in cgroup `name` and below, of all hierarchies. */
export async function processesIn(name: string): Promise<number[]> {
  const pids = new Set<number>();
  for (const hierarchy of hierarchies()) {
    for (const path of await tree(join(hierarchy, name))) {
      const text = await orNull(readFile(join(path, "cgroup.procs"), "utf8"));
      // 0 stands for a process of a pid namespace that can't be seen from here.
      for (const line of (text ?? "").split("\n")) if (line !== "" && line !== "0") pids.add(Number(line));
    }
  }
  return [...pids];
}

/** `path` and all cgroups below it, parents first; empty when there is none. */
async function tree(path: string): Promise<string[]> {
  const entries = await orNull(readdir(path, { withFileTypes: true }));
  if (entries === null) return [];
  const below = await Promise.all(entries.filter((e) => e.isDirectory()).map((e) => tree(join(path, e.name))));
  return [path, ...below.flat()];
}

async function tryRmdir(path: string): Promise<boolean> {
  try {
    await rmdir(path);
    return true;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "ENOENT") return true;
    if (code === "EBUSY") return false;
    throw error;
  }
}

/** A cgroup may go away while one looks: ENOENT and ENODEV are null. */
async function orNull<T>(reading: Promise<T>): Promise<T | null> {
  try {
    return await reading;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "ENOENT" || code === "ENODEV") return null;
    throw error;
  }
}
