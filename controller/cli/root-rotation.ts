// skep key rotate root. The new key lies beside the identity file as FILE.next before anything in the store changes, and
// takes its place last:
//
//   FILE.next → list of kits, by the new key → keys/ → repository object (from here on it is done) → the kit's files → FILE
//
// Killed before the object, nothing has changed, and the same command takes FILE.next up; killed after it, it does the rest.
import { link, readFile, realpath, rename, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import { SkepError } from "../../shared/errors.ts";
import { generateAgeIdentity } from "../../shared/repository/age.ts";
import type { IdentityFile } from "../../shared/repository/identity-file.ts";
import { changeKeys, kindOf, refuseUnchangeable, planRootRotation } from "../../shared/repository/open/key-change.ts";
import { openAsOperator } from "../../shared/repository/open/operator.ts";
import { checkRootKey, type RepositoryObject } from "../../shared/repository/repository-object.ts";
import { readRepositoryObject } from "../../shared/repository/repository-reader.ts";
import { generateSigningKeyPair } from "../../shared/repository/signature.ts";
import { flushFolder } from "../../shared/store/durable-file.ts";
import type { Store } from "../../shared/store/store.ts";
import { resignKits } from "../recovery/stored-kits.ts";
import type { IdentityOptions, StoreOptions } from "./access.ts";
import { readingOptions, withStore } from "./catalogue-access.ts";
import { agree } from "./confirm.ts";
import { exitCodes, type ExitCode } from "./exit-code.ts";
import { readIdentityIfThere, readKeptIdentity, writeIdentityFile } from "./identity-access.ts";
import { findKit, kitFileNames, writeKit, type Kit } from "./kit.ts";
import { keyChangeDocument } from "./key-change-document.ts";
import { needRootKey } from "./root-key-access.ts";
import type { Session } from "./session.ts";
import { facts } from "./table.ts";

interface RootOptions extends StoreOptions, IdentityOptions {
  newIdentity?: boolean;
  acceptForeign?: boolean;
  yes?: boolean;
}

export async function rotateRoot(session: Session, options: RootOptions): Promise<ExitCode> {
  const { output } = session;
  const kit = await findKit(options.kit);
  const path = await pathOfIdentity(options, kit);
  const kept = await readKeptIdentity(session, path, options.identityPassphraseFile);
  const rootPrivateKey = needRootKey(kept.file);
  const nextPath = `${path}.next`;
  const waiting = await readIdentityIfThere(nextPath, kept.passphrase);
  return await withStore(session, options, async (_access, store) => {
    const before = await readRepositoryObject(store, kept.file.rootPublicKey, readingOptions(session));
    const isDone = waiting !== null && waiting.rootPublicKey === before.rootPublicKey;
    if (!isDone) {
      checkRootKey(before, rootPrivateKey);
      await refuseUnchangeable(store, before, options.acceptForeign ?? false, session.signal);
    }
    if (waiting !== null && options.newIdentity === true && waiting.recipient === kept.file.recipient) {
      throw unfit(
        `${nextPath} is of an interrupted rotation that keeps the age key`,
        "finish that one without --new-identity, then rotate again with it",
      );
    }
    const next = waiting ?? (await makeNext(kept.file, before, options.newIdentity === true));
    sayPlan(session, before, kept.file, next, isDone);
    if (!(await agree(session, options.yes ?? false, "Give the repository a new root key?"))) {
      output.document(keyChangeDocument(before, false, null));
      output.say("nothing was changed");
      return exitCodes.done;
    }
    if (waiting === null) await writeWhole(nextPath, next, kept.passphrase);
    const after = isDone
      ? before
      : await rotate(session, store, { ...kept.file, rootPrivateKey }, next, options.acceptForeign ?? false);
    const followed = kit === null ? [] : await letKitFollow(kit, kept.file.rootPublicKey, after.rootPublicKey);
    const present = await readIdentityIfThere(nextPath, kept.passphrase);
    if (present?.rootPublicKey !== after.rootPublicKey) throw underWay(nextPath);
    await rename(nextPath, path);
    await flushFolder(dirname(path));
    output.document(keyChangeDocument(after, true, path));
    output.print(`key version ${after.version}: the root key is ${after.rootPublicKey}`);
    sayWhatIsLeft(session, path, followed);
    return exitCodes.done;
  });
}

/** Where the file itself lies: it is replaced. */
async function pathOfIdentity(options: RootOptions, kit: Kit | null): Promise<string> {
  const path = options.identity ?? kit?.path("identityFile");
  if (path !== undefined && path !== "-") return await realpath(path).catch(() => path);
  throw unfit(
    "the new root key goes into your identity file, and no such file is named",
    "give --identity FILE: the file that `skep init` wrote",
  );
}

/**
 * Under its name only when all of it is on disk: half a key could not be taken up again. Never over another one, which
 * the repository may have by now.
 */
async function writeWhole(path: string, file: IdentityFile, passphrase: string | null): Promise<void> {
  const partial = `${path}.partial`;
  await rm(partial, { force: true });
  await writeIdentityFile(partial, file, passphrase);
  try {
    await link(partial, path);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "EEXIST" || code === "ENOENT") throw underWay(path);
    // A stick's file system has no links.
    if (code !== "EPERM" && code !== "EOPNOTSUPP") throw error;
    await rename(partial, path);
  }
  await rm(partial, { force: true });
  await flushFolder(dirname(path));
  if ((await readIdentityIfThere(path, passphrase))?.rootPublicKey !== file.rootPublicKey) throw underWay(path);
}

function underWay(nextPath: string): SkepError {
  return unfit(`another rotation writes ${nextPath}`, "wait for its end; the same command does what is left");
}

function unfit(message: string, hint: string): SkepError {
  return new SkepError({ code: "SKEP_CLI_USAGE", message, permanent: true, hint });
}

async function makeNext(file: IdentityFile, { recipients }: RepositoryObject, own: boolean): Promise<IdentityFile> {
  const root = generateSigningKeyPair();
  const identity = own ? await generateAgeIdentity(kindOf(recipients)) : {};
  const createdAt = new Date().toISOString();
  return { ...file, createdAt, ...identity, rootPrivateKey: root.privateKey, rootPublicKey: root.publicKey };
}

async function rotate(
  session: Session,
  store: Store,
  file: IdentityFile & { rootPrivateKey: string },
  next: IdentityFile,
  acceptForeign: boolean,
): Promise<RepositoryObject> {
  const { signal } = session;
  const operator = await openAsOperator(store, file, readingOptions(session));
  const before = operator.repositoryObject;
  const by = { rootPrivateKey: needRootKey(next), recipient: next.recipient };
  const change = { ...planRootRotation(before, file, by), acceptForeign };
  // What a recovery runs as root: a list that the former key signs later must never count.
  await resignKits({ store, ...before }, { ...by, now: Date.now(), signal });
  return await changeKeys(store, operator, file.rootPrivateKey, change, signal);
}

function sayPlan(
  { output }: Session,
  before: RepositoryObject,
  present: IdentityFile,
  next: IdentityFile,
  isDone: boolean,
): void {
  const others = before.recipients.filter((one) => one.holdsRootKey && one.recipient !== present.recipient);
  const isNewIdentity = next.recipient !== present.recipient;
  output.say(
    facts(output.styleWords, [
      ["new root key", isDone ? "the repository has it already; only the files are to follow" : next.rootPublicKey],
      ["your age key", isNewIdentity ? `replaced too; epoch ${before.epoch.number + 1} begins` : "stays"],
      ...(others.length === 0
        ? []
        : [
            [
              "no longer",
              `${others.map(({ name }) => name).join(", ")}: may open and restore; change no keys and recover no swarm`,
            ] as const,
          ]),
      ["controller, agents", "follow by themselves: the former key signed the handover"],
      [
        "the former key",
        "signs nothing that counts with who has seen the new one, nor in a store that has the handover",
      ],
      [
        "not undone",
        "who has the former key and may delete or overwrite in the store can hide the handover, and deceive",
      ],
      ["", "whoever knows only the former key: replace the cards, skep.yaml and copies of your identity file"],
      ...(isNewIdentity
        ? ([
            ["", "what the former identity file opened it goes on opening; new backups share unchanged files"],
          ] as const)
        : ([["", "your age key is the same: if somebody has your identity file, add --new-identity"]] as const)),
    ]),
  );
}

/** The files of the kit that name the former key, and were written anew. */
async function letKitFollow(kit: Kit, former: string, present: string): Promise<string[]> {
  const names = [kit.context.controllerKeyFile, kit.context.clusterFile, kitFileNames.recoveryCard];
  const changed = new Map<string, string>();
  for (const name of names) {
    const text = await readFile(join(kit.folder, name), "utf8").catch(absentIsEmpty);
    if (text.includes(former)) changed.set(name, text.replaceAll(former, present));
  }
  await writeKit(kit.folder, changed);
  return [...changed.keys()];
}

/** The card, or the controller's key, may have been taken away. */
function absentIsEmpty(error: unknown): string {
  if ((error as NodeJS.ErrnoException).code === "ENOENT") return "";
  throw error;
}

function sayWhatIsLeft({ output }: Session, path: string, followed: readonly string[]): void {
  if (followed.length > 0) output.say(`written anew in the kit: ${followed.join(", ")}`);
  output.say("Next:");
  output.say(`  1. Print the recovery card anew ("Root public key"), and destroy the former ones.`);
  output.say(`  2. Put ${path} in the place of its copies, offline.`);
  output.say(
    "  3. Other operators keep their files, which open as before. Who is to recover the swarm or change keys again:",
  );
  output.say("     `skep recipient remove NAME`, then `skep recipient add NAME --with-root-key`.");
  output.say(
    "  4. Deploy the kit with a higher SKEP_KIT_VERSION, when it suits: agents made anew then start from the new key.",
  );
}
