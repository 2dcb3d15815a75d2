// What a Docker volume really is, told from its driver and options: where its bytes lie decides how they are read, and
// whether and how they are restored.
import type { VolumeFacts } from "./repository/run.ts";

/** As the engine names them. */
export interface DriverAndOptions {
  Driver: string;
  Options?: Readonly<Record<string, string>> | null | undefined;
}

/**
 * `plain`: a folder under the data root, always there. `bind`: `local` with `o=bind`, a folder elsewhere on the
 * host. `tmpfs`: memory. `mounted`: `local` with a device or share, mounted only while a container uses it.
 * `plugin`: another driver.
 */
export type VolumeKind =
  { kind: "plain" } | { kind: "bind"; hostPath: string } | { kind: "tmpfs" } | { kind: "mounted" } | { kind: "plugin" };

export function volumeKind(volume: DriverAndOptions): VolumeKind {
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

/** Of the option `o`. */
export function mountFlags(options: DriverAndOptions["Options"]): string[] {
  return (options?.["o"] ?? "").split(",").filter((flag) => flag !== "");
}

/** Stands in a run for what looked like a password. */
export const redacted = "[redacted]";

/** True where something was taken away from the options: the volume cannot be made anew from them. */
export function isRedacted({ options }: Pick<VolumeFacts, "options">): boolean {
  return Object.values(options).some((value) => value.includes(redacted));
}
