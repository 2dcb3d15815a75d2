// skep recipient: who may open the backups.
import type { Command } from "commander";
import { ageKindOf, generateAgeIdentity } from "../../../shared/repository/age.ts";
import { SkepError } from "../../../shared/errors.ts";
import type { IdentityFile } from "../../../shared/repository/identity-file.ts";
import {
  changeKeys,
  kindOf,
  refuseUnchangeable,
  planAddition,
  planRemoval,
} from "../../../shared/repository/open/key-change.ts";
import { recipientSchema, type RepositoryObject } from "../../../shared/repository/repository-object.ts";
import {
  addIdentityOption,
  addKitOption,
  addStoreOptions,
  type IdentityOptions,
  type StoreOptions,
} from "../access.ts";
import { withCatalogue } from "../catalogue-access.ts";
import { agree } from "../confirm.ts";
import type { RecipientsDocument } from "../documents.ts";
import { exitCodes, type ExitCode } from "../exit-code.ts";
import * as format from "../format.ts";
import { askNewPassphrase, writeIdentityFile } from "../identity-access.ts";
import { keyChangeDocument } from "../key-change-document.ts";
import { withRootKey } from "../root-key-access.ts";
import { describe, run, type Session } from "../session.ts";
import { facts, table } from "../table.ts";

type AccessOptions = StoreOptions & IdentityOptions;
interface AddOptions extends AccessOptions {
  recipient?: string;
  out?: string;
  withRootKey?: boolean;
  passphrase?: boolean;
  acceptForeign?: boolean;
  yes?: boolean;
}

export function register(program: Command): void {
  const recipient = program.command("recipient").description("who may open the backups");
  const list = recipient.command("list").description("list the operators who may open the backups, and the epochs");
  access(list);
  run(describe(list, "skep recipient list --kit skep-kit"), listRecipients);

  const add = recipient
    .command("add <name>")
    .description("let another operator open all backups, also those made before")
    .option("--recipient <age1...>", "his age recipient, where he has an identity already")
    .option("--out <file>", "where to write the identity that is made for him (default: identity-NAME.txt)")
    .option("--with-root-key", "give him the root signing key too: he may then add and remove operators")
    .option("--passphrase", "encrypt the identity file with a passphrase, which is asked for")
    .option("--accept-foreign", "go on though a newer repository object may have been put over")
    .option("--yes", "do it without being asked");
  access(add);
  const example = `skep recipient add bob --kit skep-kit --identity identity-anna.txt
skep recipient add bob --recipient age1… --kit skep-kit --identity identity-anna.txt`;
  run(describe(add, example), addRecipient);

  const remove = recipient
    .command("remove <name>")
    .description("let an operator open nothing that is backed up from now on")
    .option("--accept-foreign", "go on though a newer repository object may have been put over")
    .option("--yes", "do it without being asked");
  access(remove);
  run(describe(remove, "skep recipient remove bob --kit skep-kit --identity identity-anna.txt"), removeRecipient);
}

function access(command: Command): Command {
  return addIdentityOption(addStoreOptions(addKitOption(command)));
}

async function listRecipients(session: Session, options: AccessOptions): Promise<ExitCode> {
  const { output } = session;
  return await withCatalogue(session, options, ({ repository }) => {
    const { recipients, epoch, version, repositoryId } = repository;
    const document: RecipientsDocument = { repositoryId, version, epoch: epoch.number, recipients };
    output.document(document);
    const columns = [
      { head: "NAME", cell: ({ name }: Row) => format.visible(name) },
      { head: "KIND", cell: ({ recipient }: Row) => ageKindOf(recipient) },
      { head: "ROOT KEY", cell: ({ holdsRootKey }: Row) => (holdsRootKey ? "yes" : "no") },
      { head: "RECIPIENT", cell: ({ recipient }: Row) => format.clip(recipient, 62) },
    ];
    output.print(table(output, columns, recipients));
    output.say(`${format.plural(recipients.length, "operator")}; epoch ${epoch.number}, key version ${version}`);
    return Promise.resolve(exitCodes.done);
  });
}
type Row = RepositoryObject["recipients"][number];

const namePattern = /^[a-z0-9][a-z0-9._-]{0,31}$/;

function usage(message: string, hint: string): SkepError {
  return new SkepError({ code: "SKEP_CLI_USAGE", message, permanent: true, hint });
}

async function addRecipient(session: Session, options: AddOptions, name: string): Promise<ExitCode> {
  if (!namePattern.test(name)) {
    throw usage("NAME takes lower-case letters, digits, dots and dashes", "for example skep recipient add bob");
  }
  const own = options.recipient;
  if (own !== undefined && !recipientSchema.safeParse(own).success) {
    throw usage(`${JSON.stringify(own)} is no age recipient`, 'it starts with "age1"; `age-keygen -y FILE` tells it');
  }
  if (own !== undefined && (options.out !== undefined || options.passphrase === true || options.withRootKey === true)) {
    throw usage(
      "with --recipient no identity is written, so --out, --passphrase and --with-root-key mean nothing",
      "leave --recipient away, and an identity is made",
    );
  }
  const { output, signal } = session;
  return await withRootKey(session, options, async ({ store, operator, identityFile, rootPrivateKey }) => {
    const before = operator.repositoryObject;
    const made = own === undefined ? await generateAgeIdentity(kindOf(before.recipients)) : null;
    const recipient = own ?? made?.recipient ?? "";
    const holdsRootKey = options.withRootKey === true;
    const added = planAddition(before, { name, recipient, holdsRootKey });
    const change = { ...added, acceptForeign: options.acceptForeign ?? false };
    await refuseUnchangeable(store, before, change.acceptForeign, signal);
    const path = options.out ?? `identity-${name}.txt`;
    output.say(
      facts(output.styleWords, [
        ["add", `${name}, ${format.clip(recipient, 62)}`],
        ["opens", "every backup of this repository, also those made before"],
        ["may", holdsRootKey ? "add and remove operators too (root signing key)" : "not add or remove operators"],
        ["writes", `the keys of ${format.plural(before.epoch.number, "epoch")} anew; no backup is touched`],
        ["identity", made === null ? "his own" : `${path}${options.passphrase === true ? ", with a passphrase" : ""}`],
      ]),
    );
    if (!(await agree(session, options.yes ?? false, `Let ${name} open every backup?`))) {
      return unchanged(session, before);
    }
    if (made !== null) {
      // Before anything counts: an identity that was lost here would stay among the recipients, and open nothing.
      const file: IdentityFile = {
        ...identityFile,
        name,
        createdAt: new Date().toISOString(),
        ...made,
        rootPrivateKey: holdsRootKey ? rootPrivateKey : null,
      };
      await writeIdentityFile(path, file, options.passphrase === true ? await askNewPassphrase(session) : null);
    }
    const after = await changeKeys(store, operator, rootPrivateKey, change, signal);
    report(session, after, made === null ? null : path);
    if (made === null) {
      output.say(`${name} puts these lines into his identity file, above the key:`);
      output.say(`# name: ${name}\n# created: ${new Date().toISOString()}\n# repository: ${after.repositoryId}`);
      output.say(`# public key: ${recipient}\n# root public key: ${after.rootPublicKey}`);
    } else output.say(`hand ${path} to ${name}, by a way that nobody else sees, and delete it here`);
    return exitCodes.done;
  });
}

async function removeRecipient(
  session: Session,
  options: AccessOptions & { acceptForeign?: boolean; yes?: boolean },
  name: string,
): Promise<ExitCode> {
  const { output, signal } = session;
  return await withRootKey(session, options, async ({ store, operator, rootPrivateKey }) => {
    const before = operator.repositoryObject;
    const change = { ...planRemoval(before, name), acceptForeign: options.acceptForeign ?? false };
    const removed = before.recipients.find((recipient) => recipient.name === name);
    const rows: [string, string][] = [
      ["remove", name],
      ["from now on", `epoch ${before.epoch.number + 1} begins; what is backed up in it ${name} does not open`],
      ["still opens", "everything until now: what he could read once, he may have copied"],
      ["", "so also the parts of later backups that did not change since"],
      ["still reads", "names, sizes and times of runs, later ones too (the repository key stays)"],
      ["therefore", "take away his credentials of the store as well"],
    ];
    if (removed?.holdsRootKey === true) {
      rows.push([
        "beware",
        "he has the root signing key: until `skep key rotate root` he can make himself operator again",
      ]);
    }
    rows.push(["the others", `${change.recipients.map((recipient) => recipient.name).join(", ")} open old and new`]);
    output.say(facts(output.styleWords, rows));
    if (!(await agree(session, options.yes ?? false, `Remove ${name}?`))) return unchanged(session, before);
    const after = await changeKeys(store, operator, rootPrivateKey, change, signal);
    report(session, after, null);
    output.say("the controller takes the new epoch within a minute, each agent with its next job: nothing to restart");
    return exitCodes.done;
  });
}

function unchanged({ output }: Session, before: RepositoryObject): ExitCode {
  output.document(keyChangeDocument(before, false, null));
  output.say("nothing was changed");
  return exitCodes.done;
}

function report({ output }: Session, after: RepositoryObject, identityFile: string | null): void {
  output.document(keyChangeDocument(after, true, identityFile));
  output.print(
    `key version ${after.version}: ${format.plural(after.recipients.length, "operator")}, epoch ${after.epoch.number}`,
  );
}
