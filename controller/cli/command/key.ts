// skep key: new keys in the place of those that are there.
import type { Command } from "commander";
import { readFile, rename } from "node:fs/promises";
import { SkepError } from "../../../shared/errors.ts";
import { decodeControllerKey, type ControllerKey } from "../../../shared/repository/controller-key.ts";
import { changeKeys, refuseUnchangeable } from "../../../shared/repository/open/key-change.ts";
import { listSequences, newestEntry } from "../../../shared/repository/chain.ts";
import { generateSigningKeyPair, publicKeyOf } from "../../../shared/repository/signature.ts";
import {
  addIdentityOption,
  addKitOption,
  addStoreOptions,
  type IdentityOptions,
  type StoreOptions,
} from "../access.ts";
import { agree } from "../confirm.ts";
import { exitCodes, type ExitCode } from "../exit-code.ts";
import { keyChangeDocument } from "../key-change-document.ts";
import { findKit, writeKit, type Kit } from "../kit.ts";
import { rotateRoot } from "../root-rotation.ts";
import { withRootKey, type OpenedWithRootKey } from "../root-key-access.ts";
import { describe, run, type Session } from "../session.ts";
import { facts } from "../table.ts";

interface KeyOptions extends StoreOptions, IdentityOptions {
  acceptForeign?: boolean;
  yes?: boolean;
}

export function register(program: Command): void {
  const rotate = program.command("key").description("keys of the repository").command("rotate").description("new keys");
  const epoch = rotate
    .command("epoch")
    .description("encrypt to a new key pair from now on; what is there stays readable")
    .option("--accept-foreign", "go on though a newer repository object may have been put over")
    .option("--yes", "do it without being asked");
  addIdentityOption(addStoreOptions(addKitOption(epoch)));
  run(describe(epoch, "skep key rotate epoch --kit skep-kit --identity identity-anna.txt"), rotateEpoch);
  const controller = rotate
    .command("controller")
    .description("a new signing key for the controller; the former one's orders and later runs count no more")
    .option("--accept-foreign", "go on though a newer repository object may have been put over")
    .option("--yes", "do it without being asked");
  addIdentityOption(addStoreOptions(addKitOption(controller)));
  run(describe(controller, "skep key rotate controller --kit skep-kit --identity identity-anna.txt"), rotateController);
  const root = rotate
    .command("root")
    .description("a new root signing key, into your identity file; the former one changes nothing any more")
    .option(
      "--new-identity",
      "replace your age key too: what is backed up later, your former identity file does not open",
    )
    .option("--accept-foreign", "go on though a newer repository object may have been put over")
    .option("--yes", "do it without being asked");
  addIdentityOption(addStoreOptions(addKitOption(root)));
  run(describe(root, "skep key rotate root --kit skep-kit --identity identity-anna.txt"), rotateRoot);
}

async function rotateEpoch(session: Session, options: KeyOptions): Promise<ExitCode> {
  const { output, signal } = session;
  const { acceptForeign = false } = options;
  return await withRootKey(session, options, async ({ store, operator, rootPrivateKey }) => {
    const before = operator.repositoryObject;
    const { recipients, epoch } = before;
    output.say(
      facts(output.styleWords, [
        ["epoch", `${epoch.number + 1} begins; backups are encrypted to its key from then on`],
        ["who opens it", recipients.map(({ name }) => name).join(", ")],
        ["earlier backups", "stay as they are, and stay readable"],
      ]),
    );
    const go = await agree(session, options.yes ?? false, `Begin epoch ${epoch.number + 1}?`);
    const change = { recipients, newEpoch: true, controller: null, rootPrivateKey: null, acceptForeign };
    const after = go ? await changeKeys(store, operator, rootPrivateKey, change, signal) : before;
    output.document(keyChangeDocument(after, go, null));
    output.print(go ? `epoch ${after.epoch.number}, key version ${after.version}` : "nothing was changed");
    if (go) {
      output.say("the controller takes it within a minute, each agent with its next job: nothing to restart");
    }
    return exitCodes.done;
  });
}

const nextKeyFile = "controller.key.next";

/**
 * The new key lies in the kit as controller.key.next before the repository object names it, and takes controller.key's
 * place after: killed anywhere, the same command goes on.
 */
async function rotateController(session: Session, options: KeyOptions): Promise<ExitCode> {
  const { output, signal } = session;
  const { acceptForeign = false } = options;
  const kit = await findKit(options.kit);
  if (kit === null) {
    throw new SkepError({
      code: "SKEP_CLI_USAGE",
      message: "the new controller key goes into the kit, and no kit is named",
      permanent: true,
      hint: "--kit FOLDER, with what `skep init` wrote",
    });
  }
  return await withRootKey(session, options, async (opened) => {
    const { operator, store, rootPrivateKey } = opened;
    const before = operator.repositoryObject;
    const present = decodeControllerKey(await readFile(kit.path("controllerKeyFile"), "utf8"), "controller.key");
    const waiting = await readNextKey(kit);
    const isDone = waiting !== null && publicKeyOf(waiting.signingKey) === before.controllerPublicKey;
    if (!isDone) await refuseUnchangeable(store, before, acceptForeign, signal);
    output.say(
      facts(output.styleWords, [
        ["new key", isDone ? "the repository names it already; only the kit is to follow" : "made now, into the kit"],
        ["until then", "runs that are there keep counting"],
        ["then", "the present controller may neither order nor write: it stops by itself within a minute"],
        ["do it", "while no run is under way"],
      ]),
    );
    if (!(await agree(session, options.yes ?? false, "Give the controller a new signing key?"))) {
      output.document(keyChangeDocument(before, false, null));
      output.say("nothing was changed");
      return exitCodes.done;
    }
    const next = waiting ?? { ...present, signingKey: generateSigningKeyPair().privateKey };
    let after = before;
    if (!isDone) {
      if (waiting === null) await writeKit(kit.folder, new Map([[nextKeyFile, `${JSON.stringify(next, null, 2)}\n`]]));
      const controller = {
        publicKey: publicKeyOf(next.signingKey),
        lastSequence: await newestSequence(session, opened),
      };
      const { recipients } = before;
      const change = { recipients, newEpoch: false, controller, rootPrivateKey: null, acceptForeign };
      after = await changeKeys(store, operator, rootPrivateKey, change, signal);
    }
    await rename(`${kit.folder}/${nextKeyFile}`, kit.path("controllerKeyFile"));
    output.document(keyChangeDocument(after, true, kit.path("controllerKeyFile")));
    output.print(`key version ${after.version}: the controller signs with ${after.controllerPublicKey}`);
    output.say("now deploy the kit with a higher SKEP_KIT_VERSION; agents take the new key with their next job");
    return exitCodes.done;
  });
}

async function readNextKey(kit: Kit): Promise<ControllerKey | null> {
  try {
    return decodeControllerKey(await readFile(`${kit.folder}/${nextKeyFile}`, "utf8"), nextKeyFile);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return null;
    throw error;
  }
}

/** Of the chain; 0 where there is none yet. */
async function newestSequence(session: Session, { catalogue }: OpenedWithRootKey): Promise<number> {
  const { signal } = session;
  const sequences = await listSequences(catalogue.store, signal);
  return (await newestEntry(catalogue, sequences, signal))?.sequence ?? 0;
}
