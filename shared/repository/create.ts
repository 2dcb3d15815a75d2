// Makes a repository: its id, its keys, and the first repository object, written last and only where there is none.
import { randomBytes } from "node:crypto";
import { SkepError } from "../errors.ts";
import type { ObjectKey, Store } from "../store/store.ts";
import { encryptAge, generateAgeIdentity } from "./age.ts";
import { encodeRepositoryKey } from "./repository-key.ts";
import type { ControllerKey } from "./controller-key.ts";
import type { IdentityFile } from "./identity-file.ts";
import { deriveKeyCheck } from "./keys.ts";
import { layout } from "./layout.ts";
import { encodeRepositoryObject, formatVersion, type RepositoryObject } from "./repository-object.ts";
import { generateSigningKeyPair } from "./signature.ts";

export interface CreatedRepository {
  /** To be kept offline: opens everything. encodeIdentityFile makes its text. */
  identityFile: IdentityFile & { rootPublicKey: string };
  controllerKey: ControllerKey;
  repositoryObject: RepositoryObject;
}

/** `now` in ms since 1970. Throws SKEP_REPOSITORY_EXISTS, and then nothing that is there was changed. */
export async function createRepository(options: {
  store: Store;
  operatorName: string;
  now: number;
  signal?: AbortSignal;
}): Promise<CreatedRepository> {
  const { store, operatorName, signal } = options;
  for await (const found of store.list(layout.repositoryPrefix, signal)) throw repositoryExists(store, found.key);

  const createdAt = new Date(options.now).toISOString();
  const repositoryId = randomBytes(16).toString("hex");
  const repositoryKey = randomBytes(32);
  const root = generateSigningKeyPair();
  const controller = generateSigningKeyPair();
  const operator = await generateAgeIdentity();
  const epoch = await generateAgeIdentity();

  const repositoryKeyVersion = await putFreeVersion(
    store,
    layout.repositoryKey,
    await encryptAge(encodeRepositoryKey(repositoryKey), [operator.recipient]),
    signal,
  );
  // An identity file as age-keygen writes it, so that `age -d -i` takes it from there.
  const epochFile = `# epoch 1 of Skep repository ${repositoryId}\n# public key: ${epoch.recipient}\n${epoch.identity}\n`;
  const epochKeyVersion = await putFreeVersion(
    store,
    (version) => layout.epochKey(1, version),
    await encryptAge(Buffer.from(epochFile, "utf8"), [operator.recipient]),
    signal,
  );
  const repositoryObject: RepositoryObject = {
    format: formatVersion,
    repositoryId,
    version: 1,
    createdAt,
    incarnation: 1,
    rootPublicKey: root.publicKey,
    controllerPublicKey: controller.publicKey,
    recipients: [{ name: operatorName, recipient: operator.recipient }],
    epoch: { number: 1, recipient: epoch.recipient },
    repositoryKeyVersion,
    repositoryKeyCheck: deriveKeyCheck(repositoryKey, repositoryId),
    epochKeyVersion,
    revokedControllerKeys: [],
    revokedWriters: [],
  };
  const key = layout.repository(1);
  const stored = await store.putIfAbsent(key, encodeRepositoryObject(repositoryObject, root.privateKey), {
    ...(signal && { signal }),
  });
  if (stored === null) throw repositoryExists(store, key);
  return {
    identityFile: {
      repositoryId,
      name: operatorName,
      createdAt,
      identity: operator.identity,
      recipient: operator.recipient,
      rootPrivateKey: root.privateKey,
      rootPublicKey: root.publicKey,
    },
    controllerKey: {
      format: 1,
      repositoryId,
      rootPublicKey: root.publicKey,
      repositoryKey: repositoryKey.toString("base64"),
      signingKey: controller.privateKey,
    },
    repositoryObject,
  };
}

/** Takes the lowest free version: an earlier attempt that died, or one that races with this, keeps its own. */
async function putFreeVersion(
  store: Store,
  keyOf: (version: number) => ObjectKey,
  bytes: Uint8Array,
  signal: AbortSignal | undefined,
): Promise<number> {
  for (let version = 1; version <= 1000; version++) {
    const stored = await store.putIfAbsent(keyOf(version), bytes, { ...(signal && { signal }) });
    if (stored !== null) return version;
  }
  throw repositoryExists(store, keyOf(1000));
}

function repositoryExists(store: Store, key: ObjectKey): SkepError {
  return new SkepError({
    code: "SKEP_REPOSITORY_EXISTS",
    message: `there is a repository already at ${store.address} (${key})`,
    permanent: true,
    hint: "choose another prefix or folder; an existing repository is never overwritten",
  });
}
