// Files that the operator names: read whole, bounded, with an error that names the file and never its content.
import { open } from "node:fs/promises";
import type { z } from "zod";
import { SkepError } from "../../shared/errors.ts";
import { faultPlaces } from "../../shared/fault-list.ts";

const maxInputBytes = 1024 * 1024;

/** `what` says what the file should be, e.g. "the identity file"; `-` reads standard input. Throws SKEP_CLI_FILE_UNREADABLE. */
export async function readInputFile(path: string, what: string, hint?: string): Promise<string> {
  return (await readInputBytes(path, what, hint)).toString("utf8");
}

/** The same, for what need not be text. */
export async function readInputBytes(path: string, what: string, hint?: string): Promise<Buffer> {
  const unreadable = (why: string, cause?: unknown): SkepError =>
    new SkepError({
      code: "SKEP_CLI_FILE_UNREADABLE",
      message: `${what} ${path === "-" ? "on standard input" : path} cannot be read: ${why}`,
      permanent: true,
      ...(hint === undefined ? {} : { hint }),
      cause,
    });
  if (path === "-") return await readAll(process.stdin, unreadable);
  let file;
  try {
    file = await open(path, "r");
  } catch (error) {
    throw unreadable(whyOf(error), error);
  }
  try {
    return await readAll(file.createReadStream({ autoClose: false }), unreadable);
  } catch (error) {
    throw error instanceof SkepError ? error : unreadable(whyOf(error), error);
  } finally {
    await file.close();
  }
}

async function readAll(
  stream: AsyncIterable<Buffer | string>,
  unreadable: (why: string) => SkepError,
): Promise<Buffer> {
  const pieces: Buffer[] = [];
  let sizeBytes = 0;
  for await (const piece of stream) {
    const bytes = Buffer.from(piece);
    sizeBytes += bytes.length;
    if (sizeBytes > maxInputBytes) throw unreadable("it is larger than 1 MiB");
    pieces.push(bytes);
  }
  return Buffer.concat(pieces);
}

function whyOf(error: unknown): string {
  const code = (error as NodeJS.ErrnoException).code;
  if (code === "ENOENT") return "there is no such file";
  if (code === "EACCES") return "permission denied";
  if (code === "EISDIR") return "it is a folder";
  return error instanceof Error ? error.message : String(error);
}

/** As readInputFile, parsed and checked. Throws SKEP_CLI_FILE_INVALID, which names the wrong fields and no value. */
export async function readJsonFile<T>(path: string, what: string, schema: z.ZodType<T>): Promise<T> {
  const text = await readInputFile(path, what);
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    value = undefined;
  }
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  throw new SkepError({
    code: "SKEP_CLI_FILE_INVALID",
    message: `${what} ${path} has another shape: wrong at ${faultPlaces(parsed.error)}`,
    permanent: true,
    hint: "give the file as `skep init` wrote it",
  });
}
