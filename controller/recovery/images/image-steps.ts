// The steps that bring images: on each machine those that it needs are pulled, or loaded from the store through Skep's
// agent there; then what was loaded gets, on every machine that may run it, the name by which services will ask for it.
import { z } from "zod";
import { SkepError } from "../../../shared/errors.ts";
import { collectRestoreKeys } from "../../../shared/repository/open/file-keys.ts";
import { describeProgress } from "../../cli/board.ts";
import { loadedName, parseReference, type ImageReference } from "../../../shared/image-reference.ts";
import type { StepResult } from "../journal.ts";
import { onceInput } from "../once-input.ts";
import { stepIds } from "../plan-steps.ts";
import { derivedId, kitOn, machineOf, type RecoveryTools } from "../recovery-tools.ts";
import type { RemoteMachine } from "../remote-machine.ts";
import type { StepActions, StepContext } from "../steps.ts";
import { imageId, loadedId } from "./ask-images.ts";
import { byReference, howToLoad, type PlannedImage } from "./planned-image.ts";

/** A large image over a slow line. */
const pullTimeoutMs = 2 * 3_600_000;

const broughtSchema = z.strictObject({
  how: z.enum(["present", "pulled", "given", "loaded", "missing"]),
  /** The engine's; null of a missing one. */
  id: z.string().nullable(),
  /** The engine has it by what services call it. */
  named: z.boolean(),
  /** Of a missing one. */
  why: z.string().max(4096).optional(),
});
/** What became of one image on one machine, as the journal has it. */
export type BroughtImage = z.infer<typeof broughtSchema>;
const imagesResult = z.looseObject({ images: z.record(z.string(), broughtSchema) });

export function imageActions(tools: RecoveryTools): Map<string, StepActions> {
  const { images, machines } = tools.plan;
  const actions = new Map<string, StepActions>();
  for (const { name } of machines) {
    const needed = images.filter(({ machine }) => machine === name);
    if (needed.length === 0) continue;
    actions.set(stepIds.images(name), { act: (context) => bringImages(tools, needed, context) });
  }
  if (images.length > 0) actions.set(stepIds.imageNames, { act: (context) => nameLoaded(tools, context) });
  return actions;
}

async function bringImages(
  tools: RecoveryTools,
  needed: readonly PlannedImage[],
  context: StepContext,
): Promise<StepResult> {
  const images: Record<string, BroughtImage> = {};
  for (const [index, image] of needed.entries()) {
    context.onProgress(image.reference, index / needed.length);
    images[image.reference] = await bring(tools, image, context);
  }
  return { images };
}

async function bring(tools: RecoveryTools, image: PlannedImage, context: StepContext): Promise<BroughtImage> {
  const { reference, source, how } = image;
  const { signal } = context;
  const machine = machineOf(tools, image.machine);
  const there = await imageId(machine, reference, signal);
  if (there !== null) return { how: "present", id: there, named: true };
  let why = image.why;
  // Of one whose registry refused it when the plan was made what is at hand is the sooner.
  if (how !== "load" && how !== "given") {
    const fault = await pull(machine, reference, tools.registryAccess(reference), signal);
    const pulled = await imageId(machine, reference, signal);
    if (pulled !== null) return { how: "pulled", id: pulled, named: true };
    why = fault ?? "it was pulled, and is not there";
  }
  const given = await loadedId(machine, reference, signal);
  if (given !== null) return { how: "given", id: given, named: false };
  if (source !== null) {
    try {
      return await loadFrom(tools, { ...image, source }, context);
    } catch (error) {
      signal.throwIfAborted();
      // What may pass is tried again.
      if (!tools.allowMissingImages || !(error instanceof SkepError) || !error.permanent) throw error;
      why = error.message;
    }
  }
  if (tools.allowMissingImages)
    return { how: "missing", id: null, named: false, why: why.replaceAll(/\s+/g, " ").slice(0, 4096) };
  throw new SkepError({
    code: "SKEP_RECOVERY_IMAGE",
    message: `${image.machine} can't pull ${reference}, which ${image.services.join(", ")} needs, and no run has it: ${why}`,
    permanent: false,
    hint: `${howToLoad(reference)}, or give the registry's credentials in the inventory (registries), and go on; --allow-missing-images does without`,
  });
}

async function loadFrom(
  tools: RecoveryTools,
  image: PlannedImage & { source: NonNullable<PlannedImage["source"]> },
  context: StepContext,
): Promise<BroughtImage> {
  const { signal } = context;
  const machine = machineOf(tools, image.machine);
  const id = await load(tools, image, context);
  const named = parseReference(image.reference);
  // A tag can be given; a digest is the engine's to give, and some give it.
  if (named !== null && named.digest === null) await tag(machine, id, `${named.repository}:${named.tag ?? ""}`, signal);
  return { how: "loaded", id, named: (await imageId(machine, image.reference, signal)) !== null };
}

/** Null, or why it failed. */
async function pull(
  machine: RemoteMachine,
  reference: string,
  registryAuth: string | null,
  signal: AbortSignal,
): Promise<string | null> {
  const named = parseReference(reference);
  if (named === null) return `${reference} is no name that a registry knows`;
  // A digest stands in the tag's place (Engine API, ImageCreate).
  const query = { fromImage: named.repository, tag: named.digest ?? named.tag ?? "latest" };
  const call = { method: "POST", path: "/images/create", query, registryAuth, timeoutMs: pullTimeoutMs } as const;
  try {
    const said = await machine.askEngine(call, signal);
    const { error } = z.looseObject({ error: z.string().optional() }).catch({}).parse(said);
    return error ?? null;
  } catch (error) {
    signal.throwIfAborted();
    if (error instanceof SkepError && error.code.startsWith("SKEP_DOCKER_")) return error.message;
    throw error;
  }
}

async function load(
  tools: RecoveryTools,
  image: PlannedImage & { source: NonNullable<PlannedImage["source"]> },
  context: StepContext,
): Promise<string> {
  const { part, sizeBytes } = image.source;
  const { signal } = context;
  context.onProgress(`collecting the keys of ${image.reference}`, null);
  const identityKeys = await collectRestoreKeys(tools.store, tools.operator, part, signal);
  const { manifest, refs, nodeId: writerId } = part;
  const task = { kind: "restore-image", image: part.image, sourceBytes: sizeBytes, manifest, refs, writerId } as const;
  const name = derivedId(tools.recoveryId, `${image.machine} ${part.image.id}`);
  const input = onceInput(tools, { machine: image.machine, name, task, writerId, identityKeys });
  const { id } = await kitOn(tools, image.machine).once("restore-image", name, input, {
    signal,
    onProgress: (progress) => {
      const { detail, share } = describeProgress(progress);
      context.onProgress(`${image.reference} ${detail}`, share);
    },
  });
  return id;
}

async function tag(machine: RemoteMachine, id: string, name: string, signal: AbortSignal): Promise<void> {
  const at = name.lastIndexOf(":");
  const query = { repo: name.slice(0, at), tag: name.slice(at + 1) };
  await machine.askEngine({ method: "POST", path: `/images/${encodeURIComponent(id)}/tag`, query }, signal);
}

/** What any machine only has by load gets the same name on all: a service has one spec. */
async function nameLoaded(tools: RecoveryTools, context: StepContext): Promise<StepResult> {
  const { signal } = context;
  const mappings: Record<string, string> = {};
  for (const [reference, planned] of byReference(tools.plan.images)) {
    const named = parseReference(reference);
    const brought = planned.map(({ machine }) => ({ machine, ...broughtTo(context, machine, reference) }));
    if (!needsName(named, brought)) continue;
    const name = loadedName(named);
    for (const { machine, id } of brought) {
      if (id !== null) await tag(machineOf(tools, machine), id, name, signal);
    }
    mappings[reference] = name;
  }
  return { mappings };
}

function needsName(named: ImageReference | null, brought: readonly BroughtImage[]): named is ImageReference {
  return named !== null && named.digest !== null && brought.some((one) => one.id !== null && !one.named);
}

function broughtTo({ resultOf }: StepContext, machine: string, reference: string): BroughtImage {
  const { images } = imagesResult.parse(resultOf(stepIds.images(machine)));
  return images[reference] ?? { how: "missing", id: null, named: false };
}
