// Skep on a machine that has Docker and sshd and nothing else: the kit comes over SSH into a folder of root's own, is
// verified by its hash, and is taken away at the end. Jobs go to agent/once.ts on standard input, with all their secrets.
import { createReadStream } from "node:fs";
import type { TaskKind } from "../../shared/contract/job.ts";
import type { TaskResultOf } from "../../shared/contract/task-result.ts";
import type { JobProgress } from "../../shared/contract/job-progress.ts";
import type { OnceInput } from "../../shared/contract/once.ts";
import { SkepError } from "../../shared/errors.ts";
import { nodeFlags } from "../../shared/node-flags.ts";
import { OnceOutcome } from "../cli/standalone/once-outcome.ts";
import type { CommandResult } from "./ssh.ts";
import type { RemoteMachine } from "./remote-machine.ts";
import type { RuntimeKit } from "./runtime-kit.ts";

/** Below it a folder for each recovery; nothing else of Skep's is there. */
const recoveryRoot = "/var/lib/skep-recovery";
const transferTimeoutMs = 3_600_000;
const probeTimeoutMs = 20_000;
const jobTimeoutMs = 7 * 24 * 3_600_000;

const lookScript = 'test -x "$1/kit/bin/node" && cat "$1/kit.sha256" 2>/dev/null || true';
const bringScript = `set -eu
umask 077
mkdir -p "$1"
rm -rf "$1/kit" "$1/kit.sha256" "$1/kit.partial"
cat > "$1/kit.tar.gz"
found=$(sha256sum "$1/kit.tar.gz" | cut -d ' ' -f 1)
if [ "$found" != "$2" ]; then rm -f "$1/kit.tar.gz"; echo "the kit arrived as $found" >&2; exit 9; fi
mkdir "$1/kit.partial"
tar -xzf "$1/kit.tar.gz" -C "$1/kit.partial"
rm -f "$1/kit.tar.gz"
mv "$1/kit.partial" "$1/kit"
printf '%s' "$2" > "$1/kit.sha256"
"$1/kit/bin/node" --version`;
/** A job whose operator's end was killed may still be at work: two at one volume would spoil it. What the first one compiled serves the others. */
const onceScript = `set -eu
umask 077
mkdir -p "$1/jobs"
if [ -f "$1/jobs/$2" ]; then
  former=$(cat "$1/jobs/$2")
  if [ "$(readlink "/proc/$former/exe" 2>/dev/null || true)" = "$1/kit/bin/node" ]; then kill -9 "$former" || true; fi
fi
echo $$ > "$1/jobs/$2"
export NODE_COMPILE_CACHE="$1/compiled"
exec "$1/kit/bin/node" ${nodeFlags.join(" ")} "$1/kit/agent/once.ts"`;

/** $2: a job's name, or `*` for all. It may end its work by itself for 10 s. */
const endScript = `set -eu
node="$1/kit/bin/node"
is_at_work() {
  exe=$(readlink "/proc/$1/exe" 2>/dev/null || true)
  [ "$exe" = "$node" ] || [ "$exe" = "$node (deleted)" ]
}
for file in "$1"/jobs/$2; do
  [ -f "$file" ] || continue
  job=$(cat "$file")
  is_at_work "$job" || continue
  kill -TERM "$job" 2>/dev/null || true
  seconds=0
  while is_at_work "$job"; do
    if [ "$seconds" -ge 20 ]; then echo "process $job does not end" >&2; exit 1; fi
    if [ "$seconds" -ge 10 ]; then kill -KILL "$job" 2>/dev/null || true; fi
    sleep 1
    seconds=$((seconds + 1))
  done
done`;

export class MachineKit {
  readonly #machine: RemoteMachine;
  readonly #folder: string;

  constructor(machine: RemoteMachine, recoveryId: string) {
    this.#machine = machine;
    this.#folder = `${recoveryRoot}/${recoveryId}`;
  }

  /** For agent/once.ts: journal and cache. */
  get stateDir(): string {
    return `${this.#folder}/state`;
  }

  async isThere(kit: RuntimeKit, signal: AbortSignal): Promise<boolean> {
    return (
      (await this.#machine.mustRun(["/bin/sh", "-c", lookScript, "look", this.#folder], { signal })) === kit.sha256
    );
  }

  /** Throws SKEP_RUNTIME_KIT_REFUSED where the machine can't run it. */
  async bring(kit: RuntimeKit, onBytes: (sentBytes: number) => void, signal: AbortSignal): Promise<void> {
    let sentBytes = 0;
    const counted = async function* (): AsyncGenerator<Uint8Array> {
      for await (const piece of createReadStream(kit.path, { highWaterMark: 256 * 1024 }) as AsyncIterable<Buffer>) {
        yield piece;
        sentBytes += piece.length;
        onBytes(sentBytes);
      }
    };
    const { code, stderr } = await this.#machine.run(
      ["/bin/sh", "-c", bringScript, "bring", this.#folder, kit.sha256],
      { signal, input: counted(), timeoutMs: transferTimeoutMs },
    );
    if (code === 0) return;
    throw new SkepError({
      code: "SKEP_RUNTIME_KIT_REFUSED",
      message: `${this.#machine.name} can't take Skep's kit: ${stderr.trim()}`,
      // What arrived damaged is sent again.
      permanent: code !== 9,
      hint: "it needs sh, tar, gzip, sha256sum, 300 MB in /var/lib, and a C library as new as Debian 11's",
    });
  }

  /** Does one job on the machine; `name` keeps two of the same apart. Its result, or its error. */
  async once<K extends TaskKind>(
    kind: K,
    name: string,
    input: OnceInput,
    options: { signal: AbortSignal; onProgress: (progress: JobProgress) => void },
  ): Promise<TaskResultOf<K>> {
    const outcome = new OnceOutcome(options.onProgress);
    const { code, stderr } = await this.#machine.run(["/bin/sh", "-c", onceScript, "once", this.#folder, name], {
      signal: options.signal,
      input: Buffer.from(JSON.stringify(input), "utf8"),
      onStdout: (piece) => {
        outcome.push(piece);
      },
      timeoutMs: jobTimeoutMs,
    });
    return outcome.conclude(kind, { code, stderr }, options.signal);
  }

  /** A job that goes on without its operator's end, or nothing. Throws SKEP_RECOVERY_COMMAND where it can't be ended. */
  async end(name: string, signal: AbortSignal): Promise<void> {
    await this.#machine.mustRun(["/bin/sh", "-c", endScript, "end", this.#folder, name], { signal });
  }

  /** Runs a program of the kit in the network of a container's process, with JSON on its standard input. */
  async inNetworkOf(pid: number, program: string, input: unknown, signal: AbortSignal): Promise<CommandResult> {
    const kit = `${this.#folder}/kit`;
    const argv = ["nsenter", `--net=/proc/${pid}/ns/net`, `${kit}/bin/node`, `${kit}/${program}`];
    const timeoutMs = probeTimeoutMs;
    return await this.#machine.run(argv, { signal, input: Buffer.from(JSON.stringify(input), "utf8"), timeoutMs });
  }

  /** With all that jobs left beside it; ends those that are at work. */
  async remove(signal: AbortSignal): Promise<void> {
    await this.end("*", signal);
    const script = 'rm -rf "$1"; rmdir "$2" 2>/dev/null || true';
    await this.#machine.mustRun(["/bin/sh", "-c", script, "remove", this.#folder, recoveryRoot], { signal });
  }
}
