// Identity files where they lie: in clear, or encrypted with a passphrase (`age -p`, armoured or not).
import { open, readFile, unlink } from "node:fs/promises";
import { encryptWithPassphrase } from "../../shared/repository/age.ts";
import { SkepError } from "../../shared/errors.ts";
import { decodeIdentityFile, encodeIdentityFile, type IdentityFile } from "../../shared/repository/identity-file.ts";
import { decryptWithPassphrase, isAgeFile, recipientOf } from "../../shared/repository/open/age.ts";
import { readInputBytes, readInputFile } from "./input-file.ts";
import { askSecret } from "./secret-question.ts";
import type { Session } from "./session.ts";

export interface KeptIdentity {
  file: IdentityFile;
  /** Null: it lies in clear. */
  passphrase: string | null;
}

/** `path`: `-` is standard input. The passphrase comes from the file, else from the terminal. */
export async function readIdentityFile(
  session: Session,
  path: string,
  passphraseFile: string | undefined,
): Promise<IdentityFile> {
  return (await readKeptIdentity(session, path, passphraseFile)).file;
}

/** The same, with what it is encrypted with. */
export async function readKeptIdentity(
  session: Session,
  path: string,
  passphraseFile: string | undefined,
): Promise<KeptIdentity> {
  const { text, passphrase } = await readKeptText(session, path, passphraseFile);
  const file = decodeIdentityFile(text, path);
  // Now, while it is known which file it was: a key that was cut short still looks like one.
  await recipientOf(file.identity, path);
  return { file, passphrase };
}

/** The text alone, of any age identity file. */
export async function readIdentityText(
  session: Session,
  path: string,
  passphraseFile: string | undefined,
): Promise<string> {
  return (await readKeptText(session, path, passphraseFile)).text;
}

async function readKeptText(
  session: Session,
  path: string,
  passphraseFile: string | undefined,
): Promise<{ text: string; passphrase: string | null }> {
  const hint = "bring the identity file from where it is kept and name it with --identity FILE";
  const bytes = await readInputBytes(path, "the identity file", hint);
  if (!isAgeFile(bytes)) return { text: bytes.toString("utf8"), passphrase: null };
  const passphrase = await askPassphrase(session, path, passphraseFile);
  const text = Buffer.from(await decryptWithPassphrase(bytes, passphrase, path)).toString("utf8");
  return { text, passphrase };
}

/** An identity file that was written with that passphrase; null where there is none. */
export async function readIdentityIfThere(path: string, passphrase: string | null): Promise<IdentityFile | null> {
  let bytes: Buffer;
  try {
    bytes = await readFile(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return null;
    throw error;
  }
  const isEncrypted = passphrase !== null && isAgeFile(bytes);
  const text = isEncrypted ? Buffer.from(await decryptWithPassphrase(bytes, passphrase, path)) : bytes;
  return decodeIdentityFile(text.toString("utf8"), path);
}

async function askPassphrase(
  { output, signal }: Session,
  path: string,
  passphraseFile: string | undefined,
): Promise<string> {
  if (passphraseFile !== undefined) {
    return (await readInputFile(passphraseFile, "the passphrase file")).replace(/\r?\n$/, "");
  }
  if (output.interactive) {
    return await askSecret(`Passphrase of ${path}`, signal);
  }
  throw new SkepError({
    code: "SKEP_CLI_USAGE",
    message: `${path} is encrypted with a passphrase, and there is no terminal to ask for it`,
    permanent: true,
    hint: "give it in a file: --identity-passphrase-file FILE",
  });
}

const leastPassphraseLength = 12;

/** Asked twice on a terminal. */
export async function askNewPassphrase({ output, signal }: Session): Promise<string> {
  if (!output.interactive) {
    throw new SkepError({
      code: "SKEP_CLI_USAGE",
      message: "there is no terminal to ask for a new passphrase",
      permanent: true,
      hint: "do it on a terminal, or encrypt the identity file yourself: age -p -a -o FILE.age FILE",
    });
  }
  const validate = (text: string): true | string =>
    text.length >= leastPassphraseLength || `at least ${leastPassphraseLength} characters; five random words are good`;
  const passphrase = await askSecret("New passphrase of the identity file", signal, validate);
  const isSame = (text: string): true | string => text === passphrase || "that is another one";
  await askSecret("Once more", signal, isSame);
  return passphrase;
}

/** The file's text: in clear, or encrypted and armoured. */
export async function encodeForKeeping(file: IdentityFile, passphrase: string | null): Promise<string> {
  const text = encodeIdentityFile(file);
  return passphrase === null ? text : await encryptWithPassphrase(Buffer.from(text, "utf8"), passphrase);
}

/** Durably, for its owner alone. Throws SKEP_CLI_FILE_UNWRITABLE, also where there is such a file. */
export async function writeIdentityFile(path: string, file: IdentityFile, passphrase: string | null): Promise<void> {
  const text = await encodeForKeeping(file, passphrase);
  try {
    const handle = await open(path, "wx", 0o600);
    try {
      await handle.writeFile(text);
      await handle.sync();
    } catch (error) {
      await unlink(path);
      throw error;
    } finally {
      await handle.close();
    }
  } catch (error) {
    throw new SkepError({
      code: "SKEP_CLI_FILE_UNWRITABLE",
      message: `the identity file ${path} cannot be written: ${error instanceof Error ? error.message : String(error)}`,
      permanent: true,
      hint: "name another file with --out",
      cause: error,
    });
  }
}
