// Which volumes are one thing that several nodes see, and what of a volume stands in a run.
import type { VolumeFacts } from "../../shared/repository/run.ts";
import { mountFlags, redacted, volumeKind } from "../../shared/volume-kind.ts";
import type { Volume } from "../docker-objects.ts";

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
      ? redacted
      : value.replace(/(^|,)([^=,]*)=[^,]*/g, (pair, comma: string, key: string) =>
          secretName.test(key) ? `${comma}${key}=${redacted}` : pair,
        );
  }
  return { name: volume.Name, driver: volume.Driver, options, labels: volume.Labels ?? {}, scope: volume.Scope };
}
