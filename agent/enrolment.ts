// How an agent comes to its writer key, and whom it believes.
//
// At its first start it makes an age key pair. Through the queue it asks the controller, which trusts that
// recipient from then on (and shows it in `skep agents`), and answers with the repository object and with the
// writer key, encrypted to the recipient. The agent believes the repository object because the root key signed it,
// whose public half stands in skep.yaml (or the one that this handed over to), and the answer because the controller
// signed it whom that object names. It pins the highest version and incarnation that it has seen, and the root key of
// then: an older one is refused.
import path from "node:path";
import { z } from "zod";
import { SkepError } from "../shared/errors.ts";
import {
  enrolmentAnswerSchema,
  enrolmentGrantSchema,
  type EnrolmentAnswer,
  type EnrolmentRequest,
} from "../shared/contract/queues.ts";
import { parseJsonText } from "../shared/json-text.ts";
import { generateAgeIdentity, type AgeIdentity } from "../shared/repository/age.ts";
import { deriveWriterKeys, type WriterKeys } from "../shared/repository/keys.ts";
import { decryptAge, recipientOf } from "../shared/repository/open/age.ts";
import { decodeRepositoryObject, type RepositoryObject } from "../shared/repository/repository-object.ts";
import { verifyPayload } from "../shared/repository/signature.ts";
import { skepVersion } from "../shared/version.ts";
import type { NodeIdentity } from "./node-identity.ts";
import { readStateFile, writeStateFile } from "./state-file.ts";

/** What an enrolled agent works with. */
export interface Enrolled {
  repository: RepositoryObject;
  writerKey: Uint8Array;
  writerKeys: WriterKeys;
}

export interface EnrolmentOptions {
  stateDir: string;
  node: NodeIdentity;
  repositoryId: string;
  /** Pinned in skep.yaml. */
  rootPublicKey: string;
}

const savedSchema = z.strictObject({
  repositoryId: z.string(),
  nodeId: z.string(),
  highestVersion: z.int().min(1),
  highestIncarnation: z.int().min(1),
  answer: enrolmentAnswerSchema,
});
type Saved = z.infer<typeof savedSchema>;

export class Enrolment {
  readonly #options: EnrolmentOptions;
  readonly #key: AgeIdentity;
  readonly #file: string;
  #saved: Saved | null = null;
  #enrolled: Enrolled | null = null;

  private constructor(options: EnrolmentOptions, key: AgeIdentity) {
    this.#options = options;
    this.#key = key;
    this.#file = path.join(options.stateDir, "enrolment.json");
  }

  /** Reads what the state folder holds of an earlier start; makes the key pair where there is none. */
  static async open(options: EnrolmentOptions): Promise<Enrolment> {
    const enrolment = new Enrolment(options, await ownKey(path.join(options.stateDir, "agent.key")));
    const text = await readStateFile(enrolment.#file);
    const saved = text === null ? null : savedSchema.safeParse(parseJsonText(text)).data;
    // A file of another repository or another node is of no use: the state folder came from elsewhere.
    const ours = saved?.repositoryId === options.repositoryId && saved.nodeId === options.node.nodeId;
    if (saved && ours) {
      enrolment.#saved = saved;
      enrolment.#enrolled = await enrolment.#check(saved.answer).catch(unsignedIsNull);
    }
    return enrolment;
  }

  /** Null until the controller answered, once in this state folder's life. */
  get enrolled(): Enrolled | null {
    return this.#enrolled;
  }

  request(): EnrolmentRequest {
    const { nodeId, hostname } = this.#options.node;
    return { nodeId, hostname, recipient: this.#key.recipient, skepVersion };
  }

  /**
   * Takes the controller's answer, once it holds, and writes it down. Throws SKEP_ENROLMENT_INVALID,
   * SKEP_REPOSITORY_ROLLED_BACK, SKEP_SIGNATURE_INVALID and what decodeRepositoryObject throws: all mean that
   * somebody other than this repository's controller answered.
   */
  async accept(answer: unknown): Promise<Enrolled> {
    const parsed = enrolmentAnswerSchema.safeParse(answer);
    if (!parsed.success) throw this.#invalid("has another shape");
    const enrolled = await this.#check(parsed.data);
    const { repositoryId, node } = this.#options;
    const { version, incarnation } = enrolled.repository;
    const saved = {
      repositoryId,
      nodeId: node.nodeId,
      highestVersion: version,
      highestIncarnation: incarnation,
      answer: parsed.data,
    };
    await writeStateFile(this.#file, JSON.stringify(saved));
    this.#saved = saved;
    this.#enrolled = enrolled;
    return enrolled;
  }

  async #check(answer: EnrolmentAnswer): Promise<Enrolled> {
    const { repositoryId, node } = this.#options;
    const rootPublicKey = this.#enrolled?.repository.rootPublicKey ?? this.#options.rootPublicKey;
    const place = "the repository object in the controller's answer";
    const object = Buffer.from(JSON.stringify(answer.repository), "utf8");
    const repository = decodeRepositoryObject(object, rootPublicKey, place);
    if (repository.repositoryId !== repositoryId) throw this.#invalid(`is of repository ${repository.repositoryId}`);
    const pinned = this.#saved;
    if (
      pinned !== null &&
      (repository.version < pinned.highestVersion || repository.incarnation < pinned.highestIncarnation)
    ) {
      throw new SkepError({
        code: "SKEP_REPOSITORY_ROLLED_BACK",
        message: `${place} has version ${repository.version} and incarnation ${repository.incarnation}, but ${pinned.highestVersion} and ${pinned.highestIncarnation} were seen here before`,
        permanent: true,
        hint: "an old controller is still running, or the store was rolled back: find out which",
      });
    }
    if (repository.revokedControllerKeys.includes(repository.controllerPublicKey)) {
      throw this.#invalid("names a controller key that is revoked");
    }
    const payload = verifyPayload("skep/v1 job", answer.grant, repository.controllerPublicKey, "the enrolment's grant");
    const grant = enrolmentGrantSchema.safeParse(parseJsonText(payload));
    if (!grant.success) throw this.#invalid("is signed, but no grant");
    if (grant.data.nodeId !== node.nodeId) throw this.#invalid(`is for node ${grant.data.nodeId}`);
    if (grant.data.recipient !== this.#key.recipient) throw this.#invalid("is for another recipient");
    const sealed = Buffer.from(grant.data.sealedWriterKey, "base64");
    const writerKey = await decryptAge(sealed, [this.#key.identity], "the writer key in the controller's answer");
    if (writerKey.length !== 32) throw this.#invalid("holds a writer key that is not 32 bytes long");
    return { repository, writerKey, writerKeys: deriveWriterKeys(writerKey, repositoryId) };
  }

  #invalid(why: string): SkepError {
    return new SkepError({
      code: "SKEP_ENROLMENT_INVALID",
      message: `the controller's answer to the enrolment of ${this.#options.node.nodeId} ${why}`,
      permanent: true,
      hint: "is this agent's skep.yaml that of the controller?",
    });
  }
}

/** skep.yaml has a later root key than the answer of then: it is the one to believe, and the controller is asked again. */
function unsignedIsNull(error: unknown): null {
  if (error instanceof SkepError && error.code === "SKEP_SIGNATURE_INVALID") return null;
  throw error;
}

async function ownKey(file: string): Promise<AgeIdentity> {
  const text = await readStateFile(file);
  if (text !== null) return { identity: text.trim(), recipient: await recipientOf(text.trim(), file) };
  const made = await generateAgeIdentity();
  await writeStateFile(file, `${made.identity}\n`);
  return made;
}
