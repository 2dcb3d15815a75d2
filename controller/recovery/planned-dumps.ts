// Which dump of the run goes into which server. A service that moved has dumps of several nodes, of which one is taken:
// the second would be loaded over the first. Pure.
import type { OldService } from "./swarm-view.ts";
import type { VolumeSource } from "./volume-sources.ts";

export interface PlannedDump {
  source: VolumeSource;
  /** Of its volume. */
  machine: string;
  /** The service in whose container the load runs. */
  service: string;
  /** It has one task, which is its server wherever that starts; of several each machine's has its own data. */
  elsewhere: boolean;
}

/** The service in whose container the dump is loaded: the one that was named, or said so, else one that uses the volume. */
export function serverOf({ part }: VolumeSource, services: readonly OldService[]): OldService | null {
  const { container: named = null, saidBy } = part.load ?? {};
  // A container of a service is called SERVICE.SLOT.TASK, and by another name in each task.
  const called = (by: string): OldService | undefined =>
    services.find(({ name }) => by === name || by.startsWith(`${name}.`));
  if (named !== null) return called(named) ?? null;
  const said = saidBy === undefined ? undefined : called(saidBy);
  return said ?? services.find(({ volumes }) => volumes.includes(part.volume.name)) ?? null;
}

export function planDump(source: VolumeSource, machine: string, { name, mode, replicas }: OldService): PlannedDump {
  return { source, machine, service: name, elsewhere: mode === "replicated" && replicas === 1 };
}

/** Do both fill the same data of the same container? */
export function areRivals(a: PlannedDump, b: PlannedDump): boolean {
  const isOneVolume = a.source.part.volume.name === b.source.part.volume.name;
  return a.source !== b.source && a.elsewhere && b.elsewhere && a.service === b.service && isOneVolume;
}

/** The one that goes in its place, null for none. `isLoaded`: this recovery loaded it; nothing goes over that. */
export function winnerOver(
  dump: PlannedDump,
  dumps: readonly PlannedDump[],
  isLoaded: (dump: PlannedDump) => boolean,
): PlannedDump | null {
  const takenAt = ({ source }: PlannedDump): string => `${source.run.startedAt} ${source.part.startedAt} ${source.id}`;
  const isBefore = (a: PlannedDump, b: PlannedDump): boolean =>
    isLoaded(a) === isLoaded(b) ? takenAt(a) > takenAt(b) : isLoaded(a);
  const [first] = dumps
    .filter((other) => areRivals(dump, other) && isBefore(other, dump))
    .sort((a, b) => (isBefore(a, b) ? -1 : 1));
  return first ?? null;
}
