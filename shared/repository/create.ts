// Makes a repository: its id, its keys, and the first repository object, written last and only where there is none.
import { randomBytes } from "node:crypto";
import { SkepError } from "../errors.ts";
import type { ObjectKey, Store } from "../store/store.ts";
import { generateAgeIdentity } from "./age.ts";
import type { ControllerKey } from "./controller-key.ts";
import type { IdentityFile } from "./identity-file.ts";
import { putEpochKey, putRepositoryKey } from "./key-files.ts";
import { deriveKeyCheck } from "./keys.ts";
import { layout } from "./layout.ts";
import { encodeRepositoryObject, formatVersion, type RepositoryObject } from "./repository-object.ts";
import { generateSigningKeyPair } from "./signature.ts";

export interface CreatedRepository {
  /** To be kept offline: opens everything. encodeIdentityFile makes its text. */
  identityFile: IdentityFile & { rootPrivateKey: string };
  controllerKey: ControllerKey;
  repositoryObject: RepositoryObject;
}

/** `now` in ms since 1970. Throws SKEP_REPOSITORY_EXISTS, and then nothing that is there was changed. */
export async function createRepository(options: {
  store: Store;
  operatorName: string;
  now: number;
  /** True: operator and epoch get keys of the post-quantum hybrid, which `age` opens from 1.3 on. */
  postQuantum?: boolean;
  signal?: AbortSignal;
}): Promise<CreatedRepository> {
  const { store, operatorName, signal } = options;
  for await (const found of store.list(layout.repositoryPrefix, signal)) throw repositoryExists(store, found.key);

  const createdAt = new Date(options.now).toISOString();
  const repositoryId = randomBytes(16).toString("hex");
  const repositoryKey = randomBytes(32);
  const root = generateSigningKeyPair();
  const controller = generateSigningKeyPair();
  const kind = options.postQuantum === true ? "hybrid" : "x25519";
  const operator = await generateAgeIdentity(kind);
  const epoch = await generateAgeIdentity(kind);

  const recipients = [operator.recipient];
  const repositoryKeyVersion = await putRepositoryKey(store, repositoryKey, recipients, signal);
  const epochKeyVersion = await putEpochKey(store, repositoryId, { number: 1, ...epoch }, recipients, signal);
  const repositoryObject: RepositoryObject = {
    format: formatVersion,
    repositoryId,
    version: 1,
    createdAt,
    incarnation: 1,
    rootPublicKey: root.publicKey,
    rootHandovers: [],
    controllerPublicKey: controller.publicKey,
    recipients: [{ name: operatorName, recipient: operator.recipient, holdsRootKey: true }],
    epoch: { number: 1, recipient: epoch.recipient },
    repositoryKeyVersion,
    repositoryKeyCheck: deriveKeyCheck(repositoryKey, repositoryId),
    epochKeyVersion,
    formerEpochs: [],
    formerControllerKeys: [],
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

function repositoryExists(store: Store, key: ObjectKey): SkepError {
  return new SkepError({
    code: "SKEP_REPOSITORY_EXISTS",
    message: `there is a repository already at ${store.address} (${key})`,
    permanent: true,
    hint: "choose another prefix or folder; an existing repository is never overwritten",
  });
}
