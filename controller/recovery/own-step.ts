// Skep's own services, let go last: the controller gets the new controller key as a new Docker secret, since a secret never
// changes and the old one no longer counts.
import { z } from "zod";
import { SkepError } from "../../shared/errors.ts";
import type { StepResult } from "./journal.ts";
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
  const renaming = renamingOf(tools, context);
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
  { signal }: StepContext,
): Promise<string | null> {
  const references = releases.flatMap(({ spec }) => keyReferences(spec));
  const [first] = references;
  const key = await readNewControllerKey(tools);
  if (first === undefined || key === null) return null;
  const manager = machineOf(tools, firstMachine(tools).name);
  const { incarnation } = tools.operator.repositoryObject;
  const old = await findSecret(manager, first.SecretName, signal);
  const name = `${first.SecretName.replace(/_(\d+|i\d+)$/, "")}_i${incarnation + 1}`;
  const data = Buffer.from(`${JSON.stringify(key, null, 2)}\n`).toString("base64");
  const body = { Name: name, Labels: old?.Spec.Labels ?? {}, Data: data };
  const id = (await findSecret(manager, name, signal))?.ID ?? (await createSecret(manager, body, signal));
  for (const reference of references) {
    reference.SecretID = id;
    reference.SecretName = name;
  }
  return name;
}

function keyReferences(spec: Spec): SecretReference[] {
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
