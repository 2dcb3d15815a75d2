// What a Docker volume really is, told from its driver and options: where its bytes lie decides how they are
// read, whether several nodes share them, and whether a restore can swap its folder.
import type { VolumeFacts } from "../../shared/repository/run.ts";
import type { Volume } from "../docker-objects.ts";

/**
 * `plain`: a folder under the data root, always there. `bind`: `local` with `o=bind`, a folder elsewhere on the
 * host. `tmpfs`: memory. `mounted`: `local` with a device or share, mounted only while a container uses it.
 * `plugin`: another driver.
 */
export type VolumeKind =
  { kind: "plain" } | { kind: "bind"; hostPath: string } | { kind: "tmpfs" } | { kind: "mounted" } | { kind: "plugin" };

export function volumeKind(volume: Pick<Volume, "Driver" | "Options">): VolumeKind {
  if (volume.Driver !== "local") return { kind: "plugin" };
  const type = volume.Options?.["type"] ?? "";
  const device = volume.Options?.["device"] ?? "";
  const flags = mountFlags(volume.Options);
  if (type === "" && device === "" && flags.length === 0) return { kind: "plain" };
  if (type === "tmpfs") return { kind: "tmpfs" };
  if (flags.some((flag) => flag === "bind" || flag === "rbind") && device.startsWith("/")) {
    return { kind: "bind", hostPath: device };
  }
  return { kind: "mounted" };
}

function mountFlags(options: Volume["Options"]): string[] {
  return (options?.["o"] ?? "").split(",").filter((flag) => flag !== "");
}

/** Equal on all nodes that see the same bytes; null for a volume of this node alone. */
export function sharedIdOf(volume: Volume): string | null {
  const { kind } = volumeKind(volume);
  if (kind === "plugin") return volume.Scope === "global" ? `plugin:${volume.Driver}:${volume.Name}` : null;
  if (kind !== "mounted") return null;
  const type = (volume.Options?.["type"] ?? "").toLowerCase();
  if (!/^(nfs[34]?|cifs|smb3|smbfs|ceph|glusterfs)$/.test(type)) return null;
  const family = type.startsWith("nfs") ? "nfs" : type === "smb3" || type === "smbfs" ? "cifs" : type;
  const device = volume.Options?.["device"] ?? "";
  const address =
    mountFlags(volume.Options)
      .find((flag) => flag.startsWith("addr="))
      ?.slice(5) ?? "";
  return `${family}:${address.toLowerCase()}:${device.replace(/(.)\/+$/, "$1")}`;
}

const secretName = /pass|secret|token|credential|api.?key|private.?key|access.?key/i;

/** What of a volume goes into the run object: values that look like passwords are not in it. */
export function volumeFacts(volume: Volume): VolumeFacts {
  const options: Record<string, string> = {};
  for (const [name, value] of Object.entries(volume.Options ?? {})) {
    options[name] = secretName.test(name)
      ? "[redacted]"
      : value.replace(/(^|,)([^=,]*)=[^,]*/g, (pair, comma: string, key: string) =>
          secretName.test(key) ? `${comma}${key}=[redacted]` : pair,
        );
  }
  return { name: volume.Name, driver: volume.Driver, options, labels: volume.Labels ?? {}, scope: volume.Scope };
}

/** True where volumeFacts took something away: the volume cannot be made anew from it. */
export function isRedacted(facts: VolumeFacts): boolean {
  return Object.values(facts.options).some((value) => value.includes("[redacted]"));
}
