// What a command may use, from its flags and the kit folder: the store, the identity, the controller key, the API.
// Secrets come from files, standard input or a hidden prompt; never from argv.
import { InvalidArgumentError, type Command } from "commander";
import { decodeClusterFile, type ClusterFile } from "../../shared/contract/cluster-file.ts";
import { SkepError } from "../../shared/errors.ts";
import { decodeControllerKey, type ControllerKey } from "../../shared/repository/controller-key.ts";
import type { IdentityFile } from "../../shared/repository/identity-file.ts";
import {
  parseCredentials,
  parseLocation,
  parseStoreUrl,
  type StoreCredentials,
  type StoreLocation,
} from "../../shared/store/location.ts";
import { decodePolicy, policySchema, type Policy } from "../policy.ts";
import { makeApiClient, maxApiAddresses, type ApiClient } from "./api-client.ts";
import { readIdentityFile } from "./identity-access.ts";
import { readInputFile } from "./input-file.ts";
import { findKit, type Kit } from "./kit.ts";
import { askSecret } from "./secret-question.ts";
import type { Session } from "./session.ts";

export interface KitOptions {
  kit?: string;
}
export interface StoreOptions extends KitOptions {
  store?: string;
  endpoint?: string;
  region?: string;
  pathStyle?: boolean;
  ca?: string;
  credentials?: string;
}
export interface IdentityOptions extends KitOptions {
  identity?: string;
  identityPassphraseFile?: string;
}
export interface ApiOptions extends KitOptions {
  api?: readonly string[];
  tokenFile?: string;
  apiCertificate?: string;
}

export function addKitOption(command: Command): Command {
  return command.option("--kit <folder>", "the folder that `skep init` wrote (default: $SKEP_KIT, else ./skep-kit)");
}

/** `what`: said of the store itself, e.g. where it comes from by default. */
export function addStoreOptions(command: Command, what = "(default: the kit's)"): Command {
  return command
    .option("--store <url>", `the store: s3://BUCKET[/PREFIX] or file:///FOLDER ${what}`)
    .option("--endpoint <url>", "of an S3 server that is not AWS, e.g. https://s3.example.org")
    .option("--region <name>", "the bucket's region")
    .option("--path-style", "address the bucket as https://host/bucket")
    .option("--ca <file>", "PEM of the authority that signed the S3 server's certificate")
    .option("--credentials <file>", 'JSON with "accessKeyId" and "secretAccessKey"; - reads standard input');
}

export function addIdentityOption(command: Command): Command {
  return command
    .option("--identity <file>", "your identity file (default: the kit's, if it is still there)")
    .option("--identity-passphrase-file <file>", "its passphrase, where it has one and no terminal can be asked");
}

export function addApiOptions(command: Command): Command {
  return command
    .option("--api <url>", "the controller, e.g. https://manager1:8420 (default: the kit's)", addApiAddress)
    .option("--token-file <file>", "file with the API token (default: the kit's)")
    .option("--api-certificate <file>", "the controller's certificate, PEM (default: the kit's)");
}

/** For commander: --api may be given several times, once for each manager where the controller may be. */
export function addApiAddress(url: string, before?: readonly string[]): readonly string[] {
  const all = [...(before ?? []), url];
  if (all.length > maxApiAddresses) throw new InvalidArgumentError(`expected ${maxApiAddresses} addresses at most`);
  return all;
}

function usage(message: string, hint: string): SkepError {
  return new SkepError({ code: "SKEP_CLI_USAGE", message, permanent: true, hint });
}

/** For commander: a whole number from 1. */
export function parseCount(text: string): number {
  const count = Number(text);
  if (Number.isSafeInteger(count) && count >= 1 && count <= 10_000) return count;
  throw new InvalidArgumentError("expected a whole number from 1 to 10000");
}

export interface StoreAccess {
  location: StoreLocation;
  /** Null for a folder. */
  credentials: StoreCredentials | null;
  /** Of the kit; null without a kit. */
  cluster: ClusterFile | null;
}

/** The kit's cluster file. */
export async function readCluster(kit: Kit): Promise<ClusterFile> {
  const path = kit.path("clusterFile");
  return decodeClusterFile(await readInputFile(path, "the cluster file"), path);
}

/** The policy in the kit's cluster file, which counts until the store has one. Throws SKEP_POLICY_INVALID with every fault. */
export async function readKitPolicy(options: KitOptions): Promise<Policy> {
  const path = (await findKit(options.kit))?.path("clusterFile");
  if (path === undefined) return policySchema.parse({ version: 1 });
  return decodePolicy(await readInputFile(path, "the cluster file"), path, ["policy"]);
}

/** The store of the flags, else of the kit. */
export async function accessStore(session: Session, options: StoreOptions): Promise<StoreAccess> {
  const kit = await findKit(options.kit);
  const cluster = kit === null ? null : await readCluster(kit);
  if (options.store === undefined && cluster === null) {
    throw usage("no store is named", "give --store URL, or --kit FOLDER with what `skep init` wrote");
  }
  const location =
    options.store === undefined
      ? parseLocation(cluster?.store)
      : await locationOf({ ...options, store: options.store });
  const credentials = await credentialsFor(session, location, options.credentials, kit);
  return { location, credentials, cluster };
}

/** The address card that the flags describe; the CA is carried along, not named. */
export async function locationOf(options: StoreOptions & { store: string }): Promise<StoreLocation> {
  const { store, endpoint, region, pathStyle, ca } = options;
  return parseLocation({
    url: store,
    ...(endpoint === undefined ? {} : { endpoint }),
    ...(region === undefined ? {} : { region }),
    ...(pathStyle === undefined ? {} : { pathStyle }),
    ...(ca === undefined ? {} : { caPem: await readInputFile(ca, "the certificate") }),
  });
}

/** Null for a folder, which needs none; asks on a terminal where neither a file nor the kit has them. */
export async function credentialsFor(
  session: Session,
  location: StoreLocation,
  file: string | undefined,
  kit: Kit | null,
): Promise<StoreCredentials | null> {
  if (parseStoreUrl(location.url)?.kind === "file") return null;
  const path = file ?? kit?.path("storeCredentialsFile");
  if (path !== undefined) return await readCredentials(path);
  if (!session.output.interactive) {
    throw usage(
      `the credentials of ${location.url} are missing`,
      'give --credentials FILE with {"accessKeyId": "…", "secretAccessKey": "…"}, or - for standard input',
    );
  }
  return parseCredentials({
    accessKeyId: await askSecret("Access key id of the store", session.signal),
    secretAccessKey: await askSecret("Secret access key", session.signal),
  });
}

export async function readCredentials(path: string): Promise<StoreCredentials> {
  const text = await readInputFile(path, "the store's credentials");
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    value = null;
  }
  return parseCredentials(value);
}

/** The identity of --identity, else the kit's; `-` reads standard input. */
export async function accessIdentity(session: Session, options: IdentityOptions): Promise<IdentityFile> {
  const path = options.identity ?? (await findKit(options.kit))?.path("identityFile");
  if (path === undefined) throw usage("no identity is named", "give --identity FILE: the file that `skep init` wrote");
  return await readIdentityFile(session, path, options.identityPassphraseFile);
}

/** The kit's controller key; null without a kit. */
export async function accessControllerKey(options: KitOptions): Promise<ControllerKey | null> {
  const path = (await findKit(options.kit))?.path("controllerKeyFile");
  return path === undefined ? null : decodeControllerKey(await readInputFile(path, "the controller key"), path);
}

/** As accessControllerKey, where nothing goes without it. */
export async function needControllerKey(options: KitOptions): Promise<ControllerKey> {
  const key = await accessControllerKey(options);
  if (key !== null) return key;
  throw usage(
    "a standalone run needs the kit that `skep init` wrote",
    "skep init --store file:///srv/backups --out skep-kit, then --kit skep-kit",
  );
}

/** A client of the controller that the flags or the kit name. */
export async function accessApi(options: ApiOptions): Promise<ApiClient> {
  const kit = await findKit(options.kit);
  const urls = options.api ?? kit?.context.api;
  const tokenFile = options.tokenFile ?? kit?.path("tokenFile");
  const certificateFile = options.apiCertificate ?? kit?.path("certificateFile");
  if (urls === undefined || tokenFile === undefined || certificateFile === undefined) {
    throw usage(
      "the controller's address, token or certificate is not named",
      "give --kit FOLDER with what `skep init` wrote, or --api, --token-file and --api-certificate",
    );
  }
  return makeApiClient({
    urls,
    token: (await readInputFile(tokenFile, "the API token")).trim(),
    certificatePem: await readInputFile(certificateFile, "the API certificate"),
  });
}
