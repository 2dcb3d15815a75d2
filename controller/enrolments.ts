// Who may write: which agent has which key. A node's first key is trusted, written down in the store and shown to
// people; whoever comes later with another key for that node waits until a person approves it.
import { z } from "zod";
import {
  enrolmentRequestSchema,
  fingerprintOf,
  type EnrolmentAnswer,
  type EnrolmentRequest,
} from "../shared/contract/queues.ts";
import { SkepError } from "../shared/errors.ts";
import type { Logger } from "../shared/log.ts";
import { putEnrolment, readEnrolments } from "../shared/repository/catalogue.ts";
import { recipientSchema } from "../shared/repository/repository-object.ts";
import type { Agents } from "./agents.ts";
import type { Repository } from "./repository.ts";

const enrolmentSchema = z.strictObject({
  format: z.literal(1),
  nodeId: z.string(),
  hostname: z.string().max(255),
  recipient: recipientSchema,
  enrolledAt: z.iso.datetime(),
  /** Of the repository then: a recovery puts other machines in the nodes' places, and each node's first key counts anew. */
  incarnation: z.int().min(1),
});
export type Enrolment = z.infer<typeof enrolmentSchema>;

/** Asked to be enrolled with another key than the one written down. */
export interface Waiting {
  request: EnrolmentRequest;
  /** ms since 1970. */
  askedAt: number;
}
const keptWaiting = 10_000;

export class Enrolments {
  readonly #repository: Repository;
  readonly #agents: Agents;
  readonly #log: Logger;
  readonly #enrolled = new Map<string, Enrolment>();
  readonly #waiting = new Map<string, Waiting>();
  /** Nodes right above whose enrolment lies what does not open: a newer key may have been there, and nobody knows which. */
  readonly #doubtful = new Set<string>();
  /** One after the other: two first requests for one node must not both be trusted. */
  #turn: Promise<unknown> = Promise.resolve();

  constructor(repository: Repository, agents: Agents, log: Logger) {
    this.#repository = repository;
    this.#agents = agents;
    this.#log = log;
  }

  /** Reads what the store has. */
  async load(): Promise<void> {
    const { catalogue, foreign } = this.#repository;
    const enrolments = await readEnrolments(catalogue, enrolmentSchema, {
      onFault: (fault, key) => foreign.add(fault, key),
      onDoubt: (_fault, key) => this.#doubtful.add(key.split("/")[1] ?? ""),
    });
    for (const [nodeId, { content }] of enrolments) {
      this.#enrolled.set(nodeId, content);
      if (content.incarnation === this.#repository.incarnation) this.#agents.expect(nodeId, content.hostname);
      else this.#agents.remember(nodeId, content.hostname);
    }
  }

  get enrolled(): ReadonlyMap<string, Enrolment> {
    return this.#enrolled;
  }

  get waiting(): ReadonlyMap<string, Waiting> {
    return this.#waiting;
  }

  /** The handler of the enrolment queue. Throws SKEP_ENROLMENT_INVALID, SKEP_ENROLMENT_REVOKED, SKEP_ENROLMENT_CHANGED. */
  async answer(data: unknown, now: number): Promise<EnrolmentAnswer> {
    const parsed = enrolmentRequestSchema.safeParse(data);
    if (!parsed.success) throw refusal("SKEP_ENROLMENT_INVALID", "a request for enrolment has another shape");
    const request = parsed.data;
    const { nodeId } = request;
    if (this.#repository.object.revokedWriters.some(({ writerId }) => writerId === nodeId)) {
      throw refusal("SKEP_ENROLMENT_REVOKED", `node ${nodeId} is revoked`);
    }
    await this.#inTurn(() => this.#admit(request, now));
    const sealedWriterKey = await this.#repository.sealWriterKey(nodeId, request.recipient);
    const issuedAt = new Date(now).toISOString();
    const grant = this.#repository.sign({ nodeId, recipient: request.recipient, sealedWriterKey, issuedAt });
    return { repository: this.#repository.signedObject, grant };
  }

  async #admit(request: EnrolmentRequest, now: number): Promise<void> {
    const { nodeId, hostname, recipient } = request;
    const known = this.#enrolled.get(nodeId);
    const { incarnation } = this.#repository;
    const isFirst = known === undefined || known.incarnation < incarnation;
    // A thief who puts something over a node's enrolment must become that node neither as the first who asks nor with a key that was replaced.
    const isDoubtful = this.#doubtful.has(nodeId);
    if (isFirst && !isDoubtful) await this.#enrol(request, now);
    else if (isDoubtful || known?.recipient !== recipient) {
      if (this.#waiting.size < keptWaiting) this.#waiting.set(nodeId, { request, askedAt: now });
      const fingerprint = fingerprintOf(recipient);
      this.#log.warn({ node: nodeId, hostname, fingerprint }, "an agent came back with another key and waits");
      throw new SkepError({
        code: "SKEP_ENROLMENT_CHANGED",
        message: isDoubtful
          ? `the enrolment of ${hostname} (${nodeId}) in the store cannot be read, so its agent's key is not trusted unseen: ${fingerprint}`
          : `the agent of ${hostname} (${nodeId}) has another key than the one enrolled: ${fingerprint}`,
        permanent: true,
        hint: `if it is that node's agent, and its state volume was made anew, say, approve it: \`skep agents approve ${hostname}\``,
      });
    }
  }

  async #enrol({ nodeId, hostname, recipient }: EnrolmentRequest, now: number): Promise<void> {
    const enrolment: Enrolment = {
      format: 1,
      nodeId,
      hostname,
      recipient,
      enrolledAt: new Date(now).toISOString(),
      incarnation: this.#repository.incarnation,
    };
    await putEnrolment(this.#repository.catalogue, nodeId, enrolment);
    this.#enrolled.set(nodeId, enrolment);
    this.#agents.expect(nodeId, hostname);
    this.#log.info({ node: nodeId, hostname, fingerprint: fingerprintOf(recipient) }, "an agent is enrolled");
  }

  /** The key that waits is the node's from now on, if it has that fingerprint. Throws SKEP_AGENT_UNKNOWN. */
  async approve(nodeId: string, fingerprint: string, now: number): Promise<void> {
    await this.#inTurn(async () => {
      const waiting = this.#waiting.get(nodeId);
      if (waiting === undefined || fingerprintOf(waiting.request.recipient) !== fingerprint) {
        throw new SkepError({
          code: "SKEP_AGENT_UNKNOWN",
          message: `no agent of node ${nodeId} waits with the key ${fingerprint}`,
          permanent: true,
          hint: "`skep agents` shows those that wait, with their fingerprints",
        });
      }
      await this.#enrol(waiting.request, now);
      this.#waiting.delete(nodeId);
      this.#doubtful.delete(nodeId);
    });
  }

  async #inTurn<T>(act: () => Promise<T>): Promise<T> {
    const mine = this.#turn.then(act);
    this.#turn = mine.catch(() => undefined);
    return mine;
  }
}

function refusal(code: "SKEP_ENROLMENT_INVALID" | "SKEP_ENROLMENT_REVOKED", message: string): SkepError {
  return new SkepError({ code, message, permanent: true, hint: "is the agent of this version and of this cluster?" });
}
