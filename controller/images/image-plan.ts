// Which images a run takes, and from which node: each image that a service names or runs once in the cluster, from the
// first node that has it. Pure.
import type { TaskResultOf } from "../../shared/contract/task-result.ts";
import type { NotCovered } from "../../shared/repository/run.ts";
import { namesImage, parseReference, shortName } from "../../shared/image-reference.ts";

/** Of the policy. `unpullable`: those that no registry gives without credentials. */
export const imageModes = ["none", "unpullable", "all"] as const;
export type ImageMode = (typeof imageModes)[number];

type FoundImage = TaskResultOf<"node">["images"][number];
export type ImageUser = Pick<TaskResultOf<"definitions">["services"][number], "id" | "name" | "image">;

export interface ImageHolder {
  nodeId: string;
  hostname: string;
  images: readonly FoundImage[];
}

export interface ImageJob {
  nodeId: string;
  hostname: string;
  imageId: string;
  /** For people: `app:1`. */
  name: string;
  /** What services and containers call it; at least one. */
  names: string[];
}

export interface ImagePlan {
  jobs: ImageJob[];
  notCovered: NotCovered[];
}

const mostNames = 100;

export function planImages(
  holders: readonly ImageHolder[],
  services: readonly ImageUser[],
  mode: ImageMode,
): ImagePlan {
  const plan: ImagePlan = { jobs: [], notCovered: [] };
  if (mode === "none") return plan;
  const jobs = new Map<string, ImageJob>();
  const take = ({ nodeId, hostname }: ImageHolder, imageId: string, name: string): void => {
    const job = jobs.get(imageId) ?? { nodeId, hostname, imageId, name: shortened(name), names: [] };
    jobs.set(imageId, job);
    if (!job.names.includes(name) && job.names.length < mostNames) job.names.push(name);
  };
  const byHostname = [...holders].sort((a, b) => compare(a.hostname, b.hostname) || compare(a.nodeId, b.nodeId));
  const used = new Map<string, string[]>();
  for (const { image, name } of services) if (image !== "") used.set(image, [...(used.get(image) ?? []), name]);
  const takeOf = (isOf: (image: FoundImage, service: ImageUser) => boolean): void => {
    for (const holder of byHostname) {
      for (const image of holder.images) {
        for (const service of services) {
          if (isOf(image, service)) take(holder, image.id, service.image || image.id);
        }
      }
    }
  };
  // What runs comes before what has its name since: of two that are called alike a recovery takes the first.
  takeOf(({ serviceIds }, { id }) => serviceIds.includes(id));
  takeOf((image, service) => {
    const reference = parseReference(service.image);
    return reference !== null && namesImage(reference, image);
  });
  for (const holder of byHostname) {
    for (const image of holder.images) {
      for (const { name } of image.containers) take(holder, image.id, name);
    }
  }
  plan.jobs = [...jobs.values()];
  const taken = new Set(plan.jobs.flatMap(({ names }) => names));
  for (const [image, users] of used) {
    if (taken.has(image)) continue;
    const message = `no node has it, and ${users.slice(0, 10).join(", ")} names it`.slice(0, 4096);
    plan.notCovered.push({ kind: "image", name: shortened(image), reason: "absent", message });
  }
  return plan;
}

function shortened(name: string): string {
  const reference = parseReference(name);
  return reference === null ? name : shortName(reference);
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
