// What tests do with a real swarm around Raft copies: copy, compare with the API, load it, lock it, start it elsewhere.
import { setTimeout as sleep } from "node:timers/promises";
import { takeRaftCopy } from "../../agent/source/raft.ts";
import type { SwarmHost } from "../../controller/swarm-restore/host.ts";
import { copiedFiles } from "../../shared/raft/copied-file.ts";
import type { SwarmCopy } from "../../shared/raft/copy.ts";
import { engineJson } from "../../shared/raft/engine-api/objects.ts";
import type { ObjectKind } from "../../shared/raft/object-store.ts";
import { readSwarm, type SwarmState } from "../../shared/raft/read-swarm.ts";
import { rebaseSwarm, type RebaseOptions, type RebasedSwarm } from "../../shared/raft/rebase.ts";
import { readWhole } from "../../shared/raft/swarm-files.ts";
import { decodeUnlockKey } from "../../shared/raft/unlock-key.ts";
import type { LabNode } from "../lab/node.ts";
import { create, engineCall, inspect, markerWrite, type ApiObject } from "./rich-swarm.ts";

export const swarmDirectory = "/var/lib/docker/swarm";

/** `staging`: an existing folder of the host. */
export function copyFrom(node: LabNode, staging: string, unlockKey?: () => Promise<Uint8Array>): Promise<SwarmCopy> {
  return takeRaftCopy({
    swarmDirectory: node.hostPath(swarmDirectory),
    stagingDirectory: staging,
    markerWrite: () => markerWrite(node),
    signal: new AbortController().signal,
    ...(unlockKey === undefined ? {} : { unlockKey }),
  });
}

const apiLists: [ObjectKind, string][] = [
  ["service", "/services"],
  ["secret", "/secrets"],
  ["config", "/configs"],
  ["network", `/networks?filters=${encodeURIComponent('{"driver":["overlay"]}')}`],
  ["node", "/nodes"],
  ["task", "/tasks"],
  ["cluster", "/swarm"],
];

type Listed = ApiObject & { ManagerStatus?: unknown; Volumes?: unknown; TLSInfo?: object };

/** What the API says, without what an engine makes up when it is asked. */
export async function apiObjects(node: LabNode): Promise<Map<string, unknown>> {
  const all = new Map<string, unknown>();
  for (const [kind, path] of apiLists) {
    for (const object of [await engineCall(node, "GET", path)].flat() as Listed[]) {
      delete object.ManagerStatus;
      // Of the root certificate that stands beside it the engine also tells subject and key.
      if (object.TLSInfo !== undefined)
        object.TLSInfo = { TrustRoot: (object.TLSInfo as { TrustRoot?: string }).TrustRoot };
      // Docker 26 has null, and 20.10 has no such field.
      if (object.Volumes === null) delete object.Volumes;
      all.set(`${kind} ${object.ID ?? object.Id ?? ""}`, object);
    }
  }
  return all;
}

export function raftObjects(state: SwarmState): Map<string, unknown> {
  const all = new Map<string, unknown>();
  for (const [kind] of apiLists) {
    for (const [id, bytes] of state.store.objects[kind]) {
      const shown = engineJson(kind, bytes, kind === "cluster");
      if (kind === "cluster") {
        delete shown["RootCAKey"];
        delete shown["UnlockKey"];
        delete shown["NetworkKeys"];
        delete shown["FIPS"];
        // Where none was chosen the engine tells the one that it takes.
        if ((shown["DefaultAddrPool"] as string[]).length === 0) {
          Object.assign(shown, { DefaultAddrPool: ["10.0.0.0/8"], SubnetSize: 24 });
        }
      }
      if (kind === "network") {
        // docker_gwbridge's and bridge's swarm-side twins are not listed as overlays.
        if (shown["Driver"] !== "overlay") continue;
        delete shown["Spec"];
        delete shown["Version"];
      }
      all.set(`${kind} ${id}`, JSON.parse(JSON.stringify(shown)));
    }
  }
  return all;
}

export async function rebaseCopy(copy: SwarmCopy, options: Omit<RebaseOptions, "now">): Promise<RebasedSwarm> {
  const files = copiedFiles(copy.files);
  const whole = async (path: string) => (await readWhole(files, path, 1 << 20)) ?? new Uint8Array();
  return rebaseSwarm(
    await readSwarm(files, { unlockKey: copy.unlockKey }),
    { node: await whole("certificates/swarm-node.crt"), root: await whole("certificates/swarm-root-ca.crt") },
    { now: Date.now(), unlockKey: copy.unlockKey, ...options },
  );
}

export async function swarmState(node: LabNode): Promise<{ LocalNodeState: string; NodeAddr: string; NodeID: string }> {
  const { Swarm } = (await engineCall(node, "GET", "/info")) as {
    Swarm: { LocalNodeState: string; NodeAddr: string; NodeID: string };
  };
  return Swarm;
}

export async function until(what: string, holds: () => Promise<boolean>): Promise<void> {
  for (let tries = 0; tries < 150; tries++) {
    if (await holds()) return;
    await sleep(200);
  }
  throw new Error(`not within 30 s: ${what}`);
}

export async function setAutolock(node: LabNode, on: boolean): Promise<void> {
  const { Version, Spec } = await inspect(node, "/swarm");
  await engineCall(node, "POST", `/swarm/update?version=${Version.Index}`, {
    ...Spec,
    EncryptionConfig: { AutoLockManagers: on },
  });
}

/** As `docker swarm unlock-key --rotate`. */
export async function rotateUnlockKey(node: LabNode): Promise<void> {
  const { Version, Spec } = await inspect(node, "/swarm");
  await engineCall(node, "POST", `/swarm/update?version=${Version.Index}&rotateManagerUnlockKey=true`, Spec);
}

export async function unlockKeyOf(node: LabNode): Promise<Uint8Array> {
  const { UnlockKey } = (await engineCall(node, "GET", "/swarm/unlockkey")) as { UnlockKey: string };
  return decodeUnlockKey(UnlockKey);
}

export interface SteadyLoad {
  /** The service that it updates; its label `round` counts. */
  readonly service: string;
  /** Rounds that failed, which `patience` forgave. */
  readonly failures: number;
  /** Gives the number of rounds. Throws what ended the load before. */
  stop(): Promise<number>;
}

export interface LoadOptions {
  /** Of the config that each round makes. */
  configBytes?: number;
  /** Between two rounds. */
  pauseMs?: number;
  /** Rounds in a row that may fail: on a busy machine a swarm may be without a leader for a while. */
  patience?: number;
}

let loads = 0;

/** Creates and removes configs, whose names begin with `load-`, and updates a service until told to stop. */
export async function steadyLoad(node: LabNode, options: LoadOptions = {}): Promise<SteadyLoad> {
  const { configBytes = 20_000, pauseMs = 0, patience = 0 } = options;
  const name = `load-${++loads}`;
  const service = await create(node, "/services/create", {
    Name: name,
    TaskTemplate: { ContainerSpec: { Image: "load" } },
    Mode: { Replicated: { Replicas: 0 } },
  });
  let isRunning = true;
  let failures = 0;
  const oneRound = async (round: number): Promise<void> => {
    const Data = Buffer.alloc(configBytes, round).toString("base64");
    const config = await create(node, "/configs/create", { Name: `${name}-${round}`, Data });
    const { Version, Spec } = await inspect(node, `/services/${service}`);
    const updated = { ...Spec, Labels: { round: String(round) } };
    await engineCall(node, "POST", `/services/${service}/update?version=${Version.Index}`, updated);
    await engineCall(node, "DELETE", `/configs/${config}`);
  };
  const work = async (): Promise<number> => {
    let round = 0;
    for (let inARow = 0; isRunning; round++) {
      try {
        await oneRound(round);
        inARow = 0;
      } catch (error) {
        if (++inARow > patience) throw error;
        failures++;
        await sleep(200);
      }
      if (pauseMs > 0) await sleep(pauseMs);
    }
    await engineCall(node, "DELETE", `/services/${service}`);
    return round;
  };
  // Whoever stops it hears of a failure; until then nobody waits for it.
  const done = work();
  done.catch(() => undefined);
  return {
    service,
    get failures() {
      return failures;
    },
    stop: () => {
      isRunning = false;
      return done;
    },
  };
}

/** A node of the lab as a restore sees a machine. */
export function labHost(node: LabNode): SwarmHost {
  return {
    name: node.name,
    run: async (argv, { input }) => await node.exec(argv, { ...(input !== undefined && { input }) }),
    askEngine: ({ method = "GET", path, body: sent }) => engineCall(node, method, path, sent),
  };
}
