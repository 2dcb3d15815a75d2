// Looks for secrets where they must not be: on a machine's disks, in its memory's folders, in its journal, and in arguments
// and environment of its processes. Each is looked for as text and as bytes.
import { closeSync, openSync, readdirSync, readFileSync, readSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { RestoreKeys } from "../../../shared/contract/job.ts";
import { decodeControllerKey } from "../../../shared/repository/controller-key.ts";
import { decodeIdentityFile } from "../../../shared/repository/identity-file.ts";
import { collectRestoreKeys } from "../../../shared/repository/open/file-keys.ts";
import { openAsOperator } from "../../../shared/repository/open/operator.ts";
import type { Run } from "../../../shared/repository/run.ts";
import type { LabNode } from "../../lab/node.ts";
import type { Cluster } from "../cluster.ts";

export interface Secret {
  name: string;
  forms: Buffer[];
}

const pieceBytes = 4 * 1024 * 1024;
const betweenLooksMs = 100;

/** As text alone, such as a password. */
export function secretText(name: string, text: string): Secret {
  return { name, forms: [Buffer.from(text)] };
}

/** As bytes, and as the texts by which bytes travel. */
export function secretBytes(name: string, base64: string): Secret {
  const bytes = Buffer.from(base64, "base64");
  const texts = (["base64", "base64url", "hex"] as const).map((encoding) =>
    bytes.toString(encoding).replace(/=+$/, ""),
  );
  return { name, forms: [bytes, ...[...new Set(texts)].map((text) => Buffer.from(text))] };
}

/** All that opens the cluster's backups or reads its store, and what just the volumes of `run` need. */
export async function secretsOf(cluster: Cluster, run: Run): Promise<Secret[]> {
  const identity = decodeIdentityFile(readFileSync(cluster.identity, "utf8"), cluster.identity);
  const controllerKey = decodeControllerKey(
    readFileSync(join(cluster.kit, "controller.key"), "utf8"),
    "controller.key",
  );
  const store = await cluster.openStore();
  try {
    const operator = await openAsOperator(store, identity);
    const volumes = run.parts.filter(({ kind }) => kind === "volume");
    const keys = await Promise.all(volumes.map((part) => collectRestoreKeys(store, operator, part)));
    const { secretAccessKey } = await cluster.lab.s3.credentials();
    return [
      secretText("the identity", identity.identity),
      secretText(
        "the epoch's identity",
        await operator.epochIdentity(run.parts.find(({ epoch }) => epoch)?.epoch ?? 1),
      ),
      secretText("the store's secret key", secretAccessKey),
      secretBytes("the root signing key", identity.rootPrivateKey ?? ""),
      secretBytes("the repository key", controllerKey.repositoryKey),
      secretBytes("the controller's signing key", controllerKey.signingKey),
      ...keys.flatMap(ofRestore),
    ];
  } finally {
    await store.close();
  }
}

function ofRestore({ manifest, packs, chunkNameKey, sealKey }: RestoreKeys): Secret[] {
  return [
    secretBytes("the manifest's file key", manifest),
    ...Object.entries(packs).map(([pack, key]) => secretBytes(`the file key of pack ${pack}`, key)),
    secretBytes("a writer's chunk name key", chunkNameKey),
    secretBytes("a writer's seal key", sealKey),
  ];
}

/** `SECRET in FILE` for each file that was changed since `moment` (the machine's clock) and holds one, and for its journal. */
export async function secretsOnDisks(machine: LabNode, secrets: readonly Secret[], moment: string): Promise<string[]> {
  const places = ["/", "/tmp", "/run", "/dev/shm", "/var/lib/docker"];
  // Names of network namespaces have nothing to be read.
  const files = ["-type", "f", "-not", "-path", "/run/docker/netns/*"];
  const find = ["find", ...places, "-xdev", ...files, "-newerct", `@${moment}`, "-print0"];
  const paths = (await machine.run(find)).split("\0").filter((path) => path !== "");
  const inFiles = paths.flatMap((path) => namesIn(piecesOf(machine.hostPath(path)), secrets, path));
  // Long texts are compressed in journald's own files.
  const journal = Buffer.from(await machine.run(["journalctl", "--no-pager", "--all", "--output", "export"]));
  return [...inFiles, ...namesIn([journal], secrets, "the journal")];
}

function namesIn(pieces: Iterable<Buffer>, secrets: readonly Secret[], place: string): string[] {
  const found = new Set<string>();
  for (const piece of pieces) {
    for (const { name, forms } of secrets)
      if (forms.some((form) => piece.includes(form))) found.add(`${name} in ${place}`);
  }
  return [...found];
}

/** With what may be cut in two between them in both. Nothing of a file that went meanwhile. */
function* piecesOf(path: string): Generator<Buffer> {
  let file: number;
  try {
    file = openSync(path, "r");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return;
    throw error;
  }
  try {
    const overlapBytes = 1024;
    const buffer = Buffer.alloc(pieceBytes);
    for (let at = 0; ; at += pieceBytes - overlapBytes) {
      const length = readSync(file, buffer, 0, pieceBytes, at);
      yield buffer.subarray(0, length);
      if (length < pieceBytes) return;
    }
  } finally {
    closeSync(file);
  }
}

/** Looks at all processes of a machine again and again, until it is stopped. */
export class ProcessWatch {
  /** `SECRET in the arguments of PROGRAM`, or in its environment. */
  readonly found = new Set<string>();
  /** First words of the arguments that were seen. */
  readonly programs = new Set<string>();
  readonly #stop = new AbortController();
  readonly #watching: Promise<void>;

  constructor(machine: LabNode, secrets: readonly Secret[]) {
    this.#watching = this.#watch(machine.hostPath("/proc"), secrets);
    // Its failure is thrown by stop().
    this.#watching.catch(() => undefined);
  }

  async #watch(proc: string, secrets: readonly Secret[]): Promise<void> {
    const { signal } = this.#stop;
    while (!signal.aborted) {
      for (const id of readdirSync(proc).filter((name) => /^\d+$/.test(name))) this.#look(join(proc, id), secrets);
      await sleep(betweenLooksMs, undefined, { signal }).catch(() => undefined);
    }
  }

  #look(folder: string, secrets: readonly Secret[]): void {
    const command = readOfProcess(join(folder, "cmdline"));
    const program = command.toString().split("\0")[0] ?? "";
    this.programs.add(program);
    for (const place of namesIn([command], secrets, `the arguments of ${program}`)) this.found.add(place);
    const environment = readOfProcess(join(folder, "environ"));
    for (const place of namesIn([environment], secrets, `the environment of ${program}`)) this.found.add(place);
  }

  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#watching;
  }
}

/** Nothing of one that ended meanwhile. */
function readOfProcess(path: string): Buffer {
  try {
    return readFileSync(path);
  } catch (error) {
    if (["ENOENT", "ESRCH"].includes((error as NodeJS.ErrnoException).code ?? "")) return Buffer.alloc(0);
    throw error;
  }
}
