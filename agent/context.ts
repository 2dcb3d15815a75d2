// What a job works with, whichever door it came through.
import type { JobProgress } from "../shared/contract/job-progress.ts";
import type { WriterKeys } from "../shared/repository/keys.ts";
import type { StoreCredentials, StoreLocation } from "../shared/store/location.ts";
import type { Store } from "../shared/store/store.ts";
import type { Docker } from "./docker.ts";
import type { Journal } from "./journal.ts";
import type { Moments } from "./moment/moments.ts";
import type { Watches } from "./quiesce/watches.ts";

export interface AgentContext {
  docker: Docker;
  dockerSocket: string;
  /** Where the host's / is seen; `/` on the host itself. */
  hostRoot: string;
  /** Of mode 0700; on a disk that outlives the process. */
  stateDir: string;
  store: Store;
  /** For a helper container, which opens the store itself: handed over on its standard input. */
  storeLocation: StoreLocation;
  credentials: StoreCredentials | null;
  repositoryId: string;
  incarnation: number;
  /** Also this node's id. */
  writerId: string;
  writerKey: Uint8Array;
  writerKeys: WriterKeys;
  epoch: { number: number; recipient: string };
  /** Set within a helper container: where the task's volume is mounted. */
  mountedAt: string | null;
}

/** One attempt at a job. */
export interface Attempt {
  jobId: string;
  /** From 1. */
  number: number;
  signal: AbortSignal;
  /** Whoever ordered it does not try again where this one fails; absent: it may. */
  isLast?: boolean;
  /** May be called often; whoever gets it thins it out. */
  onProgress: (progress: JobProgress) => void;
}

/** What is quiet, and what was taken of it, in this agent's life. */
export interface QuietTools {
  journal: Journal;
  moments: Moments;
  watches: Watches;
}
