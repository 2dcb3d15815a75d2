// Changes of keys: who may open (recipients), what is encrypted to from now on (epochs), whose orders and runs count
// (the controller's signing key), who says all this (the root key). What shall be is decided first, as a pure function of the repository object that
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
import { checkRootKey, encodeRepositoryObject, epochsOf, type RepositoryObject } from "../repository-object.ts";
import { findRepository, refuseUnproven } from "../repository-reader.ts";
import { signHandover } from "../root-handover.ts";
import { publicKeyOf } from "../signature.ts";
import type { Operator } from "./operator.ts";

export type Recipient = RepositoryObject["recipients"][number];

export interface KeyChange {
  recipients: readonly Recipient[];
  /** True: packs, manifests and archives are encrypted to a new key pair from now on. */
  newEpoch: boolean;
  /** Null: it stays. `lastSequence`: of the newest run, the last that the former key signed. */
  controller: { publicKey: string; lastSequence: number } | null;
  /** Null: it stays. The key that signs the object and all after it; PKCS#8 DER in base64. */
  rootPrivateKey: string | null;
  /** True: also where a newer repository object may have been put over. */
  acceptForeign?: boolean;
}

/** What a change of recipients leaves as it is. */
const othersStay = { controller: null, rootPrivateKey: null } as const;

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
  return { ...othersStay, recipients: [...recipients, added], newEpoch: false };
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
  return { ...othersStay, recipients, newEpoch: true };
}

/**
 * Another root key, which the operator `by` has alone: the others' files go on opening. `identity`: his own age key is
 * replaced too, and an epoch begins that the former one does not open; null: it stays. Throws SKEP_RECIPIENT_UNKNOWN.
 */
export function planRootRotation(
  object: RepositoryObject,
  by: { recipient: string },
  next: { rootPrivateKey: string; recipient: string },
): KeyChange {
  const recipients = object.recipients.map((one) =>
    one.recipient === by.recipient
      ? { name: one.name, recipient: next.recipient, holdsRootKey: true }
      : { ...one, holdsRootKey: false },
  );
  if (!recipients.some(({ holdsRootKey }) => holdsRootKey)) {
    throw new SkepError({
      code: "SKEP_RECIPIENT_UNKNOWN",
      message: `no operator of the repository has the recipient ${by.recipient}`,
      permanent: true,
      hint: "`skep recipient list` names them; an operator who is still one changes the root key",
    });
  }
  return { ...othersStay, recipients, newEpoch: next.recipient !== by.recipient, rootPrivateKey: next.rootPrivateKey };
}

/** Hybrid only where all are. */
export function kindOf(recipients: readonly Recipient[]): ReturnType<typeof ageKindOf> {
  return recipients.every(({ recipient }) => ageKindOf(recipient) === "hybrid") ? "hybrid" : "x25519";
}

/**
 * The repository object that counts now. Throws SKEP_ROOT_KEY_REPLACED, SKEP_REPOSITORY_UNPROVEN, SKEP_KEY_CHANGED_MEANWHILE where another change
 * came first, and what reading the keys and the store throw; nothing has changed then.
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
  checkRootKey(before, rootPrivateKey);
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
  const version = await nextVersion(store, before, change.acceptForeign ?? false, signal);
  const signer = change.rootPrivateKey ?? rootPrivateKey;
  const root = publicKeyOf(signer);
  const handover = { repositoryId, from: before.rootPublicKey, to: root, firstVersion: version };
  const handovers = change.rootPrivateKey === null ? [] : [signHandover(handover, rootPrivateKey)];
  const object: RepositoryObject = {
    ...before,
    version,
    rootPublicKey: root,
    rootHandovers: [...before.rootHandovers, ...handovers],
    recipients: [...change.recipients],
    epoch: { number: present.number, recipient: present.recipient },
    epochKeyVersion: present.keyVersion,
    formerEpochs: epochs,
    repositoryKeyVersion,
    controllerPublicKey: controller?.publicKey ?? before.controllerPublicKey,
    formerControllerKeys: controller === null ? before.formerControllerKeys : [...before.formerControllerKeys, former],
  };
  const key = layout.repository(object.version);
  const bytes = encodeRepositoryObject(object, signer);
  if ((await store.putIfAbsent(key, bytes, { ...(signal && { signal }) })) !== null) return object;
  throw changedMeanwhile(key, store);
}

/** To be asked before a change leaves new keys anywhere. Throws what changeKeys would, SKEP_REPOSITORY_UNPROVEN and SKEP_KEY_CHANGED_MEANWHILE. */
export async function refuseUnchangeable(
  store: Store,
  before: RepositoryObject,
  acceptForeign: boolean,
  signal?: AbortSignal,
): Promise<void> {
  await nextVersion(store, before, acceptForeign, signal);
}

/** Past what is foreign, of which was told when the repository was opened; no change that counts may have come since. */
async function nextVersion(
  store: Store,
  { version: minVersion, rootPublicKey }: RepositoryObject,
  acceptForeign: boolean,
  signal: AbortSignal | undefined,
): Promise<number> {
  const onForeign = (): void => undefined;
  const found = await findRepository(store, rootPublicKey, { minVersion, onForeign, ...(signal && { signal }) });
  if (found.object.version !== minVersion) throw changedMeanwhile(layout.repository(found.object.version), store);
  if (!acceptForeign) refuseUnproven(found, store.address);
  return found.nextVersion;
}

function changedMeanwhile(key: string, { address }: Store): SkepError {
  return new SkepError({
    code: "SKEP_KEY_CHANGED_MEANWHILE",
    message: `${key} at ${address} is taken: somebody else changed the keys at the same time`,
    permanent: false,
    hint: "look at `skep recipient list`, and do it again",
  });
}
