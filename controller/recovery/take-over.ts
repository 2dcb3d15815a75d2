// Taking the repository over: a new incarnation with a new controller key, signed by the root key. From then on the dead
// swarm's controller, should it wake up, writes and prunes nothing: its key no longer counts. The new key lies on the
// operator's machine, for its owner alone, until the new swarm has it as a secret.
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { decodeControllerKey, type ControllerKey } from "../../shared/repository/controller-key.ts";
import { readRepositoryObject } from "../../shared/repository/repository-reader.ts";
import { generateSigningKeyPair, publicKeyOf } from "../../shared/repository/signature.ts";
import { succeedController } from "../../shared/repository/succession.ts";
import type { StepResult } from "./journal.ts";
import type { RecoveryTools } from "./recovery-tools.ts";
import { writeSecretFile } from "./secret-file.ts";
import type { StepContext } from "./steps.ts";

export function controllerKeyPath({ folder }: Pick<RecoveryTools, "folder">): string {
  return join(folder, "controller.key");
}

/** The key that this recovery made; null before. */
export async function readNewControllerKey(tools: Pick<RecoveryTools, "folder">): Promise<ControllerKey | null> {
  const path = controllerKeyPath(tools);
  try {
    return decodeControllerKey(await readFile(path, "utf8"), path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return null;
    throw error;
  }
}

/** Null where the key of this recovery does not count yet. */
export async function findTakenOver(tools: RecoveryTools, { signal }: StepContext): Promise<StepResult | null> {
  const key = await readNewControllerKey(tools);
  if (key === null) return null;
  const { rootPublicKey } = tools.operator.repositoryObject;
  const present = await readRepositoryObject(tools.store, rootPublicKey, { signal, onForeign });
  const { incarnation, controllerPublicKey, version } = present;
  return controllerPublicKey === publicKeyOf(key.signingKey) ? { incarnation, version } : null;
}

export async function takeRepositoryOver(tools: RecoveryTools, { signal }: StepContext): Promise<StepResult> {
  const key = (await readNewControllerKey(tools)) ?? (await makeKey(tools));
  const { incarnation, version } = await succeedController({
    store: tools.store,
    rootPublicKey: tools.operator.repositoryObject.rootPublicKey,
    rootPrivateKey: tools.rootPrivateKey,
    controllerPublicKey: publicKeyOf(key.signingKey),
    now: tools.now(),
    catalogueKey: tools.operator.catalogueKey,
    onForeign,
    acceptForeign: tools.acceptForeign ?? false,
    signal,
  });
  return { incarnation, version };
}

/** The recovery told of it when it opened the repository. */
function onForeign(): void {
  return undefined;
}

async function makeKey(tools: RecoveryTools): Promise<ControllerKey> {
  const { repositoryId, rootPublicKey } = tools.operator.repositoryObject;
  const key: ControllerKey = {
    format: 1,
    repositoryId,
    rootPublicKey,
    repositoryKey: Buffer.from(tools.operator.repositoryKey).toString("base64"),
    signingKey: generateSigningKeyPair().privateKey,
  };
  await writeSecretFile(controllerKeyPath(tools), `${JSON.stringify(key, null, 2)}\n`);
  return key;
}
