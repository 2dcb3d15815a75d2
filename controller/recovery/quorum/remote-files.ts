// The swarm directory of another machine, over SSH: each file comes whole and compressed, since a log ends in up to 64 MB of
// zeros, and is read from memory. The engine there goes on meanwhile; who reads checks what he got (shared/raft/copy.ts).
import { promisify } from "node:util";
import { gunzip } from "node:zlib";
import { SkepError } from "../../../shared/errors.ts";
import type { SwarmFiles } from "../../../shared/raft/swarm-files.ts";
import type { RemoteMachine } from "../remote-machine.ts";

const inflate = promisify(gunzip);

const missing = 3;
const listScript = `[ -d "$1" ] || exit ${missing}
cd "$1"
for name in *; do if [ -f "$name" ] && [ ! -L "$name" ]; then printf '%s\\n' "$name"; fi; done`;
const readScript = `if [ ! -f "$1" ] || [ -L "$1" ]; then exit ${missing}; fi
exec gzip -1 -c -- "$1"`;

/** A log segment has 64 MB, a snapshot at most 512 MB; compressed as much, where nothing compresses. */
const longestFileBytes = 600 * 1024 * 1024;
const readTimeoutMs = 600_000;

/** `directory`: absolute, of the machine. What its methods throw: SKEP_RECOVERY_COMMAND, SKEP_RAFT_UNREADABLE, what SSH throws. */
export function remoteSwarmFiles(machine: RemoteMachine, directory: string, signal: AbortSignal): SwarmFiles {
  return {
    async list(folder) {
      const { code, stdout, stderr } = await machine.run(
        ["/bin/sh", "-c", listScript, "list", `${directory}/${folder}`],
        {
          signal,
        },
      );
      if (code === missing) return null;
      if (code !== 0) throw unreadable(machine, folder, stderr);
      return stdout.split("\n").filter((name) => name !== "");
    },
    async open(path) {
      const pieces: Buffer[] = [];
      let heldBytes = 0;
      const { code, stderr } = await machine.run(["/bin/sh", "-c", readScript, "read", `${directory}/${path}`], {
        signal,
        timeoutMs: readTimeoutMs,
        onStdout: (piece) => {
          heldBytes += piece.length;
          if (heldBytes <= longestFileBytes) pieces.push(piece);
        },
      });
      if (code === missing) return null;
      if (code !== 0) throw unreadable(machine, path, stderr);
      if (heldBytes > longestFileBytes) throw unreadable(machine, path, "it is too large");
      const bytes = await inflate(Buffer.concat(pieces), { maxOutputLength: longestFileBytes }).catch(
        (error: unknown) => {
          throw unreadable(machine, path, error instanceof Error ? error.message : String(error));
        },
      );
      return {
        read: (position, lengthBytes) => Promise.resolve(bytes.subarray(position, position + lengthBytes)),
        close: () => Promise.resolve(),
      };
    },
  };
}

function unreadable({ name }: RemoteMachine, path: string, why: string): SkepError {
  return new SkepError({
    code: "SKEP_RAFT_UNREADABLE",
    message: `cannot read ${path} of the swarm directory of ${name}: ${why.trim()}`,
    permanent: false,
    hint: "it needs root, sh and gzip there",
  });
}
