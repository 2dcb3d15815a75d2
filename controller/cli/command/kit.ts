// skep kit: what a bare machine needs to restore, beside the data.
import { Option, type Command } from "commander";
import { kitArchitectures, type KitList } from "../../../shared/repository/kit-list.ts";
import { skepVersion } from "../../../shared/version.ts";
import { ownParts, type KitArchitecture } from "../../recovery/runtime-kit.ts";
import { readKits } from "../../recovery/stored-kits.ts";
import {
  addIdentityOption,
  addKitOption,
  addStoreOptions,
  type IdentityOptions,
  type StoreOptions,
} from "../access.ts";
import { warnOfForeign, withOperator } from "../catalogue-access.ts";
import type { KitListDocument } from "../documents.ts";
import { exitCodes, type ExitCode } from "../exit-code.ts";
import * as format from "../format.ts";
import type { Output } from "../output.ts";
import { withRootKey } from "../root-key-access.ts";
import { describe, run, type Session } from "../session.ts";
import { packAndStore } from "../store-kit.ts";
import { table } from "../table.ts";

interface StoreKitOptions extends StoreOptions, IdentityOptions {
  architecture: KitArchitecture;
}

export function register(program: Command): void {
  const kit = program
    .command("kit")
    .description("what a bare machine needs to restore: kept in the store, beside the data");
  const store = kit
    .command("store")
    .description("pack this installation, its Node and all, and put it into the store; after each upgrade")
    .addOption(
      new Option("--architecture <name>", "of the machines; another than this one's is fetched by npm")
        .choices([...kitArchitectures])
        .default(ownParts().architecture),
    );
  addStoreOptions(addIdentityOption(addKitOption(store)));
  run(describe(store, "skep kit store --identity identity-anna.txt"), storeKit);

  const list = kit.command("list").description("list the kits in the store, with the hashes for the recovery card");
  addStoreOptions(addIdentityOption(addKitOption(list)));
  run(describe(list, "skep kit list --identity identity-anna.txt"), listKits);
}

async function storeKit(session: Session, options: StoreKitOptions): Promise<ExitCode> {
  const { output, signal } = session;
  return await withRootKey(session, options, async ({ store, repository, rootPrivateKey }) => {
    const { repositoryId, rootPublicKey } = repository;
    output.say(`packing the kit for ${options.architecture}`);
    const place = { store, repositoryId, rootPublicKey };
    const list = await packAndStore(place, rootPrivateKey, options.architecture, signal);
    printKits(output, list);
    output.say("Write its hash on the recovery card.");
    return exitCodes.done;
  });
}

async function listKits(session: Session, options: StoreOptions & IdentityOptions): Promise<ExitCode> {
  const { output, signal } = session;
  return await withOperator(session, options, async ({ store, repository }) => {
    const { repositoryId, rootPublicKey } = repository;
    const list = await readKits({ store, repositoryId, rootPublicKey }, { signal, onForeign: warnOfForeign(session) });
    printKits(output, list);
    return exitCodes.done;
  });
}

function printKits(output: Output, list: KitList | null): void {
  const kits = list?.kits ?? [];
  const document: KitListDocument = {
    kits: kits.map(({ architecture, skepVersion: version, sha256, sizeBytes, pieces }) => ({
      ...{ architecture, skepVersion: version, sha256, sizeBytes },
      keys: pieces.map(({ key }) => key),
    })),
  };
  output.document(document);
  if (kits.length === 0) {
    output.print("there is no kit in the store: skep kit store");
    return;
  }
  output.print(
    table(
      output,
      [
        { head: "ARCHITECTURE", cell: ({ architecture }) => architecture },
        { head: "SKEP", cell: (one) => format.visible(one.skepVersion) },
        { head: "SIZE", align: "right", cell: ({ sizeBytes }) => format.bytes(sizeBytes) },
        { head: "SHA-256", cell: ({ sha256 }) => sha256 },
      ],
      kits,
    ),
  );
  if (kits.some((one) => one.skepVersion !== skepVersion)) {
    output.warn(`this is Skep ${skepVersion}: a recovery by it needs a kit of the same version`);
  }
}
