// From sealed entries to objects: opens what the walk over the log gives, and applies it once it is committed.
import type { DataKeys } from "./data-keys.ts";
import type { Membership } from "./membership.ts";
import { describeEntry, type NewerEntry } from "./newer-entries.ts";
import type { ObjectStore } from "./object-store.ts";
import { entryType, type Entry } from "./raft-messages.ts";
import { openRecord } from "./sealed-record.ts";
import type { WalRecord } from "./wal-walk.ts";
import { formatError } from "./wire.ts";

/** Entries above the commit index, held until it moves; engines have a handful. */
const longestPendingBytes = 256 * 1024 * 1024;

/** Opens records, remembering which key fitted last: during a rotation both are in use. */
export class RecordOpener {
  #keys: Uint8Array[];

  constructor(keys: DataKeys) {
    this.#keys = keys.pending === null ? [keys.current] : [keys.pending, keys.current];
  }

  /** Throws SKEP_RAFT_FORMAT with what `where` says (asked only then) where no key fits. */
  open(record: Uint8Array, where: () => string): Uint8Array {
    for (const key of this.#keys) {
      const plain = openRecord(record, key);
      if (plain === null) continue;
      if (key !== this.#keys[0]) this.#keys = [key, ...this.#keys.filter((other) => other !== key)];
      return plain;
    }
    throw formatError(`${where()}: no data key of swarm-node.key opens it, or it is altered`);
  }
}

export interface LoadedSnapshot {
  index: number;
  term: number;
  membership: Membership;
  store: ObjectStore;
}

interface PendingEntry {
  index: number;
  term: number;
  type: number;
  plain: Uint8Array;
}

/** Applies entries in order as they become committed. */
export class Replay {
  readonly store: ObjectStore;
  readonly membership: Membership;
  readonly #opener: RecordOpener;
  readonly #snapshotIndex: number;
  #appliedIndex: number;
  #appliedTerm: number;
  #commit: number;
  #pending: PendingEntry[] = [];
  #pendingBytes = 0;

  constructor(snapshot: LoadedSnapshot, opener: RecordOpener) {
    this.store = snapshot.store;
    this.membership = snapshot.membership;
    this.#opener = opener;
    this.#snapshotIndex = this.#appliedIndex = this.#commit = snapshot.index;
    this.#appliedTerm = snapshot.term;
  }

  take(record: WalRecord): void {
    if (record?.kind === "entry") this.#takeEntry(record.entry);
    else if (record?.kind === "state") {
      this.#commit = Math.max(this.#commit, record.state.commit);
      this.#applyCommitted();
    }
  }

  #takeEntry(entry: Entry): void {
    if (entry.index <= this.#snapshotIndex) return;
    if (entry.index <= this.#appliedIndex) {
      throw formatError(`entry ${entry.index} is replaced after it was committed`);
    }
    const kept = entry.index - this.#appliedIndex - 1;
    if (kept < this.#pending.length) {
      for (const dropped of this.#pending.splice(kept)) this.#pendingBytes -= dropped.plain.length;
    }
    const { index, term, type } = entry;
    const plain = this.#opener.open(entry.data, () => `entry ${index}`);
    this.#pendingBytes += plain.length;
    if (this.#pendingBytes > longestPendingBytes) throw formatError(`entry ${entry.index}: too much is uncommitted`);
    this.#pending.push({ index, term, type, plain });
  }

  #applyCommitted(): void {
    const count = Math.min(this.#commit - this.#appliedIndex, this.#pending.length);
    if (count <= 0) return;
    const committed = this.#pending;
    this.#pending = committed.length === count ? [] : committed.splice(count);
    for (const entry of committed) this.#apply(entry);
  }

  #apply({ index, term, type, plain }: PendingEntry): void {
    this.#pendingBytes -= plain.length;
    if (type === entryType.confChange) this.membership.apply(plain);
    else if (plain.length > 0) this.store.apply(plain, index);
    this.#appliedIndex = index;
    this.#appliedTerm = term;
  }

  /**
   * Applies what is known to be committed beyond the last hard state, then the rest where it is wanted, and gives where the
   * objects stand, and what that rest is.
   */
  finish(
    knownCommit: number,
    includeNewer: boolean,
  ): { appliedIndex: number; appliedTerm: number; newer: NewerEntry[] } {
    this.#commit = Math.max(this.#commit, knownCommit);
    this.#applyCommitted();
    const newer = this.#pending.map((pending) => {
      const described = describeEntry(pending, this.store);
      if (includeNewer) this.#apply(pending);
      return described;
    });
    return { appliedIndex: this.#appliedIndex, appliedTerm: this.#appliedTerm, newer };
  }
}
