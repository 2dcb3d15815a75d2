// What `skep doctor` looks at from where the operator sits: kit, store and keys; the controller tells the rest. Each check gives findings; what it throws becomes one.
import { readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { toErrorRecord } from "../../shared/errors.ts";
import type { CheckedPromise } from "../../shared/store/conformance.ts";
import type { StoreAbilities } from "../../shared/store/store.ts";
import type { Finding } from "../api/schemas.ts";
import { parseCertificate } from "./api-client.ts";
import * as format from "./format.ts";
import { readInputFile } from "./input-file.ts";
import type { Kit } from "./kit.ts";

export type Finder = () => Promise<Finding[]>;

/** The findings of all checks, in their order. An interruption is not a finding: it is thrown. */
export async function gather(finders: readonly Finder[], signal: AbortSignal): Promise<Finding[]> {
  const findings: Finding[] = [];
  for (const find of finders) {
    try {
      findings.push(...(await find()));
    } catch (error) {
      signal.throwIfAborted();
      const { code, message, hint } = toErrorRecord(error);
      findings.push({ level: "error", code, message, ...(hint === undefined ? {} : { hint }) });
    }
  }
  return findings;
}

const daysMs = 24 * 60 * 60 * 1000;

/** `now` in ms since 1970. */
export async function checkKit(kit: Kit, now: number): Promise<Finding[]> {
  const findings: Finding[] = [];
  const names = await readdir(kit.folder);
  const open: string[] = [];
  for (const name of names) {
    const { mode } = await stat(join(kit.folder, name));
    if ((mode & 0o077) !== 0) open.push(name);
  }
  if (open.length > 0) {
    findings.push({
      level: "warning",
      code: "SKEP_DOCTOR_KIT_READABLE",
      message: `others on this machine may read ${open.join(", ")} in ${kit.folder}`,
      hint: `chmod 600 ${kit.folder}/*`,
    });
  }
  if (names.includes(kit.context.identityFile)) {
    findings.push({
      level: "warning",
      code: "SKEP_DOCTOR_IDENTITY_ONLINE",
      message: `the identity ${kit.context.identityFile} lies in the kit: who gets the kit opens every backup`,
      hint: "move it offline, in two copies, and name it with --identity when it is needed",
    });
  }
  const certificate = parseCertificate(await readInputFile(kit.path("certificateFile"), "the API certificate"));
  const leftMs = Date.parse(certificate.validTo) - now;
  if (leftMs < 60 * daysMs) {
    findings.push({
      level: leftMs < 0 ? "error" : "warning",
      code: "SKEP_DOCTOR_CERTIFICATE_ENDS",
      message: `the API certificate ends ${format.age(new Date(certificate.validTo).toISOString(), now)}`,
      hint: "make a new kit's api.pem and api.crt, and deploy with a higher SKEP_KIT_VERSION",
    });
  }
  return findings.length > 0 ? findings : [ok("SKEP_DOCTOR_KIT", `the kit ${kit.folder} is whole and private`)];
}

export function judgeStore(address: string, { conditionalWrites, versions, objectLock }: StoreAbilities): Finding[] {
  const findings = [ok("SKEP_DOCTOR_STORE", `${address} takes, gives back and removes objects`)];
  if (!conditionalWrites) {
    findings.push({
      level: "warning",
      code: "SKEP_DOCTOR_STORE_UNCONDITIONAL",
      message: `${address} does not keep two writers from creating the same object`,
      hint: "never let two controllers work on it at once",
    });
  }
  if (!versions && !objectLock) {
    findings.push({
      level: "warning",
      code: "SKEP_DOCTOR_STORE_DELETABLE",
      message: `${address} keeps neither versions nor locks: who may write there can destroy backups`,
      hint: "switch on versioning or object lock, or keep a copy elsewhere; give agents keys that only create",
    });
  }
  return findings;
}

/** Of the agents' own credentials: a stolen agent shall destroy nothing. */
export function judgeAgentCredentials(address: string, { destroys }: StoreAbilities): Finding[] {
  if (!destroys)
    return [ok("SKEP_DOCTOR_AGENT_CREDENTIALS", "the agents' credentials create objects and destroy none")];
  return [
    {
      level: "warning",
      code: "SKEP_DOCTOR_AGENTS_DESTROY",
      message: `whoever takes over one agent could destroy the backups at ${address}, with the credentials of agent-store.json`,
      hint: "turn versions or object lock on for the bucket, and give agents keys that only create: docs/STORES.md, Rights",
    },
  ];
}

/** Of each promise that was tried. */
export function judgePromises(address: string, checked: readonly CheckedPromise[]): Finding[] {
  return checked.map(({ promise, fault }) => {
    if (fault === null) return ok("SKEP_DOCTOR_STORE_PROMISE", `${address} ${promise}`);
    const { code, message, hint } = fault;
    return {
      level: "error",
      code,
      message: `not kept: ${promise}: ${message}`,
      ...(hint === undefined ? {} : { hint }),
    };
  });
}

export function ok(code: Finding["code"], message: string): Finding {
  return { level: "ok", code, message };
}
