// The watches over volumes that another node reads: begun by one job, ended by another, and gone with this process, after
// which nothing is proven.
import type { TaskOf } from "../../shared/contract/job.ts";
import type { TaskResultOf } from "../../shared/contract/task-result.ts";
import { SkepError } from "../../shared/errors.ts";
import type { Docker } from "../docker.ts";
import type { Journal } from "../journal.ts";
import { QuietWatch } from "./quiet-watch.ts";

interface OpenWatch {
  begun: { volume: string; watch: QuietWatch }[];
  timer: NodeJS.Timeout;
}

export class Watches {
  readonly #open = new Map<string, OpenWatch>();

  /** Where a volume is not quiet to begin with, `prove` says so. Given up at its deadline. */
  async begin(
    { watchId, volumes, deadlineAt }: TaskOf<"watch">,
    docker: Docker,
    journal: Journal,
  ): Promise<TaskResultOf<"watch">> {
    this.close(watchId);
    const leftMs = Math.max(0, Date.parse(deadlineAt) - Date.now());
    const timer = setTimeout(() => {
      this.close(watchId);
    }, leftMs).unref();
    const open: OpenWatch = { begun: [], timer };
    this.#open.set(watchId, open);
    try {
      for (const { volume, how } of volumes) {
        open.begun.push({ volume, watch: await QuietWatch.begin(docker, journal, volume, { how, id: watchId }) });
        // It was closed meanwhile, without this one.
        if (this.#open.get(watchId) !== open) throw isOver(watchId);
      }
    } catch (error) {
      this.#end(watchId, open);
      throw error;
    }
    return { kind: "watch" };
  }

  /** Ends it; where the engine does not answer it may be asked again until the deadline. Throws SKEP_QUIET_BROKEN where no such watch is open. */
  async prove({ watchId }: TaskOf<"prove">, signal: AbortSignal): Promise<TaskResultOf<"prove">> {
    const open = this.#open.get(watchId);
    if (open === undefined) throw isOver(watchId);
    const broken: TaskResultOf<"prove">["broken"] = [];
    for (const { volume, watch } of open.begun) {
      const why = await watch.prove(signal);
      if (why !== null) broken.push({ volume, why: why.slice(0, 1024) });
    }
    this.#end(watchId, open);
    return { kind: "prove", broken };
  }

  close(watchId: string): void {
    const open = this.#open.get(watchId);
    if (open !== undefined) this.#end(watchId, open);
  }

  /** Each keeps a stream of the engine's events, and with it this process. */
  closeAll(): void {
    for (const watchId of [...this.#open.keys()]) this.close(watchId);
  }

  #end(watchId: string, open: OpenWatch): void {
    if (this.#open.get(watchId) === open) this.#open.delete(watchId);
    clearTimeout(open.timer);
    for (const { watch } of open.begun) watch.close();
  }
}

function isOver(watchId: string): SkepError {
  return new SkepError({
    code: "SKEP_QUIET_BROKEN",
    message: `watch ${watchId} is over: its deadline passed, it was proven before, or its agent ended`,
    permanent: true,
    hint: "the next run orders a new one; is limits.quietMinutes enough?",
  });
}
