// The identity file of one operator: an age identity file (one `AGE-SECRET-KEY-…` line, so that `age -i` takes
// it as it is) whose comments carry the root signing key and what the file belongs to. Kept offline.
import { SkepError } from "../errors.ts";
import { repositoryIdPattern } from "./layout.ts";
import { publicKeyIn, publicKeySchema } from "./signature.ts";

export interface IdentityFile {
  repositoryId: string;
  /** Whose it is, e.g. "anna". */
  name: string;
  createdAt: string;
  /** `AGE-SECRET-KEY-1…` or `AGE-SECRET-KEY-PQ-1…`. */
  identity: string;
  recipient: string;
  /** PKCS#8 DER in base64; null where this operator opens, but does not change who else may. */
  rootPrivateKey: string | null;
  /** Pinned: whose signature counts on the repository object. */
  rootPublicKey: string;
}

export function encodeIdentityFile(file: IdentityFile): string {
  return [
    "# Skep identity: opens every backup of this repository. Keep it offline, keep two copies.",
    `# name: ${file.name}`,
    `# created: ${file.createdAt}`,
    `# repository: ${file.repositoryId}`,
    `# public key: ${file.recipient}`,
    ...(file.rootPrivateKey === null ? [] : [`# root signing key: ${file.rootPrivateKey}`]),
    `# root public key: ${file.rootPublicKey}`,
    file.identity,
    "",
  ].join("\n");
}

/** `place` names the file for the message. Throws SKEP_IDENTITY_INVALID. Never puts a line of the file into an error. */
export function decodeIdentityFile(text: string, place: string): IdentityFile {
  const invalid = (why: string): SkepError =>
    new SkepError({
      code: "SKEP_IDENTITY_INVALID",
      message: `${place} is not a Skep identity file: ${why}`,
      permanent: true,
      hint: "give the file that `skep init` wrote, unchanged",
    });
  if (text.length > 65536) throw invalid("it is larger than 64 KiB");
  const lines = text.split(/\r?\n/);
  const optional = (name: string): string | null =>
    lines
      .find((candidate) => candidate.startsWith(`# ${name}: `))
      ?.slice(name.length + 4)
      .trim() ?? null;
  const field = (name: string): string => {
    const value = optional(name);
    if (value === null) throw invalid(`the line "# ${name}: …" is missing`);
    return value;
  };
  const identities = lines.filter((line) => line !== "" && !line.startsWith("#"));
  const [identity] = identities;
  if (identity === undefined || identities.length > 1 || !/^AGE-SECRET-KEY-(PQ-)?1[0-9A-Z]+$/.test(identity)) {
    throw invalid("it must hold exactly one AGE-SECRET-KEY line");
  }
  const repositoryId = field("repository");
  if (!repositoryIdPattern.test(repositoryId)) throw invalid("its repository id is not 32 hex digits");
  const rootPublicKey = field("root public key");
  if (!publicKeySchema.safeParse(rootPublicKey).success) throw invalid("its root public key is none");
  const rootPrivateKey = optional("root signing key");
  if (rootPrivateKey !== null && publicKeyIn(rootPrivateKey) !== rootPublicKey) {
    throw invalid("its root signing key cannot be read, or is not that of its root public key");
  }
  return {
    repositoryId,
    name: field("name"),
    createdAt: field("created"),
    identity,
    recipient: field("public key"),
    rootPrivateKey,
    rootPublicKey,
  };
}
