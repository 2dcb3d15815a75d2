// What a lab writes down about itself: one folder a lab, with one small file that says whose it is and what is in it.
// All else (interfaces, namespaces, cgroups, mounts) has names made of the lab's id, so a lab whose maker died at any
// point can be taken away whole.
import { createHash, randomUUID } from "node:crypto";
import { mkdir, readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import { SkepError } from "../../shared/errors.ts";
import { suites } from "./apt-sources.ts";
import { isAlive, ownerSchema } from "./owner.ts";

const nameSchema = z.string().regex(/^[a-z0-9][a-z0-9-]{0,19}$/);

const machineSchema = z.object({
  name: z.string().regex(/^[a-z][a-z0-9]{0,15}$/),
  /** Host part of its address, and number of its leg on the bridge. */
  index: z.int().min(1).max(253),
});

const stateSchema = z.object({
  format: z.literal(1),
  name: nameSchema,
  /** 8 hexadecimal digits: part of every name that the lab gives to something outside its folder. */
  id: z.string().regex(/^[0-9a-f]{8}$/),
  /** The process that the lab lives as long as; null: it stays until `down`. */
  owner: ownerSchema.nullable(),
  engine: z.enum(suites),
  /** First three numbers of its /24. */
  subnet: z.string().regex(/^\d{1,3}\.\d{1,3}\.\d{1,3}$/),
  createdAt: z.iso.datetime(),
  nodes: z.array(machineSchema),
  hasS3: z.boolean(),
  hasRedis: z.boolean(),
  /** No number of a node is given twice, unless it is asked for by name. */
  highestIndex: z.int().min(0).max(253),
});

export type LabState = z.infer<typeof stateSchema>;
export type MachineState = z.infer<typeof machineSchema>;

/** Folder of all labs. It has to be on a disk file system (overlay needs one); SKEP_LAB_STATE names another. */
export function labsFolder(): string {
  return process.env["SKEP_LAB_STATE"] ?? "/var/lib/skep-lab";
}

export function labFolder(name: string): string {
  return join(labsFolder(), name);
}

/** Name of the lock that holds while labs are counted, subnets chosen and a lab's state file is changed. */
export function labsLock(): string {
  return labsFolder();
}

/** Name of the lock that holds from the choice of a subnet until its bridge is seen, also by labs of other folders. */
export const bridgesLock = "skep-lab bridges";

/** Name of the lock that holds while one process takes away what others left. */
export function sweepLock(): string {
  return `${labsFolder()} sweep`;
}

/** Throws SKEP_LAB_NAME unless `name` can be a lab's. */
export function checkName(name: string): void {
  if (nameSchema.safeParse(name).success) return;
  throw new SkepError({
    code: "SKEP_LAB_NAME",
    message: `${JSON.stringify(name)} can't be the name of a lab`,
    permanent: true,
    hint: "1 to 20 characters of a-z, 0-9 and -, for example demo",
  });
}

/** The same for the same name and folder of labs. */
export function idFor(name: string): string {
  return createHash("sha256").update(labFolder(name)).digest("hex").slice(0, 8);
}

export function cgroupOf(id: string, machine?: string): string {
  return machine === undefined ? `skep-lab-${id}` : `skep-lab-${id}/${machine}`;
}

/** The lab's state; null when there is no lab of that name. Throws SKEP_LAB_STATE when the file makes no sense. */
export async function readState(name: string): Promise<LabState | null> {
  const path = join(labFolder(name), "lab.json");
  let text: string;
  try {
    text = await readFile(path, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return null;
    throw error;
  }
  try {
    return stateSchema.parse(JSON.parse(text));
  } catch (error) {
    throw new SkepError({
      code: "SKEP_LAB_STATE",
      message: `${path} is no state file of a lab`,
      permanent: true,
      cause: error,
    });
  }
}

export async function writeState(state: LabState): Promise<void> {
  const folder = labFolder(state.name);
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const aside = join(folder, `.lab.json.${randomUUID()}`);
  await writeFile(aside, JSON.stringify(state, null, 2) + "\n", { mode: 0o600 });
  await rename(aside, join(folder, "lab.json"));
}

/** All labs of this machine, oldest first. */
export async function listStates(): Promise<LabState[]> {
  const states = await Promise.all((await labNames()).map((name) => readState(name)));
  return states.filter((state) => state !== null).sort((a, b) => a.createdAt.localeCompare(b.createdAt));
}

/** Removes folders without a state file: their makers died before they made anything else. Call it with the labs' lock held. */
export async function removeUnborn(): Promise<void> {
  for (const name of await labNames()) {
    if ((await readState(name)) === null) await rm(labFolder(name), { recursive: true, force: true });
  }
}

async function labNames(): Promise<string[]> {
  await mkdir(labsFolder(), { recursive: true, mode: 0o700 });
  const entries = await readdir(labsFolder(), { withFileTypes: true });
  return entries.filter((entry) => entry.isDirectory() && nameSchema.safeParse(entry.name).success).map((e) => e.name);
}

/** True for a lab whose process is gone: nobody will take it down but the next who comes. */
export function isStale(state: LabState): boolean {
  return state.owner !== null && !isAlive(state.owner);
}
