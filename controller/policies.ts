// The policy in force: versions in the store, seeded by the stack's config. The digest of the seed that was taken last
// stands in the version, so that a changed seed becomes the next version, and an unchanged one overrules nothing.
import { createHash } from "node:crypto";
import { z } from "zod";
import { SkepError, toErrorRecord, type ErrorRecord } from "../shared/errors.ts";
import { putPolicy, readPolicy, type Catalogue } from "../shared/repository/catalogue.ts";
import { decodePolicy, policySchema, type Policy } from "./policy.ts";
import type { Repository } from "./repository.ts";

const storedPolicySchema = z.strictObject({
  format: z.literal(1),
  createdAt: z.iso.datetime(),
  source: z.enum(["seed", "api"]),
  /** SHA-256 of the seed that was taken last, hex; null: none yet. */
  seedDigest: z.string().length(64).nullable(),
  policy: policySchema,
});
type Stored = z.infer<typeof storedPolicySchema>;

export interface PolicyInForce {
  version: number;
  /** ISO 8601, UTC. */
  createdAt: string;
  policy: Policy;
}

/** The policy that the store has, for who is no controller; null: none yet. */
export async function readStoredPolicy(
  catalogue: Catalogue,
  signal?: AbortSignal,
): Promise<{ version: number; policy: Policy } | null> {
  const found = await readPolicy(catalogue, storedPolicySchema, undefined, signal);
  return found === null ? null : { version: found.version, policy: found.content.policy };
}

export class Policies {
  readonly #repository: Repository;
  #latest: { version: number; content: Stored } | null = null;
  readonly #versions = new Map<number, Policy>();
  /** Why the seed is not in force; null where it is, or was overruled. */
  seedFault: ErrorRecord | null = null;

  constructor(repository: Repository) {
    this.#repository = repository;
  }

  /** `seedText`: skep.yaml, whose `policy` is the seed. An invalid seed is kept as a fault; it changes nothing. */
  async load(seedText: string, now: number): Promise<void> {
    this.#take(await readPolicy(this.#repository.catalogue, storedPolicySchema));
    let policy: Policy;
    try {
      policy = decodePolicy(seedText, "skep.yaml", ["policy"]);
    } catch (error) {
      this.seedFault = toErrorRecord(error);
      return;
    }
    const seedDigest = createHash("sha256").update(JSON.stringify(policy)).digest("hex");
    if (this.#latest?.content.seedDigest === seedDigest) return;
    await this.#put({ source: "seed", seedDigest, policy }, now);
  }

  /** Null while no valid one was ever given. */
  get inForce(): PolicyInForce | null {
    if (this.#latest === null) return null;
    const { version, content } = this.#latest;
    return { version, createdAt: content.createdAt, policy: content.policy };
  }

  /** Throws SKEP_POLICY_MISSING. */
  require(): PolicyInForce {
    if (this.inForce !== null) return this.inForce;
    throw new SkepError({
      code: "SKEP_POLICY_MISSING",
      message: `there is no policy${this.seedFault === null ? "" : `: ${this.seedFault.message}`}`,
      permanent: true,
      hint: "correct the policy in skep.yaml and deploy again, or send one with `skep policy set`",
    });
  }

  /** One version, from the store where it is not known yet. Throws SKEP_POLICY_MISSING. */
  async version(version: number): Promise<Policy> {
    const known = this.#versions.get(version);
    if (known !== undefined) return known;
    const found = await readPolicy(this.#repository.catalogue, storedPolicySchema, version);
    if (found === null) {
      throw new SkepError({
        code: "SKEP_POLICY_MISSING",
        message: `version ${version} of the policy is not in the store`,
        permanent: true,
        hint: "somebody removed it, or forged a run in the queue",
      });
    }
    this.#versions.set(version, found.content.policy);
    return found.content.policy;
  }

  /** The next version, from YAML text. Throws SKEP_POLICY_INVALID. */
  async put(text: string, now: number): Promise<PolicyInForce> {
    const policy = decodePolicy(text, "the request");
    const seedDigest = this.#latest?.content.seedDigest ?? null;
    return this.#put({ source: "api", seedDigest, policy }, now);
  }

  async #put(content: Omit<Stored, "format" | "createdAt">, now: number): Promise<PolicyInForce> {
    const stored: Stored = { format: 1, createdAt: new Date(now).toISOString(), ...content };
    this.#take({ version: await putPolicy(this.#repository.catalogue, stored), content: stored });
    return this.require();
  }

  #take(found: { version: number; content: Stored } | null): void {
    this.#latest = found;
    if (found !== null) this.#versions.set(found.version, found.content.policy);
  }
}
