// The kit folder that `skep init` writes: what the stack's secrets and configs are made of, what the CLI needs, and
// the operator's identity, which then goes offline. cli.json says which file is what, relative to itself.
import { mkdir, open, readdir, rename, rm, rmdir, stat, unlink } from "node:fs/promises";
import { basename, join, resolve } from "node:path";
import { z } from "zod";
import { SkepError } from "../../shared/errors.ts";
import { maxApiAddresses } from "./api-client.ts";
import { readJsonFile } from "./input-file.ts";

const fileName = z.string().regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$/);

export const kitContextSchema = z.strictObject({
  format: z.literal(1),
  /** `https://HOST:PORT` of each manager where the controller may be. */
  api: z
    .array(z.url({ protocol: /^https$/ }))
    .min(1)
    .max(maxApiAddresses),
  tokenFile: fileName,
  certificateFile: fileName,
  controllerKeyFile: fileName,
  clusterFile: fileName,
  storeCredentialsFile: fileName,
  /** May have been moved offline since. */
  identityFile: fileName,
});
export type KitContext = z.infer<typeof kitContextSchema>;

export interface Kit {
  folder: string;
  context: KitContext;
  /** Absolute path of one of its files. */
  path(name: Exclude<keyof KitContext, "format" | "api">): string;
}

export const kitFileNames = {
  context: "cli.json",
  controllerKey: "controller.key",
  cluster: "skep.yaml",
  agentStore: "agent-store.json",
  controllerStore: "controller-store.json",
  redisPassword: "redis.password",
  apiToken: "api.token",
  apiPem: "api.pem",
  apiCertificate: "api.crt",
  recoveryCard: "recovery-card.txt",
  identity: (operator: string): string => `identity-${operator}.txt`,
} as const;

const defaultFolder = "skep-kit";

/** The folder of --kit, else of SKEP_KIT, else ./skep-kit where that is a kit; null without any. */
export async function findKit(given: string | undefined): Promise<Kit | null> {
  const named = given ?? process.env["SKEP_KIT"];
  if (named !== undefined) return await openKit(named);
  const here = await stat(join(defaultFolder, kitFileNames.context)).catch(absentIsNull);
  return here === null ? null : await openKit(defaultFolder);
}

function absentIsNull(error: unknown): null {
  if (["ENOENT", "ENOTDIR", "EACCES"].includes((error as NodeJS.ErrnoException).code ?? "")) return null;
  throw error;
}

async function openKit(given: string): Promise<Kit> {
  const folder = resolve(given);
  const context = await readJsonFile(join(folder, kitFileNames.context), "the kit's file", kitContextSchema);
  return { folder, context, path: (name) => join(folder, context[name]) };
}

/** Makes the folder, for its owner alone. Throws SKEP_KIT_EXISTS where there is one that is not empty. */
export async function reserveKitFolder(folder: string): Promise<void> {
  try {
    await mkdir(folder, { recursive: true, mode: 0o700 });
    if ((await readdir(folder)).length === 0) return;
  } catch (error) {
    throw new SkepError({
      code: "SKEP_KIT_UNWRITABLE",
      message: `the kit folder ${folder} cannot be made: ${error instanceof Error ? error.message : String(error)}`,
      permanent: true,
      hint: "name another one with --out",
      cause: error,
    });
  }
  throw new SkepError({
    code: "SKEP_KIT_EXISTS",
    message: `the folder ${folder} is not empty; \`skep init\` overwrites no keys`,
    permanent: true,
    hint: "name another one with --out, or move the old kit away",
  });
}

/** Undoes reserveKitFolder where nothing was written. */
export async function releaseKitFolder(folder: string): Promise<void> {
  await rmdir(folder);
}

/** Writes all files durably, each for its owner alone, in the order given: keys first, for they exist nowhere else. */
export async function writeKit(folder: string, files: ReadonlyMap<string, string>): Promise<void> {
  for (const [name, text] of files) {
    const partial = join(folder, `.${name}.partial`);
    // Of one that was killed.
    await rm(partial, { force: true });
    const file = await open(partial, "wx", 0o600);
    try {
      await file.writeFile(text);
      await file.sync();
    } catch (error) {
      await unlink(partial);
      throw error;
    } finally {
      await file.close();
    }
    await rename(partial, join(folder, basename(name)));
  }
  const directory = await open(folder, "r");
  try {
    await directory.sync();
  } finally {
    await directory.close();
  }
}
