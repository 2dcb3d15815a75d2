// A host whose data root is a folder here and whose engine is a stand-in that behaves as a real one does towards its swarm
// directory when it starts; and which dies at a given command, before or after it took effect.
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmdirSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import type { CommandResult, SwarmHost } from "../../../controller/swarm-restore/host.ts";
import { engineJson } from "../../../shared/raft/engine-api/objects.ts";
import type { ObjectKind } from "../../../shared/raft/object-store.ts";
import type { SwarmState } from "../../../shared/raft/read-swarm.ts";
import { readSwarm } from "../../../shared/raft/read-swarm.ts";
import { memoryFiles } from "../../../shared/raft/swarm-files.ts";

export class HostDied extends Error {}

export class DyingHost implements SwarmHost {
  readonly name = "the host";
  readonly dataRoot: string;
  /** Commands so far; the host dies at the one with this number. */
  commands = 0;
  diesAt = Infinity;
  diesBefore = false;
  isEngineUp = true;
  /** True once an engine wiped the directory, or began an empty swarm in it. */
  lost = false;
  swarm: SwarmState | null = null;

  readonly #runs: typeof runReal;

  constructor(dataRoot: string, runs = runFast) {
    this.dataRoot = dataRoot;
    this.#runs = runs;
  }

  async run(argv: readonly string[], { input }: { input?: Uint8Array }): Promise<CommandResult> {
    const dies = ++this.commands === this.diesAt;
    if (dies && this.diesBefore) throw new HostDied();
    const result = argv[0] === "systemctl" ? await this.#systemctl(argv) : this.#runs(argv, input);
    if (dies) throw new HostDied();
    return result;
  }

  /** Switched on again after it died: its engine starts by itself. */
  async reboot(): Promise<void> {
    this.commands = 0;
    this.diesAt = Infinity;
    this.isEngineUp = true;
    await this.#engineStarts();
  }

  async #systemctl([, verb, ...units]: readonly string[]): Promise<CommandResult> {
    if (units.includes("docker.service")) {
      this.isEngineUp = verb === "start";
      if (this.isEngineUp) await this.#engineStarts();
    }
    return { code: 0, stdout: "", stderr: "" };
  }

  /** As dockerd does: without docker-state.json nothing; with it but without a certificate it wipes the directory. */
  async #engineStarts(): Promise<void> {
    this.swarm = null;
    const folder = join(this.dataRoot, "swarm");
    mkdirSync(folder, { recursive: true });
    if (!existsSync(join(folder, "docker-state.json"))) return;
    if (!existsSync(join(folder, "certificates/swarm-node.crt"))) {
      this.lost = true;
      rmSync(folder, { recursive: true });
      return;
    }
    const files = new Map(
      readdirSync(folder, { recursive: true, withFileTypes: true })
        .filter((entry) => entry.isFile())
        .map((entry) => join(entry.parentPath, entry.name))
        .map((path) => [path.slice(folder.length + 1), readFileSync(path)]),
    );
    this.swarm = await readSwarm(memoryFiles(files));
  }

  askEngine({ path }: { path: string }): Promise<unknown> {
    if (!this.isEngineUp) return Promise.reject(new Error("connection refused"));
    const isManager = this.swarm !== null;
    if (path === "/info") {
      const LocalNodeState = isManager ? "active" : "inactive";
      return Promise.resolve({ Swarm: { LocalNodeState, ControlAvailable: isManager, Error: "" } });
    }
    const kind = kinds[path] ?? "task";
    const shown = [...(this.swarm?.store.objects[kind].values() ?? [])].map((bytes) =>
      engineJson(kind, bytes, kind === "cluster"),
    );
    const objects = JSON.parse(JSON.stringify(shown)) as unknown[];
    return Promise.resolve(path === "/swarm" ? objects[0] : objects);
  }
}

const kinds: Record<string, ObjectKind> = {
  "/nodes": "node",
  "/services": "service",
  "/networks": "network",
  "/secrets": "secret",
  "/configs": "config",
  "/swarm": "cluster",
};

/** The commands themselves; what reaches the disk, and when, cannot be seen here. */
export function runReal(argv: readonly string[], input: Uint8Array | undefined): CommandResult {
  const [program = "", ...args] = argv;
  const { status, stdout, stderr } = spawnSync(program, args, { input: input ?? "", encoding: "utf8" });
  return { code: status ?? -1, stdout, stderr };
}

/** What the commands of a restore do, a thousand times faster than by processes. */
export function runFast(argv: readonly string[], input: Uint8Array | undefined): CommandResult {
  const paths = argv.filter((arg) => arg.startsWith("/"));
  const [first = "", second = ""] = paths;
  const done = (stdout = ""): CommandResult => ({ code: 0, stdout, stderr: "" });
  try {
    switch (argv[0]) {
      case "test":
        return { ...done(), code: existsSync(first) ? 0 : 1 };
      case "cat":
        return done(readFileSync(first, "utf8"));
      case "sh":
        writeFileSync(first, input ?? "");
        return done();
      case "mkdir":
        for (const path of paths) mkdirSync(path);
        return done();
      case "rmdir":
        rmdirSync(first);
        return done();
      case "rm":
        rmSync(first, { recursive: true, force: true });
        return done();
      case "mv":
        renameSync(first, second);
        return done();
      case "sha256sum":
        return done(paths.map((path) => createHash("sha256").update(readFileSync(path)).digest("hex")).join("\n"));
      case "sync":
        return done();
      default:
        throw new Error(`no stand-in for ${argv.join(" ")}`);
    }
  } catch (error) {
    if (error instanceof Error && "errno" in error) return { code: 1, stdout: "", stderr: error.message };
    throw error;
  }
}
