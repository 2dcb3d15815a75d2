// The policy in force: versions in the store, seeded by the stack's config. The digest of the seed that was taken last
// stands in the version, so that a changed seed becomes the next version, and an unchanged one overrules nothing.
import { createHash } from "node:crypto";
import { z } from "zod";
import { SkepError, toErrorRecord, type ErrorRecord } from "../shared/errors.ts";
import { layout } from "../shared/repository/layout.ts";
import type { Protection } from "../shared/repository/protection.ts";
import {
  putPolicy,
  readPolicy,
  readPolicyVersion,
  type Catalogue,
  type ReadOptions,
} from "../shared/repository/catalogue.ts";
import { decodePolicy, policySchema, type Policy } from "./policy.ts";
import type { Repository } from "./repository.ts";

const storedPolicySchema = z.strictObject({
  format: z.literal(1),
  createdAt: z.iso.datetime(),
  source: z.enum(["seed", "api"]),
  /** SHA-256 of the seed that was taken last, hex; null: none yet. */
  seedDigest: z.string().length(64).nullable(),
  policy: policySchema,
  /** Taken from the seed by itself right above what may be put over a newer one: no run is forgotten by it. */
  overForeign: z.literal(true).optional(),
});
type Stored = z.infer<typeof storedPolicySchema>;

export interface PolicyInForce {
  version: number;
  /** ISO 8601, UTC. */
  createdAt: string;
  policy: Policy;
}

/** The policy that the store has, for who is no controller; null: none yet. `onDoubt` gets SKEP_POLICY_UNPROVEN. */
export async function readStoredPolicy(
  catalogue: Catalogue,
  options: ReadOptions,
): Promise<{ version: number; policy: Policy } | null> {
  const { address } = catalogue.store;
  const { onDoubt } = options;
  const found = await readPolicy(catalogue, storedPolicySchema, {
    ...options,
    onDoubt: (fault, key) => onDoubt?.(unproven(key, address, fault), key),
  });
  if (found?.content.overForeign === true) {
    const key = layout.policy(found.version);
    onDoubt?.(unproven(key, address), key);
  }
  return found === null ? null : { version: found.version, policy: found.content.policy };
}

/**
 * For how many days runs are locked; null: not at all. Where a newer policy may have been put over, locks are not given up that
 * were set before. `recorded`: what the last pass over the locks noted.
 */
export function lockDaysUnder(
  lockDays: number | null,
  doubt: SkepError | null,
  recorded: Pick<Protection, "lockDays"> | null,
): number | null {
  return doubt === null || recorded === null ? lockDays : Math.max(lockDays ?? 0, recorded.lockDays);
}

/** `fault`: of what lies there; absent where a seed was taken above such an object. */
function unproven(key: string, address: string, fault?: SkepError): SkepError {
  const why =
    fault === undefined
      ? "was taken from skep.yaml, where what lay below it did not open"
      : `right above the policy that counts, does not open (${fault.message})`;
  return new SkepError({
    code: "SKEP_POLICY_UNPROVEN",
    message: `${key} at ${address}, ${why}: something may have been put over a newer policy, so no run is forgotten by this one`,
    permanent: true,
    hint: "bring it back from the store's former versions (docs/STORES.md, What was put over), or say what counts: `skep policy set`",
    cause: fault,
  });
}

export class Policies {
  readonly #repository: Repository;
  #latest: { version: number; content: Stored } | null = null;
  readonly #versions = new Map<number, Policy>();
  /** Why the seed is not in force; null where it is, or was overruled. */
  seedFault: ErrorRecord | null = null;
  /** SKEP_POLICY_UNPROVEN where a newer one than that in force may have been put over; null where not. */
  doubt: SkepError | null = null;

  constructor(repository: Repository) {
    this.#repository = repository;
  }

  /** `seedText`: skep.yaml, whose `policy` is the seed. An invalid seed is kept as a fault; it changes nothing. */
  async load(seedText: string, now: number): Promise<void> {
    const { catalogue, foreign } = this.#repository;
    const { address } = catalogue.store;
    const above: { doubt: SkepError | null } = { doubt: null };
    const found = await readPolicy(catalogue, storedPolicySchema, {
      onFault: (fault, key) => foreign.add(fault, key),
      onDoubt: (fault, key) => (above.doubt = unproven(key, address, fault)),
    });
    this.#take(found);
    const isTakenOver = found?.content.overForeign === true;
    this.doubt = above.doubt ?? (isTakenOver ? unproven(layout.policy(found.version), address) : null);
    let policy: Policy;
    try {
      policy = decodePolicy(seedText, "skep.yaml", ["policy"]);
    } catch (error) {
      this.seedFault = toErrorRecord(error);
      return;
    }
    const seedDigest = createHash("sha256").update(JSON.stringify(policy)).digest("hex");
    if (this.#latest?.content.seedDigest === seedDigest) return;
    // Nobody said that this seed overrules what may have been there; who changes it later says so.
    const how = above.doubt === null ? {} : { overForeign: true as const };
    await this.#put({ source: "seed", seedDigest, policy, ...how }, now);
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
    const found = await readPolicyVersion(this.#repository.catalogue, storedPolicySchema, version);
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
    if (stored.overForeign !== true) this.doubt = null;
    return this.require();
  }

  #take(found: { version: number; content: Stored } | null): void {
    this.#latest = found;
    if (found !== null) this.#versions.set(found.version, found.content.policy);
  }
}
