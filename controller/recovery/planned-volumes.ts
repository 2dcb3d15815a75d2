// What becomes of each volume of the run on the machine that takes its node's place: restored, made anew, filled by the
// command that takes its dump, or left out. Storage that outlives a swarm (a share, a device, a plugin's) is never written
// to unasked: what is there may be newer than the run. Pure.
import { isDeepStrictEqual } from "node:util";
import { isRedacted, volumeKind } from "../../shared/volume-kind.ts";
import type { JournalEvent } from "./journal.ts";
import type { PresentVolume } from "./machine-facts.ts";
import { areRivals, planDump, serverOf, winnerOver, type PlannedDump } from "./planned-dumps.ts";
import type { OldService } from "./swarm-view.ts";
import type { VolumeSource } from "./volume-sources.ts";

export interface PlannedVolume {
  source: VolumeSource;
  machine: string;
  /**
   * `plain`: restored into Docker's own folder. `folder`: into the folder of the host that its options name, where that
   * is empty. `make`: made with driver, options and labels, and no more.
   */
  how: "plain" | "folder" | "make";
}

export interface LeftOutVolume {
  /** HOSTNAME/NAME. */
  id: string;
  /** Null where it has no run that it could come from. */
  source: VolumeSource | null;
  /** Null where nothing takes its node's place. */
  machine: string | null;
  why: string;
  /** The operator said so. */
  asked: boolean;
  /** It is a dump, and no other one goes into its server. */
  mayLoad: boolean;
}

/** Of a folder that a volume's options name. */
export type FolderState = "empty" | "full";

export interface VolumePlanInput {
  homed: readonly { source: VolumeSource; machine: string }[];
  /** Those that are let go and have tasks then. */
  services: readonly OldService[];
  withoutVolumes: readonly string[];
  folders: ReadonlyMap<string, FolderState>;
  /** The volume of that name that is there already; null for none. */
  present: (machine: string, name: string) => PresentVolume | null;
  /** What became of it in this recovery before. Of one that was begun, what is in its folder is the recovery's own. */
  former: (what: "restore" | "load", machine: string, id: string) => JournalEvent["event"] | null;
  /** The swarm was begun: services may write to their volumes. */
  begun: boolean;
}

export function folderKey(machine: string, path: string): string {
  return `${machine} ${path}`;
}

export function planVolumes(input: VolumePlanInput): {
  volumes: PlannedVolume[];
  dumps: PlannedDump[];
  leftOut: LeftOutVolume[];
} {
  const { homed, services, former } = input;
  const settled = homed.map(({ source, machine }) => {
    const isBack = former(source.kind === "dump" ? "load" : "restore", machine, source.id) === "done";
    const asked = !isBack && input.withoutVolumes.includes(source.id);
    const why = isBack ? null : asked ? "left out by --without-volume" : whyNot(source, machine, input);
    const server = source.kind === "dump" ? serverOf(source, services) : null;
    return { source, machine, asked, why, dump: server === null ? null : planDump(source, machine, server) };
  });
  const wanted = settled.flatMap(({ why, dump }) => (why === null && dump !== null ? [dump] : []));
  const isLoaded = ({ source, machine }: PlannedDump): boolean => former("load", machine, source.id) === "done";
  const dumps = wanted.filter((dump) => winnerOver(dump, wanted, isLoaded) === null);
  const settledDumps = settled.map((one) => {
    const winner = one.why !== null || one.dump === null ? null : winnerOver(one.dump, wanted, isLoaded);
    return { ...one, why: winner === null ? one.why : behind(winner), givesWay: one.asked || winner !== null };
  });
  const volumes: PlannedVolume[] = [];
  const leftOut: LeftOutVolume[] = [];
  const claimed = new Set(settledDumps.flatMap((one) => (one.givesWay ? [] : [placeOf(one)])));
  for (const one of settledDumps) {
    const { source, machine, asked, why, dump, givesWay } = one;
    const { volume } = source.part;
    if (why !== null) {
      const mayLoad = source.part.load !== undefined && !dumps.some((other) => dump !== null && areRivals(dump, other));
      leftOut.push({ id: source.id, source, machine, why, asked, mayLoad });
    }
    const isTaken = givesWay && claimed.has(placeOf(one));
    claimed.add(placeOf(one));
    if (source.kind === "volume" && why === null) {
      volumes.push({ source, machine, how: bindFolder(source) === null ? "plain" : "folder" });
    } else if (!isTaken && !isRedacted(volume) && (!asked || mayMake(source, input.present(machine, volume.name)))) {
      volumes.push({ source, machine, how: "make" });
    }
  }
  return { volumes, dumps, leftOut };
}

function placeOf({ source, machine }: Pick<PlannedVolume, "source" | "machine">): string {
  return `${machine} ${source.part.volume.name}`;
}

/** What the operator leaves out stops nothing: neither for a plugin that the machine lacks, nor for what it has there. */
function mayMake({ part }: VolumeSource, present: PresentVolume | null): boolean {
  return part.volume.driver === "local" && (present === null || isSameStorage(part.volume, present));
}

/**
 * Would the engine take the one that is there for the other, and its bytes lie in the same place? A plugin tells no options of
 * volumes that it knows from elsewhere.
 */
export function isSameStorage(volume: VolumeSource["part"]["volume"], present: PresentVolume): boolean {
  if (volume.driver !== present.driver) return false;
  const [kind, there] = [volume, present].map(({ driver, options }) =>
    volumeKind({ Driver: driver, Options: options }),
  );
  if (kind?.kind === "plugin") return true;
  return kind?.kind === "plain" ? there?.kind === "plain" : isDeepStrictEqual(volume.options, present.options);
}

function behind({ source, service }: PlannedDump): string {
  return `${service} has one task, and a newer dump goes into it: ${source.id} of run ${source.run.id}`;
}

/** Path on the host; null for all but `local` volumes that are a folder elsewhere. */
export function bindFolder({ part }: VolumeSource): string | null {
  const kind = kindOf(part);
  return kind.kind === "bind" ? kind.hostPath : null;
}

function kindOf({ volume }: VolumeSource["part"]): ReturnType<typeof volumeKind> {
  return volumeKind({ Driver: volume.driver, Options: volume.options });
}

/** Null where its data comes back. */
function whyNot(source: VolumeSource, machine: string, input: VolumePlanInput): string | null {
  const { services, folders, former, begun } = input;
  const { part, kind, id } = source;
  const { volume } = part;
  const storage = kindOf(part);
  if (isRedacted(volume)) {
    return "its options held a password, which is in no run: make it by hand, unless the service's own mount says them";
  }
  if (storage.kind === "mounted" || storage.kind === "plugin") {
    const what = storage.kind === "plugin" ? `driver ${volume.driver}` : `a share or device, ${deviceOf(volume)}`;
    return `it is of ${what}, whose data may have outlived the swarm and be newer: it is made anew, and nothing is written to it`;
  }
  if (
    storage.kind === "bind" &&
    former("restore", machine, id) === null &&
    folders.get(folderKey(machine, storage.hostPath)) === "full"
  ) {
    return `it is the folder ${storage.hostPath}, in which ${machine} has files already: nothing is written over them`;
  }
  if (kind === "volume") {
    if (storage.kind === "tmpfs") return "it lies in memory";
    return begun ? "this recovery began its swarm without it, and services may have written to it since" : null;
  }
  if (part.load === undefined) return "it is a dump that was taken without skep.load: nobody said how it goes back";
  if (serverOf(source, services) === null) return "it is a dump, and no service that is let go would take it back";
  return null;
}

function deviceOf({ options }: VolumeSource["part"]["volume"]): string {
  return [options["type"], options["device"]].filter((word) => word !== undefined && word !== "").join(" ");
}
