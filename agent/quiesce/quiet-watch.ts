// Proves that nothing could write to a volume while it was read: it was quiet before the first byte, and from then to
// the last one no container began to use it, and none that was frozen went on. The engine's events tell it, and a
// second look at the end; where either fails the quiet is not proven.
import type { TaskOf } from "../../shared/contract/job.ts";
import { helperLabel, type Docker } from "../docker.ts";
import type { Journal } from "../journal.ts";
import { containerName } from "../docker-objects.ts";
import { unlessAborted } from "../../shared/unless-aborted.ts";
import { findPlace, usesPlace, type VolumePlace } from "../volume-place.ts";
import { readPauses } from "./pause-record.ts";

type Quiet = NonNullable<TaskOf<"volume">["quiet"]>;

export class QuietWatch {
  readonly #docker: Docker;
  readonly #journal: Journal;
  readonly #place: VolumePlace;
  readonly #quiet: Quiet;
  readonly #stop = new AbortController();
  /** Ids of containers: that the pause froze, and that began to use the volume. */
  readonly #frozen: ReadonlySet<string>;
  readonly #mounting = new Set<string>();
  /** Skep's own. */
  readonly #helpers = new Set<string>();
  /** Of containers that came: by id, whether one uses the volume; null for one that was gone before it was seen. */
  readonly #coming = new Map<string, Promise<boolean | null>>();
  readonly #starting: Promise<void>[] = [];
  #broken: string | null = null;
  #hasEnded: () => boolean = () => true;

  private constructor(docker: Docker, journal: Journal, place: VolumePlace, quiet: Quiet) {
    this.#docker = docker;
    this.#journal = journal;
    this.#place = place;
    this.#quiet = quiet;
    this.#frozen = new Set(this.#record()?.containers.map(({ id }) => id));
  }

  /** close() it. Where it was not quiet to begin with, prove() says so. */
  static async begin(docker: Docker, journal: Journal, volume: string, quiet: Quiet): Promise<QuietWatch> {
    const place = await findPlace([volume], docker);
    const watch = new QuietWatch(docker, journal, place, quiet);
    const events = { type: ["container", "volume"], event: ["mount", "unpause", "create", "start"] };
    const { hasEnded } = await docker.watch(
      events,
      ({ Type, Action, Actor }) => {
        if (Type === "volume" && Action === "mount" && place.names.has(Actor.ID)) {
          watch.#suspect(Actor.Attributes?.["container"] ?? null);
        }
        if (Type === "container" && Action === "unpause" && watch.#frozen.has(Actor.ID)) {
          watch.#broken ??= `container ${Actor.Attributes?.["name"] ?? Actor.ID} went on`;
        }
        // Of a folder that is bound from the host the engine tells no mount.
        if (Type !== "container") return;
        if (Actor.Attributes?.[helperLabel] !== undefined) {
          watch.#helpers.add(Actor.ID);
          return;
        }
        if (Action === "create") void watch.#uses(Actor.ID);
        if (Action === "start") watch.#starting.push(watch.#start(Actor.ID, Actor.Attributes?.["name"] ?? Actor.ID));
      },
      watch.#stop.signal,
    );
    watch.#hasEnded = hasEnded;
    try {
      watch.#broken ??= await watch.#look();
    } catch (error) {
      watch.close();
      throw error;
    }
    return watch;
  }

  /** Null where the quiet held until now; else what broke it. */
  async prove(signal: AbortSignal): Promise<string | null> {
    await unlessAborted(Promise.all(this.#starting), signal);
    this.#broken ??= await this.#look(signal);
    if (this.#hasEnded()) this.#broken ??= "the engine stopped telling its events";
    return this.#broken;
  }

  close(): void {
    this.#stop.abort();
  }

  /** Skep's own containers read through the volume too: who it was is looked up at the end, while it may be gone. */
  #suspect(containerId: string | null): void {
    if (containerId === null) this.#broken ??= "a container began to use it";
    else this.#mounting.add(containerId);
  }

  /** Never rejects. */
  #uses(id: string): Promise<boolean | null> {
    const look = this.#docker.containers({ id: [id] }, this.#stop.signal).then(
      ([found]) => (found === undefined ? null : usesPlace(found, this.#place)),
      () => null,
    );
    const known = this.#coming.get(id);
    const uses = known === undefined ? look : known.then(async (before) => before ?? (await look));
    this.#coming.set(id, uses);
    return uses;
  }

  async #start(id: string, name: string): Promise<void> {
    const uses = await this.#uses(id);
    if (uses === true) this.#mounting.add(id);
    if (uses === null) this.#broken ??= `container ${name} started and was gone before it was seen what it uses`;
  }

  #record(): ReturnType<typeof readPauses>[number] | undefined {
    return readPauses(this.#journal).find(({ pauseId }) => pauseId === this.#quiet.id);
  }

  async #look(signal?: AbortSignal): Promise<string | null> {
    if (this.#quiet.how === "pause" && this.#record() === undefined) return "its containers are not paused any more";
    const containers = await this.#docker.containers({}, signal);
    const isSkeps = (id: string): boolean =>
      this.#helpers.has(id) || containers.some(({ Id, Labels }) => Id === id && Labels?.[helperLabel] !== undefined);
    for (const id of this.#mounting) {
      const name = containers.find(({ Id }) => Id === id);
      if (!isSkeps(id))
        return `container ${name === undefined ? id.slice(0, 12) : containerName(name)} began to use it`;
    }
    const awake = containers.find(
      ({ State, Mounts, Labels }) =>
        ["running", "restarting"].includes(State) &&
        Labels?.[helperLabel] === undefined &&
        usesPlace({ Mounts }, this.#place),
    );
    return awake === undefined ? null : `container ${containerName(awake)} uses it and runs`;
  }
}
