// Which agents there are, and since when nothing was heard of each. Silence counts only while Redis answers: an
// outage of Redis makes no agent look dead.
import type { Heartbeat } from "../shared/contract/queues.ts";
import type { AgentPresence } from "./run-plan.ts";

interface Presence {
  hostname: string;
  heartbeat: Heartbeat | null;
  /** ms since 1970, of the last heartbeat that was there; null: none since this controller began. */
  heardAt: number | null;
  silentMs: number;
}

export class Agents {
  readonly #presences = new Map<string, Presence>();
  /** Hostnames by node id. */
  readonly #former = new Map<string, string>();
  #listenedAt: number | null = null;
  readonly #mostMs: number;

  /** `everyMs`: how often listen() is called; a longer pause was an outage of the listener. */
  constructor(everyMs: number) {
    this.#mostMs = everyMs * 2;
  }

  /** An agent that may be heard: enrolled, or asking to be. */
  expect(nodeId: string, hostname: string): void {
    this.#former.delete(nodeId);
    const known = this.#presences.get(nodeId);
    if (known !== undefined) known.hostname = hostname;
    else this.#presences.set(nodeId, { hostname, heartbeat: null, heardAt: null, silentMs: 0 });
  }

  /**
   * One that was enrolled before a recovery. Most of those nodes are gone, and nobody waits for them; one that survived is
   * expected as soon as it is heard, and asks for the new keys when it gets its first job.
   */
  remember(nodeId: string, hostname: string): void {
    if (!this.#presences.has(nodeId)) this.#former.set(nodeId, hostname);
  }

  /** All whose heartbeats are to be looked for. */
  get nodeIds(): string[] {
    return [...this.#presences.keys(), ...this.#former.keys()];
  }

  /** What was heard when Redis was asked for all nodeIds. `now` in ms since 1970. */
  listen(heard: ReadonlyMap<string, Heartbeat>, now: number): void {
    const passed = this.#listenedAt === null ? 0 : Math.min(Math.max(0, now - this.#listenedAt), this.#mostMs);
    this.#listenedAt = now;
    for (const [nodeId, hostname] of [...this.#former]) {
      if (!heard.has(nodeId)) continue;
      this.expect(nodeId, hostname);
    }
    for (const [nodeId, presence] of this.#presences) {
      const heartbeat = heard.get(nodeId);
      if (heartbeat === undefined) presence.silentMs += passed;
      else Object.assign(presence, { heartbeat, heardAt: now, silentMs: 0, hostname: heartbeat.hostname });
    }
  }

  /** Infinity where no such agent is expected. */
  silentMs(nodeId: string): number {
    return this.#presences.get(nodeId)?.silentMs ?? Infinity;
  }

  /** Of the manager's agent that was heard last; of one whose role was not told yet as well. */
  managersSilentMs(): number {
    const managers = [...this.#presences.values()].filter(
      ({ heartbeat }) => (heartbeat?.role ?? "manager") === "manager",
    );
    return Math.min(Infinity, ...managers.map(({ silentMs }) => silentMs));
  }

  presences(): AgentPresence[] {
    return [...this.#presences].map(([nodeId, { hostname, silentMs }]) => ({ nodeId, hostname, silentMs }));
  }

  /** The last heartbeat, also of one that is silent; null: none since this controller began. */
  last(nodeId: string): { heartbeat: Heartbeat; heardAt: number } | null {
    const presence = this.#presences.get(nodeId);
    if (presence?.heartbeat == null || presence.heardAt === null) return null;
    return { heartbeat: presence.heartbeat, heardAt: presence.heardAt };
  }
}
