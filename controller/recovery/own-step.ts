// Skep's own services, let go last: the controller gets the new controller key as a new Docker secret, since a secret never
// changes and the old one no longer counts.
import { z } from "zod";
import { SkepError } from "../../shared/errors.ts";
import type { StepResult } from "./journal.ts";
import { stepIds } from "./plan-steps.ts";
import { mappedSpec, releaseWave, renamingOf, type Release, type Spec } from "./release-steps.ts";
import { firstMachine, machineOf, type RecoveryTools } from "./recovery-tools.ts";
import type { RemoteMachine } from "./remote-machine.ts";
import type { StepContext } from "./steps.ts";
import { readNewControllerKey } from "./take-over.ts";

/** Where stack.yml puts the key in the controller's container. */
const keyFileName = "controller.key";

const secretSchema = z.looseObject({
  ID: z.string(),
  Spec: z.looseObject({ Name: z.string(), Labels: z.record(z.string(), z.string()).nullish() }),
});

interface SecretReference {
  File?: { Name?: string };
  SecretID: string;
  SecretName: string;
}

export async function releaseOwn(tools: RecoveryTools, healthMs: number, context: StepContext): Promise<StepResult> {
  const names = renamingOf(tools, context);
  // Of nodes that live nobody has given an image another name.
  const renaming = tools.plan.mode === "quorum" ? { ...names, images: new Map<string, string>() } : names;
  const releases = tools.plan.own.map((service): Release => {
    return { service, spec: mappedSpec(service.spec, renaming) };
  });
  const secretName = await giveNewKey(tools, releases, context);
  const { services } = await releaseWave(tools, releases, healthMs, context);
  return { services, controllerKeySecret: secretName };
}

/** The new secret's name; null where no service has the old one. */
async function giveNewKey(
  tools: RecoveryTools,
  releases: readonly Release[],
  context: StepContext,
): Promise<string | null> {
  const references = releases.flatMap(({ spec }) => keyReferences(spec));
  const [first] = references;
  const secret = first === undefined ? null : await newKeySecret(tools, first.SecretName, context);
  if (first === undefined || secret === null) return null;
  const { signal } = context;
  const manager = machineOf(tools, firstMachine(tools).name);
  const old = await findSecret(manager, first.SecretName, signal);
  const { name } = secret;
  const body = { Name: name, Labels: old?.Spec.Labels ?? {}, Data: secret.data };
  const id = (await findSecret(manager, name, signal))?.ID ?? (await createSecret(manager, body, signal));
  for (const reference of references) {
    reference.SecretID = id;
    reference.SecretName = name;
  }
  return name;
}

/** The secret that takes the place of the one called `former`: its name, and its data in base64. Null without a new key. */
export async function newKeySecret(
  tools: RecoveryTools,
  former: string,
  { resultOf }: Pick<StepContext, "resultOf">,
): Promise<{ name: string; data: string } | null> {
  const key = await readNewControllerKey(tools);
  if (key === null) return null;
  // As the journal has it: the same whenever the recovery goes on.
  const incarnation = Number(resultOf(stepIds.takeOver)["incarnation"]);
  const data = Buffer.from(`${JSON.stringify(key, null, 2)}\n`).toString("base64");
  return { name: `${former.replace(/_(\d+|i\d+)$/, "")}_i${incarnation}`, data };
}

export function keyReferences(spec: Spec): SecretReference[] {
  const template = spec["TaskTemplate"] as { ContainerSpec?: { Secrets?: SecretReference[] } } | undefined;
  return (template?.ContainerSpec?.Secrets ?? []).filter(({ File }) => File?.Name === keyFileName);
}

async function findSecret(
  manager: RemoteMachine,
  name: string,
  signal: AbortSignal,
): Promise<z.infer<typeof secretSchema> | null> {
  const secrets = await manager.engine(z.array(secretSchema), { path: "/secrets" }, signal);
  return secrets.find(({ Spec }) => Spec.Name === name) ?? null;
}

async function createSecret(manager: RemoteMachine, body: object, signal: AbortSignal): Promise<string> {
  const created = z.looseObject({ ID: z.string() });
  try {
    return (await manager.engine(created, { method: "POST", path: "/secrets/create", body }, signal)).ID;
  } catch (error) {
    // The body is in no message: an engine's refusal may quote it.
    if (!(error instanceof SkepError)) throw error;
    throw new SkepError({
      code: error.code,
      message: `the engine of ${manager.name} refused the secret with the new controller key`,
      permanent: error.permanent,
    });
  }
}
