// Changes of keys: who may open (recipients), what is encrypted to from now on (epochs), whose orders and runs count
// (the controller's signing key). What shall be is decided first, as a pure function of the repository object that
// counts; then it is done.
//
// Order of writing: the files below keys/ at versions that nobody names yet, then the next repository object, only if
// that version is free. Until that one put nothing has changed: who is killed before leaves files that nobody reads, and
// the same command does it all again.
import { ageKindOf, generateAgeIdentity, type AgeIdentity } from "../age.ts";
import { SkepError } from "../../errors.ts";
import type { Store } from "../../store/store.ts";
import { putEpochKey, putRepositoryKey } from "../key-files.ts";
import { layout } from "../layout.ts";
import { encodeRepositoryObject, epochsOf, type RepositoryObject } from "../repository-object.ts";
import type { Operator } from "./operator.ts";

export type Recipient = RepositoryObject["recipients"][number];

export interface KeyChange {
  recipients: readonly Recipient[];
  /** True: packs, manifests and archives are encrypted to a new key pair from now on. */
  newEpoch: boolean;
  /** Null: it stays. `lastSequence`: of the newest run, the last that the former key signed. */
  controller: { publicKey: string; lastSequence: number } | null;
}

/** Throws SKEP_RECIPIENT_EXISTS, SKEP_RECIPIENT_KIND. */
export function planAddition(object: RepositoryObject, added: Recipient): KeyChange {
  const { recipients } = object;
  const same = recipients.find(({ name, recipient }) => name === added.name || recipient === added.recipient);
  if (same !== undefined) {
    throw new SkepError({
      code: "SKEP_RECIPIENT_EXISTS",
      message: `there is an operator ${same.name} with ${same.name === added.name ? "that name" : "that recipient"} already`,
      permanent: true,
      hint: "`skep recipient list` names them",
    });
  }
  if (ageKindOf(added.recipient) !== kindOf(recipients)) {
    throw new SkepError({
      code: "SKEP_RECIPIENT_KIND",
      message: `the recipient of ${added.name} is of the kind ${ageKindOf(added.recipient)}, those of this repository are ${kindOf(recipients)}`,
      permanent: true,
      hint: "the weakest recipient of a file is what it is worth: make an identity of the same kind (age1pq1… or age1…)",
    });
  }
  return { recipients: [...recipients, added], newEpoch: false, controller: null };
}

/** Begins an epoch, which the one removed does not open. Throws SKEP_RECIPIENT_UNKNOWN, SKEP_RECIPIENT_LAST. */
export function planRemoval(object: RepositoryObject, name: string): KeyChange {
  const recipients = object.recipients.filter((recipient) => recipient.name !== name);
  if (recipients.length === object.recipients.length) {
    throw new SkepError({
      code: "SKEP_RECIPIENT_UNKNOWN",
      message: `there is no operator ${JSON.stringify(name)}`,
      permanent: true,
      hint: "`skep recipient list` names them",
    });
  }
  if (!recipients.some(({ holdsRootKey }) => holdsRootKey)) {
    throw new SkepError({
      code: "SKEP_RECIPIENT_LAST",
      message: `${name} is the last operator with the root signing key: nobody could change keys any more`,
      permanent: true,
      hint: "first add another: skep recipient add NAME --with-root-key",
    });
  }
  return { recipients, newEpoch: true, controller: null };
}

/** Hybrid only where all are. */
export function kindOf(recipients: readonly Recipient[]): ReturnType<typeof ageKindOf> {
  return recipients.every(({ recipient }) => ageKindOf(recipient) === "hybrid") ? "hybrid" : "x25519";
}

/**
 * The repository object that counts now. Throws SKEP_KEY_CHANGED_MEANWHILE where another change came first, and what
 * reading the keys and the store throw; nothing has changed then.
 */
export async function changeKeys(
  store: Store,
  operator: Operator,
  rootPrivateKey: string,
  change: KeyChange,
  signal?: AbortSignal,
): Promise<RepositoryObject> {
  const { repositoryObject: before, repositoryKey } = operator;
  const { repositoryId } = before;
  const to = change.recipients.map(({ recipient }) => recipient);
  const epochs: RepositoryObject["formerEpochs"] = [];
  const wrap = async (number: number, pair: AgeIdentity): Promise<void> => {
    const keyVersion = await putEpochKey(store, repositoryId, { number, ...pair }, to, signal);
    epochs.push({ number, recipient: pair.recipient, keyVersion });
  };
  for (const { number, recipient } of epochsOf(before)) {
    await wrap(number, { identity: await operator.epochIdentity(number), recipient });
  }
  if (change.newEpoch) await wrap(before.epoch.number + 1, await generateAgeIdentity(kindOf(change.recipients)));
  const repositoryKeyVersion = await putRepositoryKey(store, repositoryKey, to, signal);
  const present = epochs.pop();
  if (present === undefined) throw new TypeError("a repository has an epoch");
  const { controller } = change;
  const former = { publicKey: before.controllerPublicKey, lastSequence: controller?.lastSequence ?? 0 };
  const object: RepositoryObject = {
    ...before,
    version: before.version + 1,
    recipients: [...change.recipients],
    epoch: { number: present.number, recipient: present.recipient },
    epochKeyVersion: present.keyVersion,
    formerEpochs: epochs,
    repositoryKeyVersion,
    controllerPublicKey: controller?.publicKey ?? before.controllerPublicKey,
    formerControllerKeys: controller === null ? before.formerControllerKeys : [...before.formerControllerKeys, former],
  };
  const key = layout.repository(object.version);
  const bytes = encodeRepositoryObject(object, rootPrivateKey);
  if ((await store.putIfAbsent(key, bytes, { ...(signal && { signal }) })) !== null) return object;
  throw new SkepError({
    code: "SKEP_KEY_CHANGED_MEANWHILE",
    message: `${key} at ${store.address} is taken: somebody else changed the keys at the same time`,
    permanent: false,
    hint: "look at `skep recipient list`, and do it again",
  });
}
