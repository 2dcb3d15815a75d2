// Asks each machine's engine what it has of the images that it needs, and whether their registries give the rest: nothing
// is pulled. Machines are asked at once, and on each the registries; a registry that did not answer is not asked again.
import { z } from "zod";
import { SkepError } from "../../../shared/errors.ts";
import { loadedName, parseReference, registryOf } from "../../../shared/image-reference.ts";
import type { RemoteMachine } from "../remote-machine.ts";
import { answerKey, type ImageAnswer, type ImageNeed } from "./planned-image.ts";
import type { RegistryAccess } from "./registry-access.ts";

/** A registry that answers at all answers within it. */
const askTimeoutMs = 20_000;

export async function askImages(
  needs: readonly ImageNeed[],
  machines: ReadonlyMap<string, RemoteMachine>,
  access: RegistryAccess,
  signal: AbortSignal,
): Promise<Map<string, ImageAnswer>> {
  const queues = new Map<string, ImageNeed[]>();
  for (const need of needs) {
    const named = parseReference(need.reference);
    const queue = `${need.machine} ${named === null ? "" : registryOf(named)}`;
    queues.set(queue, [...(queues.get(queue) ?? []), need]);
  }
  const answers = new Map<string, ImageAnswer>();
  await Promise.all(
    [...queues.values()].map(async (queue) => {
      let silent: ImageAnswer | null = null;
      for (const need of queue) {
        const machine = machines.get(need.machine);
        if (machine === undefined) continue;
        const has = await imageId(machine, need.reference, signal);
        if (has !== null) {
          answers.set(answerKey(need), { state: "present", why: "" });
          continue;
        }
        const startedAt = performance.now();
        const answer: ImageAnswer = silent ?? (await askRegistry(machine, need.reference, access, signal));
        if (answer.state === "refused" && performance.now() - startedAt >= askTimeoutMs) silent = answer;
        const given = answer.state === "refused" && (await loadedId(machine, need.reference, signal)) !== null;
        answers.set(answerKey(need), given ? { ...answer, state: "given" } : answer);
      }
    }),
  );
  return answers;
}

/** By name or id; null where the engine has none. */
export async function imageId(machine: RemoteMachine, name: string, signal: AbortSignal): Promise<string | null> {
  try {
    const path = `/images/${encodeURIComponent(name)}/json`;
    return (await machine.engine(z.looseObject({ Id: z.string() }), { path }, signal)).Id;
  } catch (error) {
    if (error instanceof SkepError && error.code === "SKEP_DOCKER_NOT_FOUND") return null;
    throw error;
  }
}

/** Of an image that services name by its digest, and that was loaded here under the name that stands for it; else null. */
export async function loadedId(machine: RemoteMachine, reference: string, signal: AbortSignal): Promise<string | null> {
  const named = parseReference(reference);
  return named === null || named.digest === null ? null : await imageId(machine, loadedName(named), signal);
}

async function askRegistry(
  machine: RemoteMachine,
  reference: string,
  access: RegistryAccess,
  signal: AbortSignal,
): Promise<ImageAnswer> {
  const path = `/distribution/${encodeURIComponent(reference)}/json`;
  try {
    await machine.askEngine({ path, registryAuth: access(reference), timeoutMs: askTimeoutMs }, signal);
    return { state: "pullable", why: "" };
  } catch (error) {
    signal.throwIfAborted();
    if (error instanceof SkepError && error.code.startsWith("SKEP_DOCKER_")) {
      return { state: "refused", why: error.message };
    }
    throw error;
  }
}
