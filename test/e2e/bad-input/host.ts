// A Docker host of a lab, and Skep used on it as an operator without a swarm does: `skep … --standalone`, by the real CLI,
// against the lab's S3 behind a line that a test can break. Whatever the CLI says is searched for secrets.
import { execFileSync } from "node:child_process";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { expect } from "chai";
import { z } from "zod";
import { backupDocument } from "../../../controller/cli/documents.ts";
import { restoreDocument, type RestoreDocument } from "../../../controller/cli/restore-documents.ts";
import type { Part, Run } from "../../../shared/repository/run.ts";
import { runCli, type CliResult } from "../../controller/cli/run-cli.ts";
import { Lab } from "../../lab/lab.ts";
import type { LabNode } from "../../lab/node.ts";
import { FaultyProxy } from "../../lab/proxy.ts";

const volumesRoot = "/var/lib/docker/volumes";
const failureSchema = z.strictObject({
  error: z.strictObject({
    code: z.templateLiteral(["SKEP_", z.string().regex(/^[A-Z0-9_]+$/)]),
    message: z.string().min(1),
    permanent: z.boolean(),
    hint: z.string().min(1),
  }),
});

const controllerKeySchema = z.looseObject({ signingKey: z.string(), repositoryKey: z.string() });

type Failure = z.infer<typeof failureSchema>["error"];

/** A run that ended, and how the CLI ended with it. */
export interface Taken {
  code: number | null;
  run: Run;
  stderr: string;
}

export class Host {
  readonly lab: Lab;
  readonly node: LabNode;
  /** On the machine of the tests: kits, credentials, caches. */
  readonly folder: string;
  /** The line from Skep to S3. */
  readonly line: FaultyProxy;
  /** The node's / with all that is mounted in it. */
  readonly root: string;
  readonly #secrets = new Set<string>();

  private constructor(lab: Lab, folder: string, line: FaultyProxy) {
    this.lab = lab;
    this.node = lab.node(0);
    this.folder = folder;
    this.line = line;
    this.root = dirname(this.node.hostPath("/run"));
  }

  static async up(): Promise<Host> {
    const lab = await Lab.up({ nodes: 1, s3: true });
    const { hostname, port } = new URL(lab.s3.endpoint);
    const folder = await mkdtemp(join(tmpdir(), "skep-bad-input-"));
    const host = new Host(lab, folder, await FaultyProxy.to({ host: hostname, port: Number(port) }));
    const { accessKeyId, secretAccessKey } = await lab.s3.credentials();
    await host.writeCredentials("s3.json", accessKeyId, secretAccessKey);
    return host;
  }

  async down(): Promise<void> {
    await this.line.close();
    await this.lab.down();
    await rm(this.folder, { recursive: true, force: true });
  }

  /** File of credentials; its secret must never be seen again. */
  async writeCredentials(name: string, accessKeyId: string, secretAccessKey: string): Promise<string> {
    this.#secrets.add(secretAccessKey);
    await writeFile(this.file(name), JSON.stringify({ accessKeyId, secretAccessKey }), { mode: 0o600 });
    return name;
  }

  file(name: string): string {
    return join(this.folder, name);
  }

  /** The CLI in the host's folder. */
  async skep(...argv: string[]): Promise<CliResult> {
    // Each of the many calls starts in half the time.
    const env = { NODE_COMPILE_CACHE: this.file("compiled") };
    const result = await runCli(argv, { cwd: this.folder, env });
    const said = result.stdout + result.stderr;
    for (const secret of this.#secrets) {
      // The message itself must not show it either.
      if (said.includes(secret)) throw new Error(`skep ${argv[0] ?? ""} printed a secret`);
    }
    return result;
  }

  /** `skep init`: the kit's folder has the bucket's name. */
  async initBucket(bucket: string, line = this.line): Promise<void> {
    await this.lab.s3.createBucket(bucket);
    await this.init(bucket, [...this.bucketFlags(bucket, line), "--credentials", "s3.json"]);
  }

  /** Another line to S3; the caller closes it. */
  async newLine(): Promise<FaultyProxy> {
    const { hostname, port } = new URL(this.lab.s3.endpoint);
    return await FaultyProxy.to({ host: hostname, port: Number(port) });
  }

  /** Flags that send Skep to a bucket, also to another one than the kit's. */
  bucketFlags(bucket: string, { host, port } = this.line): string[] {
    const server = ["--endpoint", `http://${host}:${port}`, "--region", this.lab.s3.region, "--path-style"];
    return ["--store", `s3://${bucket}`, ...server];
  }

  async init(kit: string, store: readonly string[]): Promise<void> {
    const made = await this.skep("init", "--no-stored-kit", ...store, "--operator", "anna", "--out", kit);
    expect(made.code, made.stderr).to.equal(0);
    for (const secret of await secretsOf(this.file(kit))) this.#secrets.add(secret);
  }

  #flags(kit: string): string[] {
    const socket = this.node.dockerSocketPath;
    return ["--standalone", "--kit", kit, "--json", "--state-dir", `state-${kit}`, "--docker-socket", socket];
  }

  /** Arguments of a run of these volumes. */
  backupArgv(kit: string, volumes: string, ...more: string[]): string[] {
    return ["backup", ...this.#flags(kit), "--host-root", this.root, "--volumes", volumes, ...more];
  }

  async backup(kit: string, volumes: string, ...more: string[]): Promise<Taken> {
    return readRun(await this.skep(...this.backupArgv(kit, volumes, ...more)));
  }

  /** Of a run of one volume that must be whole. */
  async backupWhole(kit: string, volume: string): Promise<Run> {
    const { code, run, stderr } = await this.backup(kit, volume);
    expect(code, `${stderr}\n${JSON.stringify(run.parts)}`).to.equal(0);
    expect(run.status).to.equal("done");
    return run;
  }

  restoreArgv(kit: string, volume: string, ...more: string[]): string[] {
    const address = `${this.node.name}/${volume}`;
    return ["restore", "volume", address, ...this.#flags(kit), "--host-root", this.root, "--yes", ...more];
  }

  async restore(kit: string, volume: string, ...more: string[]): Promise<RestoreDocument> {
    const result = await this.skep(...this.restoreArgv(kit, volume, ...more));
    expect(result.code, result.stderr).to.equal(0);
    return restoreDocument.parse(JSON.parse(result.stdout));
  }

  /** Restores under another name, looks at what came, and removes it. */
  async restored(kit: string, volume: string, run: Run): Promise<string> {
    const name = `${volume}-restored`;
    await this.restore(kit, volume, "--run", run.id, "--as", name);
    const tree = this.tree(name);
    await this.docker("volume", "rm", name);
    return tree;
  }

  async docker(...argv: string[]): Promise<string> {
    return (await this.node.run(["docker", ...argv])).trim();
  }

  /** Where the volume's content is, seen from the tests. */
  volume(name: string, path = "."): string {
    return join(this.root, volumesRoot, name, "_data", path);
  }

  /** Makes a volume with these files. */
  async newVolume(name: string, files: Readonly<Record<string, string | Uint8Array>>): Promise<void> {
    await this.docker("volume", "create", name);
    for (const [path, content] of Object.entries(files)) {
      await mkdir(dirname(this.volume(name, path)), { recursive: true });
      await writeFile(this.volume(name, path), content);
    }
  }

  /** Every path of a volume with type, mode, owner, time, link target and size, and the SHA-256 of every file. */
  tree(volume: string): string {
    const script = `cd "$1"; find . -printf '%P|%y|%m|%U:%G|%.19T+|%l|%s\\n' | sort; find . -type f -print0 | sort -z | xargs -0r sha256sum`;
    return execFileSync("bash", ["-c", script, "-", this.volume(volume)]).toString("latin1");
  }

  /** Mounts a memory file system in the node; it is gone with the node. */
  async mountMemory(path: string, options: string): Promise<void> {
    await this.node.run(["mkdir", "-p", path]);
    await this.node.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", path]);
  }
}

/** What of a kit nobody may ever print. */
async function secretsOf(kit: string): Promise<string[]> {
  const read = (name: string): Promise<string> => readFile(join(kit, name), "utf8");
  const { signingKey, repositoryKey } = controllerKeySchema.parse(JSON.parse(await read("controller.key")));
  const identity = await read("identity-anna.txt");
  const privateKey = /-----BEGIN PRIVATE KEY-----\n(\S+)\n/.exec(await read("api.pem"));
  const found = [
    ...[signingKey, repositoryKey, (await read("api.token")).trim(), (await read("redis.password")).trim()],
    ...[
      /^AGE-SECRET-KEY-\S+$/m.exec(identity)?.[0],
      /^# root signing key: (\S+)$/m.exec(identity)?.[1],
      privateKey?.[1],
    ],
  ];
  return found.map((secret) => {
    if (secret === undefined || secret.length < 20) throw new Error(`the kit ${kit} has another shape`);
    return secret;
  });
}

export function readRun(result: CliResult): Taken {
  expect(result.stdout, result.stderr).to.not.equal("");
  const { run } = backupDocument.parse(JSON.parse(result.stdout));
  if (run === null) throw new Error(`no run: ${result.stderr}`);
  return { code: result.code, run, stderr: result.stderr };
}

export function partOf(run: Run, volume: string): Part {
  const part = run.parts.find((candidate) => candidate.kind === "volume" && candidate.volume?.name === volume);
  if (part === undefined) throw new Error(`run ${run.id} has no part for ${volume}: ${JSON.stringify(run)}`);
  return part;
}

/** The error that the CLI printed, with --json and for people alike: a code, what and where, and what to do now. */
export function failureOf(result: CliResult): Failure {
  expect(result.code, result.stderr).to.not.equal(0);
  const { error } = failureSchema.parse(JSON.parse(result.stdout));
  for (const said of [`error: ${error.message}`, `hint: ${error.hint}`, `code: ${error.code}`]) {
    expect(result.stderr).to.contain(said);
  }
  return error;
}

/** The error of a part that failed or is partial; it says what and where, and what to do now. */
export function errorOf(part: Part): NonNullable<Part["error"]> {
  const { error } = part;
  if (error === undefined) throw new Error(`${part.name} has no error`);
  expect(error.hint, error.message).to.be.a("string");
  return error;
}
