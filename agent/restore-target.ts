// Where a volume may be restored to, how it is made where it is missing, and whether there is room.
import { lstat, statfs } from "node:fs/promises";
import path from "node:path";
import { SkepError } from "../shared/errors.ts";
import type { VolumeFacts, Warning } from "../shared/repository/run.ts";
import type { AgentContext } from "./context.ts";
import type { Volume } from "./docker-objects.ts";
import { resolveHostPath } from "./host-path.ts";
import { isRedacted, volumeKind } from "../shared/volume-kind.ts";

export interface TargetPlan {
  /** How the volume is made where it is missing. */
  create: { driver: string; options: Record<string, string>; labels: Record<string, string> };
  warnings: Warning[];
}

/** Throws SKEP_RESTORE_TARGET_UNSUPPORTED where the target can't be restored to safely. */
export async function planTarget(
  task: { volume: VolumeFacts; targetName: string },
  existing: Volume | null,
  context: AgentContext,
): Promise<TargetPlan> {
  const { volume: facts, targetName } = task;
  const refuse = (why: string): SkepError =>
    new SkepError({
      code: "SKEP_RESTORE_TARGET_UNSUPPORTED",
      message: `volume ${targetName} ${why}`,
      permanent: true,
      hint: "restore to a new volume name: --as NEWNAME; a recovery leaves it out: --without-volume NODE/NAME",
    });
  if (existing !== null) {
    if (volumeKind(existing).kind !== "plain") {
      throw refuse(`is of driver ${existing.Driver} with its own mount: its folder cannot be exchanged`);
    }
    const data = await lstat(await hostParent(context, existing.Mountpoint)).catch(() => null);
    if (data?.isDirectory() !== true) throw refuse("has no folder of its own at its mount point");
    return { create: { driver: "local", options: {}, labels: {} }, warnings: [] };
  }
  const plain = volumeKind({ Driver: facts.driver, Options: facts.options }).kind === "plain";
  if (plain && !isRedacted(facts)) {
    return { create: { driver: facts.driver, options: facts.options, labels: facts.labels }, warnings: [] };
  }
  if (targetName === facts.name) {
    throw refuse(`was of driver ${facts.driver} with its own mount, and is not defined on this node`);
  }
  // The same options under another name would be the same share or device: the live data would be written over.
  return {
    create: { driver: "local", options: {}, labels: facts.labels },
    warnings: [
      {
        code: "SKEP_RESTORE_DRIVER_DROPPED",
        message: `${targetName} is a plain local volume; ${facts.name} was of driver ${facts.driver} with options of its own`,
      },
    ],
  };
}

/** The mount point with its parents' links followed, but not its own. */
async function hostParent(context: AgentContext, mountpoint: string): Promise<string> {
  return path.join(await resolveHostPath(context.hostRoot, path.dirname(mountpoint)), path.basename(mountpoint));
}

/** On the disk where the restored content will lie beside the present one. */
export async function freeBytesFor(
  existing: Volume | null,
  context: AgentContext,
  signal: AbortSignal,
): Promise<number> {
  const hostFolder =
    existing === null
      ? path.join((await context.docker.info(signal)).DockerRootDir, "volumes")
      : path.dirname(existing.Mountpoint);
  const { bavail, bsize } = await statfs(await resolveHostPath(context.hostRoot, hostFolder));
  return bavail * bsize;
}

/** Throws SKEP_RESTORE_NO_SPACE. */
export function refuseWithoutSpace(sourceBytes: number, freeBytes: number, volume: string): void {
  const needed = neededBytes(sourceBytes);
  if (freeBytes >= needed) return;
  throw new SkepError({
    code: "SKEP_RESTORE_NO_SPACE",
    message: `restoring beside volume ${volume} needs ${needed} bytes, ${freeBytes} are free`,
    permanent: true,
    hint: "free space on that disk, or restore to another node: --to-node",
  });
}

/** Left free for folders, inodes and the filesystem's own reserve: 64 MiB and a twentieth of what is restored. */
function neededBytes(sourceBytes: number): number {
  return sourceBytes + 64 * 1024 * 1024 + Math.ceil(sourceBytes / 20);
}
