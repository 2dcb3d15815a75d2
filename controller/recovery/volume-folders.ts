// Folders of a host that volumes lie in by their options: what is in them is asked beforehand, and data that was restored
// beside is put into one only while it is empty.
import { SkepError } from "../../shared/errors.ts";
import { bindFolder, folderKey, type FolderState, type PlannedVolume } from "./planned-volumes.ts";
import type { RemoteMachine } from "./remote-machine.ts";

const copyTimeoutMs = 24 * 3_600_000;

/** The root of an ext4 filesystem has it, whatever was put there. */
const isFull = `is_full() { names=$(ls -A "$1") || exit 1; printf '%s' "$names" | grep -qvx 'lost+found'; }`;
const lookScript = `${isFull}
if [ -d "$1" ] && is_full "$1"; then echo full; else echo empty; fi`;
/**
 * $1: restored content, of a volume that is there for this alone. $2: the folder. $3: the recovery's name for this one volume.
 * What is being brought lies in a folder of that name inside, until all of it is in place. That it is stands beside the
 * content, and so goes with it: after a call that was cut off, files in the folder are known for its own. Whoever cut it off,
 * the script goes on by itself; the next one waits for it by the lock, which its cp holds too.
 */
const placeScript = `set -eu
umask 077
${isFull}
beside=$(dirname "$1")
stage="$2/.skep-$3"
cp --version | grep -q coreutils || { echo "cp is not that of coreutils, and would lose attributes" >&2; exit 8; }
exec 9>"$beside/skep-placing"
flock 9
if [ ! -e "$beside/skep-placed" ]; then
  mkdir -p "$2"
  if [ ! -d "$stage" ] && is_full "$2"; then exit 9; fi
  mkdir -p "$stage"
  if [ ! -e "$stage/whole" ]; then
    rm -rf "$stage/data"
    cp -a "$1" "$stage/data"
    sync
    : > "$stage/whole"
  fi
  if [ -d "$stage/data" ]; then
    if [ -e "$2/lost+found" ] && [ -e "$stage/data/lost+found" ]; then rmdir "$stage/data/lost+found" || true; fi
    find "$stage/data" -mindepth 1 -maxdepth 1 -exec mv -n {} "$2"/ \\;
    taken=$(cd "$stage/data"; find . -mindepth 1 -maxdepth 1 -exec test -e "$2/{}" \\; -print | head -n 5)
    if [ -n "$taken" ]; then printf '%s\\n' "$taken"; exit 7; fi
    rmdir "$stage/data"
  fi
  sync
  : > "$beside/skep-placed"
  sync
fi
rm -f "$stage/whole"
if [ -d "$stage" ]; then rmdir "$stage"; fi
chown "$(stat -c %u:%g "$1")" "$2"
chmod "00$(stat -c %a "$1")" "$2"
touch -r "$1" "$2"
sync`;

/** Of the machines that are to get such volumes. */
export async function lookIntoFolders(
  volumes: readonly PlannedVolume[],
  machines: ReadonlyMap<string, RemoteMachine>,
  signal: AbortSignal,
): Promise<Map<string, FolderState>> {
  const states = new Map<string, FolderState>();
  for (const { source, machine: name } of volumes) {
    const folder = bindFolder(source);
    const machine = machines.get(name);
    if (folder === null || machine === undefined) continue;
    const said = await machine.mustRun(["/bin/sh", "-c", lookScript, "look", folder], { signal });
    states.set(folderKey(name, folder), said.trim() === "full" ? "full" : "empty");
  }
  return states;
}

/** Copies it, with all that belongs to it. Throws SKEP_RECOVERY_FOLDER_FULL, SKEP_RECOVERY_COMMAND. */
export async function placeInFolder(
  machine: RemoteMachine,
  { content, folder, restoreId }: { content: string; folder: string; restoreId: string },
  signal: AbortSignal,
): Promise<void> {
  const argv = ["/bin/sh", "-c", placeScript, "place", content, folder, restoreId];
  const { code, stdout, stderr } = await machine.run(argv, { signal, timeoutMs: copyTimeoutMs });
  if (code === 0) return;
  const what = `the folder ${folder} on ${machine.name}`;
  if (code === 9 || code === 7) {
    const names = stdout.trim().split("\n").join(", ");
    throw new SkepError({
      code: "SKEP_RECOVERY_FOLDER_FULL",
      message:
        code === 9
          ? `${what} has files already, and nothing is written over them`
          : `${what} was given files of the same names while it was filled, and nothing is written over them: ${names}`,
      permanent: true,
      hint: "move them away and run the same command again, or leave the volume out: --without-volume NODE/NAME",
    });
  }
  throw new SkepError({
    code: "SKEP_RECOVERY_COMMAND",
    message: `on ${machine.name} the content of a volume could not be put into ${folder}: ${stderr.trim()}`,
    permanent: code === 8,
    hint: "look at that machine: is there room on its disks, and does it have coreutils, findutils and util-linux (flock)?",
  });
}
