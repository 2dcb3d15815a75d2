// What the engine of a machine lacks of how those of the nodes were set up whose place it takes. Pure.
import { createHash } from "node:crypto";
import { isDeepStrictEqual } from "node:util";
import type { Json } from "../../../shared/raft/engine-api/values.ts";
import type { SetupFile, StoredSetup } from "./stored-setup.ts";

/** How a machine is set up now. */
export interface PresentSetup {
  settings: Json | null;
  /** SHA-256, in hex, by path, of those files that were asked for and are there. */
  files: ReadonlyMap<string, string>;
  plugins: string[];
}

export interface SetupDifferences {
  /** Keys of daemon.json that are other there, or missing. */
  settings: string[];
  /** The whole of what daemon.json shall say, and its permission bits; null where nothing of it is to change. */
  wanted: { settings: Json; mode: number } | null;
  /** Files of certs.d that are missing or other there. */
  files: SetupFile[];
  /** Enabled on the node, not on the machine. */
  plugins: string[];
  /** What two nodes had in two ways: that of the first is taken. */
  clashes: string[];
}

/**
 * Settings of daemon.json that belong to a machine, not to the swarm: its disks, addresses and devices. These stay as they
 * are on the new one (dockerd's own list of keys: docs.docker.com, "dockerd", "Daemon configuration file").
 */
export const machineSettings: ReadonlySet<string> = new Set([
  ...["data-root", "graph", "exec-root", "pidfile", "storage-driver", "storage-opts", "containerd"],
  ...["hosts", "tls", "tlscacert", "tlscert", "tlskey", "tlsverify"],
  ...["bridge", "bip", "bip6", "fixed-cidr", "fixed-cidr-v6", "default-gateway", "default-gateway-v6", "ip", "mtu"],
  ...["swarm-default-advertise-addr", "cluster-advertise", "cluster-store", "cluster-store-opts"],
  // The first moves the data root, the second images to another store.
  ...["userns-remap", "features"],
  ...["node-generic-resources", "cgroup-parent", "exec-opts"],
]);

/** Of the nodes, in the plan's order. */
export function compareSetup(stored: readonly StoredSetup[], present: PresentSetup): SetupDifferences {
  const clashes = new Set<string>();
  const settings = new Map<string, unknown>();
  const files = new Map<string, SetupFile>();
  for (const setup of stored) {
    for (const [key, value] of Object.entries(setup.settings ?? {})) {
      if (machineSettings.has(key)) continue;
      if (!settings.has(key)) settings.set(key, value);
      else if (!isDeepStrictEqual(settings.get(key), value)) clashes.add(`daemon.json's ${key}`);
    }
    for (const file of setup.files) {
      const known = files.get(file.path);
      if (known === undefined) files.set(file.path, file);
      else if (!known.content.equals(file.content)) clashes.add(file.path);
    }
  }
  const now = present.settings ?? {};
  const mode = stored.find((setup) => setup.settings !== null)?.settingsMode ?? 0;
  const other = [...settings].filter(([key, value]) => !isDeepStrictEqual(now[key], value));
  const plugins = new Set(stored.flatMap((setup) => setup.plugins));
  return {
    settings: other.map(([key]) => key),
    wanted: other.length === 0 ? null : { settings: { ...now, ...Object.fromEntries(other) }, mode },
    files: [...files.values()].filter(({ path, content }) => present.files.get(path) !== sha256(content)),
    plugins: [...plugins].filter((name) => !present.plugins.includes(name)),
    clashes: [...clashes],
  };
}

export function sha256(content: Uint8Array): string {
  return createHash("sha256").update(content).digest("hex");
}
