// The repository as this controller holds it: its store, its key, and the repository object that counts now.
// Everything that has to be signed or opened with the controller's key goes through here.
import type { Job, JobTarget, Task } from "../shared/contract/job.ts";
import { signJob } from "../shared/contract/signed-job.ts";
import { SkepError } from "../shared/errors.ts";
import { encryptAge } from "../shared/repository/age.ts";
import { catalogueOfController, type Catalogue } from "../shared/repository/catalogue.ts";
import type { ControllerKey } from "../shared/repository/controller-key.ts";
import { ForeignObjects } from "../shared/repository/foreign.ts";
import { deriveWriterKey, deriveWriterKeys, type KeyBytes } from "../shared/repository/keys.ts";
import type { RepositoryObject } from "../shared/repository/repository-object.ts";
import { findRepository, type FoundRepository } from "../shared/repository/repository-reader.ts";
import { publicKeyOf, signedSchema, signPayload, verifyPayload, type Signed } from "../shared/repository/signature.ts";
import type { CatalogueKeys } from "../shared/repository/upkeep/refs-lines.ts";
import type { StoreLocation } from "../shared/store/location.ts";
import type { ObjectKey, Store, StoreAbilities } from "../shared/store/store.ts";

/** How often an agent may accept one job: three attempts, each lost once to a crash. */
const maxAcceptances = 6;

export class Repository {
  readonly store: Store;
  readonly key: ControllerKey;
  readonly catalogue: Catalogue;
  /** Where the store is, for whoever reads a runbook. */
  readonly location: StoreLocation;
  readonly #publicKey: string;
  #found: FoundRepository;
  /** Null until it was probed. */
  abilities: StoreAbilities | null = null;
  /** Under keys of repository object, policy and enrolments, and passed over: somebody else put them there. */
  readonly foreign: ForeignObjects;

  private constructor(
    store: Store,
    key: ControllerKey,
    found: FoundRepository,
    location: StoreLocation,
    foreign: ForeignObjects,
  ) {
    this.store = store;
    this.location = location;
    this.key = key;
    this.catalogue = catalogueOfController(store, key, found.object.formerControllerKeys);
    this.#publicKey = publicKeyOf(key.signingKey);
    this.#found = found;
    this.foreign = foreign;
  }

  /** `location`: default its URL alone. Throws what readRepositoryObject and the store throw, and SKEP_REPOSITORY_FENCED. */
  static async open(
    store: Store,
    key: ControllerKey,
    signal?: AbortSignal,
    location: StoreLocation = { url: store.address },
  ): Promise<Repository> {
    const foreign = new ForeignObjects();
    const onForeign = (fault: SkepError, at: ObjectKey): unknown => foreign.add(fault, at);
    const found = await findRepository(store, key.rootPublicKey, { onForeign, ...(signal && { signal }) });
    const repository = new Repository(store, key, found, location, foreign);
    repository.#check(found.object);
    return repository;
  }

  get object(): RepositoryObject {
    return this.#found.object;
  }

  get incarnation(): number {
    return this.object.incarnation;
  }

  /** Takes a newer repository object, e.g. of a new epoch. Throws SKEP_REPOSITORY_FENCED once another controller counts. */
  async refresh(signal?: AbortSignal): Promise<void> {
    const { version: minVersion, incarnation, rootPublicKey } = this.object;
    const onForeign = (fault: SkepError, at: ObjectKey): unknown => this.foreign.add(fault, at);
    const found = await findRepository(this.store, rootPublicKey, {
      ...{ minVersion, onForeign },
      ...(signal && { signal }),
    });
    this.#check(found.object);
    if (found.object.incarnation !== incarnation) throw this.#fenced(`is at incarnation ${found.object.incarnation}`);
    this.#found = found;
  }

  #check(object: RepositoryObject): void {
    if (object.repositoryId !== this.key.repositoryId) throw this.#fenced(`is ${object.repositoryId}`);
    if (object.controllerPublicKey !== this.#publicKey) throw this.#fenced("counts another controller's signature");
  }

  #fenced(why: string): SkepError {
    return new SkepError({
      code: "SKEP_REPOSITORY_FENCED",
      message: `the repository at ${this.store.address} ${why}: this controller may not write to it`,
      permanent: true,
      hint: "a recovery or a clone took the repository over: stop this controller, or give it the new kit",
    });
  }

  /** A signed job that an agent may accept until `timeoutMs` from now. `now` in ms since 1970. */
  order(order: { id: string; target: JobTarget; task: Task; timeoutMs: number }, now: number): Signed {
    const job: Job = {
      version: 1,
      id: order.id,
      repositoryId: this.key.repositoryId,
      incarnation: this.incarnation,
      repositoryVersion: this.object.version,
      target: order.target,
      issuedAt: new Date(now).toISOString(),
      expiresAt: new Date(now + order.timeoutMs).toISOString(),
      maxAttempts: maxAcceptances,
      task: order.task,
    };
    return signJob(job, this.key.signingKey);
  }

  #writerKey(writerId: string): KeyBytes {
    return deriveWriterKey(Buffer.from(this.key.repositoryKey, "base64"), this.key.repositoryId, writerId);
  }

  /** Authenticates that writer's results. */
  resultKeyOf(writerId: string): KeyBytes {
    return deriveWriterKeys(this.#writerKey(writerId), this.key.repositoryId).result;
  }

  /** Opens that writer's refs. */
  sealKeyOf(writerId: string): KeyBytes {
    return deriveWriterKeys(this.#writerKey(writerId), this.key.repositoryId).seal;
  }

  get catalogueKeys(): CatalogueKeys {
    const { repositoryId } = this.key;
    return { store: this.store, repositoryId, sealKeyOf: (writerId) => this.sealKeyOf(writerId) };
  }

  /** The writer key for that recipient alone; age, base64. */
  async sealWriterKey(writerId: string, recipient: string): Promise<string> {
    return Buffer.from(await encryptAge(this.#writerKey(writerId), [recipient])).toString("base64");
  }

  sign(payload: object): Signed {
    return signPayload("skep/v1 job", JSON.stringify(payload), this.key.signingKey);
  }

  /** The payload of what sign() signed. Throws SKEP_SIGNATURE_INVALID. */
  verify(signed: Signed, what: string): string {
    return verifyPayload("skep/v1 job", signed, this.#publicKey, what);
  }

  /** The repository object as the root key signed it, for agents to check. */
  get signedObject(): Signed {
    return signedSchema.parse(JSON.parse(Buffer.from(this.#found.bytes).toString("utf8")));
  }
}
