// One cluster for all suites that leave it as they found it: three managers, Skep deployed and ready. Made when the
// first suite asks, taken down at the end of the whole run (mocha loads this file by `require`).
import { Cluster } from "./cluster.ts";

let shared: Promise<Cluster> | null = null;

/** Policy of the shared cluster: volumes whose name begins with `scratch` are left out. */
const policy = `version: 1
select:
  volumes:
    exclude: ["scratch*"]
`;

/** Ready: every node's agent is seen. */
export async function sharedCluster(): Promise<Cluster> {
  shared ??= makeCluster();
  return await shared;
}

async function makeCluster(): Promise<Cluster> {
  const cluster = await Cluster.up({
    nodes: 3,
    managers: 3,
    policy,
    stack: { SKEP_REDIS_PLACEMENT: "node.hostname == node1" },
  });
  try {
    await cluster.deploy();
    await cluster.ready();
    return cluster;
  } catch (error) {
    await cluster.down();
    throw error;
  }
}

export const mochaHooks = {
  async afterAll(this: Mocha.Context): Promise<void> {
    this.timeout(120_000);
    // One that failed to come up has cleaned up after itself, and failed the suite that asked for it.
    const cluster = await shared?.catch(() => null);
    await cluster?.down();
  },
};
