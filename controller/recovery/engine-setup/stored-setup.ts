// How the engine of a lost node was set up, from the run: its daemon.json, what it knew of registries (certs.d), its
// plugins. Other files of the node's part are for people to look at.
import { z } from "zod";
import { SkepError } from "../../../shared/errors.ts";
import type { ArchivedFile } from "../../../shared/repository/open/archive-reader.ts";
import type { Json } from "../../../shared/raft/engine-api/values.ts";

export const daemonFile = "/etc/docker/daemon.json";
export const registriesFolder = "/etc/docker/certs.d";

export interface SetupFile {
  /** On the machine: below certs.d. */
  path: string;
  /** Permission bits. */
  mode: number;
  content: Buffer;
}

export interface StoredSetup {
  nodeId: string;
  hostname: string;
  /** What daemon.json said; null where there was none. */
  settings: Json | null;
  /** Permission bits of daemon.json; 0 where there was none. */
  settingsMode: number;
  files: SetupFile[];
  /** Names of the plugins that were enabled. */
  plugins: string[];
}

/** The agent takes no larger ones; all files of certs.d together stay far below. */
const largestFileBytes = 1024 * 1024;
const largestSetupBytes = 32 * 1024 * 1024;
const mostFiles = 2000;

const settingsSchema = z.record(z.string(), z.unknown());
const pluginsSchema = z.array(z.looseObject({ Name: z.string().max(1024), Enabled: z.boolean() })).max(1000);

/** `files`: of the node's part of a run. Throws SKEP_RECOVERY_SETUP_INVALID, and what reading throws. */
export async function readStoredSetup(
  node: { nodeId: string; hostname: string },
  files: AsyncIterable<ArchivedFile>,
): Promise<StoredSetup> {
  const setup: StoredSetup = { ...node, settings: null, settingsMode: 0, files: [], plugins: [] };
  let bytesLeft = largestSetupBytes;
  for await (const { path, mode, content } of files) {
    const onMachine = path.startsWith("node/files/") ? path.slice("node/files".length) : null;
    const isRegistry = onMachine?.startsWith(`${registriesFolder}/`) === true;
    if (path !== "node/plugins.json" && onMachine !== daemonFile && !isRegistry) continue;
    const bytes = await readAll(content, Math.min(largestFileBytes, bytesLeft), `${path} of ${node.hostname}`);
    bytesLeft -= bytes.length;
    if (onMachine === daemonFile) {
      setup.settings = parseSettings(bytes, `${daemonFile} of ${node.hostname}`);
      setup.settingsMode = mode & 0o777;
    } else if (onMachine !== null) setup.files.push({ path: onMachine, mode: mode & 0o777, content: bytes });
    else setup.plugins = parsePlugins(bytes, `the plugins of ${node.hostname}`);
    if (setup.files.length > mostFiles)
      throw invalid(`${node.hostname} has more than ${mostFiles} files of registries`);
  }
  return setup;
}

/** An empty file counts as no settings, as for the engine. Throws SKEP_RECOVERY_SETUP_INVALID. */
export function parseSettings(bytes: Uint8Array, what: string): Json {
  const text = Buffer.from(bytes).toString("utf8").trim();
  return text === "" ? {} : parse(settingsSchema, text, what);
}

function parsePlugins(bytes: Uint8Array, what: string): string[] {
  return (
    parse(pluginsSchema.nullable(), Buffer.from(bytes).toString("utf8"), what)
      ?.filter(({ Enabled }) => Enabled)
      .map(({ Name }) => Name) ?? []
  );
}

function parse<T>(schema: z.ZodType<T>, text: string, what: string): T {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    // The parser's message would quote the file.
    throw invalid(`${what} is no JSON`);
  }
  const parsed = schema.safeParse(json);
  if (parsed.success) return parsed.data;
  throw invalid(`${what} has another shape`);
}

async function readAll(content: AsyncIterable<Uint8Array>, maxBytes: number, what: string): Promise<Buffer> {
  const pieces: Uint8Array[] = [];
  let bytes = 0;
  for await (const piece of content) {
    bytes += piece.length;
    if (bytes > maxBytes) throw invalid(`${what} is larger than it may be`);
    pieces.push(piece);
  }
  return Buffer.concat(pieces);
}

function invalid(message: string): SkepError {
  return new SkepError({
    code: "SKEP_RECOVERY_SETUP_INVALID",
    message,
    permanent: true,
    hint: "leave --apply-node-facts out, and set the engine up by hand",
  });
}
