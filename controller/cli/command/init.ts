// skep init: makes the keys and the repository, and writes the kit folder.
import type { Command } from "commander";
import { randomBytes } from "node:crypto";
import { userInfo } from "node:os";
import { join, resolve } from "node:path";
import { stringify } from "yaml";
import type { ClusterFile } from "../../../shared/contract/cluster-file.ts";
import { SkepError, toErrorRecord } from "../../../shared/errors.ts";
import { createRepository, type CreatedRepository } from "../../../shared/repository/create.ts";
import type { StoredKit } from "../../../shared/repository/kit-list.ts";
import type { StoreCredentials, StoreLocation } from "../../../shared/store/location.ts";
import { createStore, openStore } from "../../../shared/store/open.ts";
import { skepVersion } from "../../../shared/version.ts";
import {
  addApiAddress,
  addStoreOptions,
  credentialsFor,
  locationOf,
  readCredentials,
  type StoreOptions,
} from "../access.ts";
import { makeApiCertificate } from "../api-certificate.ts";
import { exitCodes, type ExitCode } from "../exit-code.ts";
import type { InitDocument } from "../documents.ts";
import { askNewPassphrase, encodeForKeeping } from "../identity-access.ts";
import { kitFileNames, releaseKitFolder, reserveKitFolder, writeKit, type KitContext } from "../kit.ts";
import { renderRecoveryCard } from "../recovery-card.ts";
import { ownParts } from "../../recovery/runtime-kit.ts";
import * as format from "../format.ts";
import { describe, run, type Session } from "../session.ts";
import { packAndStore } from "../store-kit.ts";

const example = `skep init --store s3://backups/swarm-a --endpoint https://s3.example.org --credentials keys.json
skep init --store file:///srv/backups --operator anna --out skep-kit`;

interface InitOptions extends StoreOptions {
  store: string;
  agentCredentials?: string;
  readCredentials?: string;
  operator: string;
  postQuantum?: boolean;
  passphrase?: boolean;
  storedKit: boolean;
  api?: readonly string[];
  out: string;
}

export function register(program: Command): void {
  const command = program.command("init").description("make the keys and the repository, and write the kit folder");
  addStoreOptions(command, "(needed)")
    .option("--agent-credentials <file>", "other credentials for the agents: may create, not delete (recommended)")
    .option("--read-credentials <words>", "for the recovery card: where read credentials are to be had")
    .option("--operator <name>", "whose identity it is", defaultOperator())
    .option("--post-quantum", "keys that quantum computers do not open either; `age` takes them from 1.3 on")
    .option("--passphrase", "encrypt the identity file with a passphrase, which is asked for")
    .option(
      "--no-stored-kit",
      "do not put what a bare machine needs to restore into the store; `skep kit store` does it",
    )
    .option(
      "--api <url>",
      `where the CLI will reach the controller; again for each manager that may have it (default: "${localApi}")`,
      addApiAddress,
    )
    .option("--out <folder>", "the kit folder to write", "skep-kit");
  run(describe(command, example), init);
}

const localApi = "https://localhost:8420";
const operatorPattern = /^[a-z0-9][a-z0-9._-]{0,31}$/;

function defaultOperator(): string {
  const { username } = userInfo();
  return operatorPattern.test(username) ? username : "operator";
}

function checkOptions(options: InitOptions): void {
  const fault = (message: string, hint: string): SkepError =>
    new SkepError({ code: "SKEP_CLI_USAGE", message, permanent: true, hint });
  const given = options as Partial<InitOptions>;
  if (given.store === undefined) {
    throw fault("--store is missing", "for example --store s3://backups/swarm-a or --store file:///srv/backups");
  }
  if (!operatorPattern.test(options.operator)) {
    throw fault("--operator takes lower-case letters, digits, dots and dashes", "for example --operator anna");
  }
  if (options.api?.every((url) => URL.canParse(url) && new URL(url).protocol === "https:") === false) {
    throw fault("--api must be https://HOST:PORT", "for example --api https://manager1:8420");
  }
  if (options.credentials === "-" && options.agentCredentials === "-") {
    throw fault("standard input can give one of the two credentials", "put the other into a file");
  }
}

async function init({ output, signal }: Session, options: InitOptions): Promise<ExitCode> {
  checkOptions(options);
  const location = await locationOf(options);
  const controllerCredentials = await credentialsFor({ output, signal }, location, options.credentials, null);
  const agentCredentials =
    options.agentCredentials === undefined ? controllerCredentials : await readCredentials(options.agentCredentials);
  const folder = resolve(options.out);
  const passphrase = options.passphrase === true ? await askNewPassphrase({ output, signal }) : null;
  const now = Date.now();
  await reserveKitFolder(folder);
  let created: CreatedRepository;
  try {
    const store = await createStore(location, controllerCredentials);
    try {
      const { operator: operatorName, postQuantum = false } = options;
      created = await createRepository({ store, operatorName, now, postQuantum, signal });
    } finally {
      await store.close();
    }
  } catch (error) {
    await releaseKitFolder(folder);
    throw error;
  }
  const identityText = await encodeForKeeping(created.identityFile, passphrase);
  const stores = { controllerCredentials, agentCredentials };
  const files = await kitFiles(created, identityText, location, stores, options, now);
  await writeKit(folder, files);
  // The keys are safe by now.
  const kits = options.storedKit ? await putKit({ output, signal }, created, location, controllerCredentials) : [];
  if (kits.length > 0) {
    files.set(kitFileNames.recoveryCard, recoveryCard(created, location, options, kits));
    await writeKit(folder, new Map([[kitFileNames.recoveryCard, files.get(kitFileNames.recoveryCard) ?? ""]]));
  }
  const card = files.get(kitFileNames.recoveryCard) ?? "";
  const identityFile = join(folder, kitFileNames.identity(options.operator));
  const document: InitDocument = {
    repositoryId: created.repositoryObject.repositoryId,
    rootPublicKey: created.repositoryObject.rootPublicKey,
    store: location.url,
    kit: folder,
    identityFile,
    files: [...files.keys()],
  };
  output.document(document);
  output.print(card);
  if (agentCredentials !== null && options.agentCredentials === undefined) {
    output.warn("the agents get the controller's credentials, so a stolen node could destroy backups.");
    output.say("         Give them keys that may only create: --agent-credentials FILE.");
  }
  sayNextSteps({ output, signal }, folder, identityFile);
  return exitCodes.done;
}

/** A failure is said, and is no reason to lose the keys: the same can be done later. */
async function putKit(
  { output, signal }: Session,
  { repositoryObject, identityFile }: CreatedRepository,
  location: StoreLocation,
  credentials: StoreCredentials | null,
): Promise<StoredKit[]> {
  const { repositoryId, rootPublicKey } = repositoryObject;
  const { rootPrivateKey } = identityFile;
  const store = openStore(location, credentials);
  try {
    output.say("putting what a bare machine needs to restore into the store");
    const place = { store, repositoryId, rootPublicKey };
    return (await packAndStore(place, rootPrivateKey, ownParts().architecture, signal)).kits;
  } catch (error) {
    signal.throwIfAborted();
    const { code, message } = toErrorRecord(error);
    output.warn(`the kit is not in the store (${code}: ${format.visible(message)}). Later: skep kit store`);
    return [];
  } finally {
    await store.close();
  }
}

function recoveryCard(
  { repositoryObject }: CreatedRepository,
  location: StoreLocation,
  options: InitOptions,
  kits: readonly StoredKit[],
): string {
  const { repositoryId, rootPublicKey, createdAt } = repositoryObject;
  return renderRecoveryCard({
    ...{ location, repositoryId, rootPublicKey, createdAt, skepVersion, kits },
    operatorName: options.operator,
    identityFileName: kitFileNames.identity(options.operator),
    readCredentials: options.readCredentials ?? null,
  });
}

async function kitFiles(
  created: CreatedRepository,
  identityText: string,
  location: StoreLocation,
  credentials: Record<"controllerCredentials" | "agentCredentials", StoreCredentials | null>,
  options: InitOptions,
  now: number,
): Promise<Map<string, string>> {
  const { controllerKey, repositoryObject } = created;
  const { repositoryId, rootPublicKey } = repositoryObject;
  const addresses = (options.api ?? [localApi]).map((url) => new URL(url));
  const certificate = await makeApiCertificate([...new Set(addresses.map(({ hostname }) => hostname))], now);
  const secret = (): string => `${randomBytes(32).toString("base64url")}\n`;
  const json = (value: unknown): string => `${JSON.stringify(value, null, 2)}\n`;
  const identityName = kitFileNames.identity(options.operator);
  const context: KitContext = {
    format: 1,
    api: addresses.map(({ origin }) => origin),
    tokenFile: kitFileNames.apiToken,
    certificateFile: kitFileNames.apiCertificate,
    controllerKeyFile: kitFileNames.controllerKey,
    clusterFile: kitFileNames.cluster,
    storeCredentialsFile: kitFileNames.controllerStore,
    identityFile: identityName,
  };
  const card = recoveryCard(created, location, options, []);
  return new Map([
    [identityName, identityText],
    [kitFileNames.controllerKey, json(controllerKey)],
    [kitFileNames.cluster, clusterText({ repository: repositoryId, rootPublicKey, store: location })],
    [kitFileNames.agentStore, json(credentials.agentCredentials ?? {})],
    [kitFileNames.controllerStore, json(credentials.controllerCredentials ?? {})],
    [kitFileNames.redisPassword, secret()],
    [kitFileNames.apiToken, secret()],
    [kitFileNames.apiPem, certificate.keyAndCertificate],
    [kitFileNames.apiCertificate, certificate.certificate],
    [kitFileNames.recoveryCard, card],
    [kitFileNames.context, json(context)],
  ]);
}

function clusterText(cluster: Omit<ClusterFile, "policy"> & { store: StoreLocation }): string {
  return `# Skep: what this cluster's agents and controller need to know. No secret is in it.
${stringify(cluster)}
# The first version of the policy; from then on it lives in the store (\`skep policy show\`, \`skep policy set\`).
policy:
  version: 1
  schedules:
    - name: nightly
      cron: "0 3 * * *"
      timeZone: UTC
      jitterSeconds: 300
  select:
    volumes:
      include: ["*"]
      exclude: []
`;
}

function sayNextSteps({ output }: Session, folder: string, identityFile: string): void {
  output.say(`\nThe kit is in ${folder}. Next:`);
  output.say(`  1. Print recovery-card.txt, fill it in, keep it outside the cluster.`);
  output.say(`  2. Move ${identityFile} offline, in two copies. It opens every backup.`);
  output.say(`  3. Look at the policy in skep.yaml: what is backed up, and when.`);
  output.say(`  4. On a manager:  SKEP_KIT=${folder} docker stack deploy -c stack.yml skep`);
  output.say(`  5. skep doctor --kit ${folder}   and   skep backup --wait --kit ${folder}`);
}
