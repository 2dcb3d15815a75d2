// What locks a file of `skep swarm backup`, and what opens it: recipients and identities, or a passphrase. Passphrases
// come from a file or a hidden prompt, never from argv.
import type { Command } from "commander";
import { SkepError } from "../../../shared/errors.ts";
import { makeAgeHeader, type AgeHeader } from "../../../shared/repository/age.ts";
import { openAgeHeader, recipientOf } from "../../../shared/repository/open/age.ts";
import {
  isPassphraseHeader,
  makePassphraseHeader,
  openPassphraseHeader,
  shortestPassphrase,
} from "../../../shared/repository/passphrase.ts";
import { addKitOption, addStoreOptions, needControllerKey, type StoreOptions } from "../access.ts";
import { withControllerKey } from "../catalogue-access.ts";
import { readIdentityText } from "../identity-access.ts";
import { readInputFile } from "../input-file.ts";
import { findKit } from "../kit.ts";
import { askSecret } from "../secret-question.ts";
import type { Session } from "../session.ts";

export interface LockOptions extends StoreOptions {
  recipient?: string[];
  passphrase?: boolean;
  passphraseFile?: string;
}

export interface OpenOptions {
  kit?: string;
  identity?: string;
  identityPassphraseFile?: string;
  passphraseFile?: string;
  /** What that file says, where it was read already. */
  passphrase?: string;
}

export function addLockOptions(command: Command): Command {
  command
    .option(
      "--recipient <age1…>",
      "encrypt to this age recipient; may be given several times (default: the operators of the kit's repository)",
      (value: string, former: string[] | undefined) => [...(former ?? []), value],
    )
    .option("--passphrase", "encrypt with a passphrase instead, asked for twice")
    .option("--passphrase-file <file>", "encrypt with the passphrase in this file; - reads standard input");
  return addStoreOptions(addKitOption(command));
}

export function addOpenOptions(command: Command): Command {
  return addKitOption(command)
    .option("--identity <file>", "age identity file that opens it (default: the kit's, if it is still there)")
    .option(
      "--identity-passphrase-file <file>",
      "the identity's passphrase, where it has one and no terminal can be asked",
    )
    .option("--passphrase-file <file>", "file with its passphrase (default: it is asked for); - reads standard input");
}

/** Throws SKEP_RECIPIENT_INVALID, SKEP_CLI_USAGE for a short or an unequal passphrase, and for two ways at once. */
export async function lockFile(session: Session, options: LockOptions): Promise<AgeHeader> {
  const { recipient, passphrase, passphraseFile } = options;
  if ([recipient, passphrase, passphraseFile].filter((given) => given !== undefined).length > 1) {
    throw usage(
      "recipients and passphrases exclude each other",
      "give one of --recipient, --passphrase, --passphrase-file",
    );
  }
  if (recipient !== undefined) return await makeAgeHeader(recipient);
  if (passphrase === undefined && passphraseFile === undefined) return await lockForOperators(session, options);
  const text = passphraseFile === undefined ? await askTwice(session) : await readPassphrase(passphraseFile);
  if (text.length < shortestPassphrase) {
    throw usage(
      `the passphrase is shorter than ${shortestPassphrase} letters`,
      "five random words are good and easy to type",
    );
  }
  return await makePassphraseHeader(text);
}

async function lockForOperators(session: Session, options: StoreOptions): Promise<AgeHeader> {
  if ((await findKit(options.kit)) === null) {
    throw usage("nobody is named who may open the file", "give --recipient age1…, --passphrase, or --kit FOLDER");
  }
  return await withControllerKey(session, options, await needControllerKey(options), ({ repository }) =>
    makeAgeHeader(repository.recipients.map(({ recipient }) => recipient)),
  );
}

/** Opens a header by the identity or the passphrase, as it asks for. */
export function fileOpener(
  session: Session,
  options: OpenOptions,
  place: string,
): (header: Uint8Array) => Promise<Uint8Array> {
  return async (header) => {
    if (isPassphraseHeader(header)) {
      const { passphraseFile, passphrase } = options;
      const asked = async (): Promise<string> =>
        passphraseFile === undefined ? await ask(session, "Passphrase") : await readPassphrase(passphraseFile);
      const text = passphrase ?? (await asked());
      return await openPassphraseHeader(header, text, place);
    }
    return await openAgeHeader(header, await readIdentities(session, options), place);
  };
}

/** All identities of an age identity file; a Skep one is one. */
async function readIdentities(session: Session, options: OpenOptions): Promise<string[]> {
  const path = options.identity ?? (await findKit(options.kit))?.path("identityFile");
  if (path === undefined) throw usage("no identity is named", "give --identity FILE with the AGE-SECRET-KEY line");
  const text = await readIdentityText(session, path, options.identityPassphraseFile);
  const identities = text.split(/\r?\n/).filter((line) => line !== "" && !line.startsWith("#"));
  if (identities.length === 0) throw usage(`${path} holds no age identity`, "it should have an AGE-SECRET-KEY line");
  for (const identity of identities) await recipientOf(identity, path);
  return identities;
}

export async function readPassphrase(path: string): Promise<string> {
  return (await readInputFile(path, "the passphrase file")).replace(/\r?\n$/, "");
}

async function askTwice(session: Session): Promise<string> {
  const text = await ask(session, "Passphrase of the file");
  if (text !== (await ask(session, "The same again"))) {
    throw usage("the two passphrases are not the same", "nothing was written; run it again");
  }
  return text;
}

async function ask({ output, signal }: Session, message: string): Promise<string> {
  if (!output.interactive) {
    throw usage("there is no terminal to ask for the passphrase", "give --passphrase-file FILE");
  }
  try {
    return await askSecret(message, signal);
  } catch (error) {
    signal.throwIfAborted();
    if (error instanceof Error && error.name === "ExitPromptError") {
      throw new SkepError({ code: "SKEP_CLI_INTERRUPTED", message: "interrupted at the question", permanent: true });
    }
    throw error;
  }
}

function usage(message: string, hint: string): SkepError {
  return new SkepError({ code: "SKEP_CLI_USAGE", message, permanent: true, hint });
}
