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
];

/** What the API says, without what an engine makes up when it is asked. */
export async function apiObjects(node: LabNode): Promise<Map<string, unknown>> {
  const all = new Map<string, unknown>();
  for (const [kind, path] of apiLists) {
    for (const object of (await engineCall(node, "GET", path)) as (ApiObject & {
      ManagerStatus?: unknown;
      Volumes?: unknown;
    })[]) {
      delete object.ManagerStatus;
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
      const shown = engineJson(kind, bytes, false);
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

export async function unlockKeyOf(node: LabNode): Promise<Uint8Array> {
  const { UnlockKey } = (await engineCall(node, "GET", "/swarm/unlockkey")) as { UnlockKey: string };
  return decodeUnlockKey(UnlockKey);
}

/** Creates and removes configs and updates a service, without a pause, until told to stop; gives the number of rounds. */
export function steadyLoad(node: LabNode): { stop: () => Promise<number> } {
  let running = true;
  const work = async (): Promise<number> => {
    const service = await create(node, "/services/create", {
      Name: "load",
      TaskTemplate: { ContainerSpec: { Image: "load" } },
      Mode: { Replicated: { Replicas: 0 } },
    });
    let round = 0;
    for (; running; round++) {
      const Data = Buffer.alloc(20_000, round).toString("base64");
      const config = await create(node, "/configs/create", { Name: `load-${round}`, Data });
      const { Version, Spec } = await inspect(node, `/services/${service}`);
      const updated = { ...Spec, Labels: { round: String(round) } };
      await engineCall(node, "POST", `/services/${service}/update?version=${Version.Index}`, updated);
      await engineCall(node, "DELETE", `/configs/${config}`);
    }
    await engineCall(node, "DELETE", `/services/${service}`);
    return round;
  };
  const done = work();
  return {
    stop: () => {
      running = false;
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
