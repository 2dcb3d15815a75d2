// The fence before a restore: two swarms with one certificate authority and the same tokens must not live side by side.
// A manager counts as living where its cluster port answers TLS with a certificate of that very swarm.
import type { X509Certificate } from "node:crypto";
import type { Socket } from "node:net";
import { connect, type TLSSocket } from "node:tls";
import { objectHead } from "../../shared/raft/engine-api/objects.ts";
import { managerAddress } from "../../shared/raft/forced-start.ts";
import type { SwarmState } from "../../shared/raft/read-swarm.ts";
import { decodeMessage } from "../../shared/raft/swarmkit/message-types.ts";

export interface OldManager {
  hostname: string;
  host: string;
  port: number;
}

export interface LivingManager extends OldManager {
  /** Whose certificate it showed. */
  nodeId: string;
}

const answerTimeoutMs = 5_000;

/** Every address at which a manager of the swarm listened, as its state has them. */
export function oldManagers(state: SwarmState): OldManager[] {
  const found = new Map<string, OldManager>();
  const add = (hostname: string, address: string): void => {
    const parsed = managerAddress(address);
    if (parsed !== null) found.set(`${parsed.host} ${parsed.port}`, { hostname, ...parsed });
  };
  const hostnames = new Map(
    [...state.store.objects.node.values()].map((bytes) => {
      const { id, name } = objectHead("node", bytes);
      return [id, name];
    }),
  );
  for (const { nodeId, addr } of state.membership.members.values()) add(hostnames.get(nodeId) ?? nodeId, addr);
  for (const bytes of state.store.objects.node.values()) {
    const { id, managerStatus } = decodeMessage("Node", bytes);
    if (managerStatus !== undefined) add(hostnames.get(id) ?? id, managerStatus.addr);
  }
  return [...found.values()];
}

export interface FenceOptions {
  clusterId: string;
  /** The node that is going to be replaced where it runs; its own answer is no obstacle. */
  replacedNodeId: string | null;
  /** Another way to the address than this machine's own network. */
  openTcp?: (host: string, port: number) => Promise<Socket>;
  signal: AbortSignal;
}

export async function findLivingManagers(
  managers: readonly OldManager[],
  options: FenceOptions,
): Promise<LivingManager[]> {
  const asked = await Promise.all(
    managers.map(async (manager) => {
      const nodeId = await answeringNode(manager, options);
      return nodeId === null || nodeId === options.replacedNodeId ? [] : [{ ...manager, nodeId }];
    }),
  );
  options.signal.throwIfAborted();
  return asked.flat();
}

/** The node id in the certificate that answers; null where nobody of this swarm does. */
async function answeringNode({ host, port }: OldManager, options: FenceOptions): Promise<string | null> {
  const signal = AbortSignal.any([options.signal, AbortSignal.timeout(answerTimeoutMs)]);
  const certificate = await peerCertificate(host, port, options, signal);
  if (certificate === null) return null;
  const subject = certificate.subject.split("\n");
  // Not who signed it: the CA may have been rotated since the copy, and one that lies is an obstacle and no more.
  if (!subject.includes(`O=${options.clusterId}`)) return null;
  return subject.find((line) => line.startsWith("CN="))?.slice(3) ?? "";
}

async function peerCertificate(
  host: string,
  port: number,
  { openTcp }: FenceOptions,
  signal: AbortSignal,
): Promise<X509Certificate | null> {
  const socket = await openTcp?.(host, port).catch(() => null);
  if (socket === null) return null;
  return await new Promise((resolve) => {
    // Nothing is asked of it but whose certificate it has.
    const options = { rejectUnauthorized: false, ALPNProtocols: ["h2"] };
    const tls: TLSSocket = socket === undefined ? connect({ host, port, ...options }) : connect({ socket, ...options });
    const end = (certificate: X509Certificate | null): void => {
      signal.removeEventListener("abort", giveUp);
      tls.destroy();
      resolve(certificate);
    };
    const giveUp = (): void => {
      end(null);
    };
    signal.addEventListener("abort", giveUp, { once: true });
    tls.once("error", giveUp);
    tls.once("close", giveUp);
    tls.once("secureConnect", () => {
      end(tls.getPeerX509Certificate() ?? null);
    });
  });
}
