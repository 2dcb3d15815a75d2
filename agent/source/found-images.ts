// The images of this node's engine, and who runs them now.
import type { TaskResultOf } from "../../shared/contract/task-result.ts";
import { containerName, type Container, type ListedImage } from "../docker-objects.ts";

type FoundImage = TaskResultOf<"node">["images"][number];

/** On a container of no service: its image is to be backed up too, where the policy takes images at all. */
const imageLabel = "io.skep.image";
const mostImages = 10_000;
const mostNames = 1000;

export function foundImages(images: readonly ListedImage[], containers: readonly Container[]): FoundImage[] {
  const running = containers.filter(({ State }) => State === "running" || State === "paused");
  return images.slice(0, mostImages).flatMap((image) => {
    // Windows' engines have other ids.
    if (!/^sha256:[0-9a-f]{64}$/.test(image.Id)) return [];
    const users = running.filter(({ ImageID }) => ImageID === image.Id);
    const serviceIds = users.flatMap(({ Labels }) => Labels?.["com.docker.swarm.service.id"] ?? []);
    const asking = users.filter(
      ({ Labels }) => Labels?.["com.docker.swarm.service.id"] === undefined && Labels?.[imageLabel] === "true",
    );
    return {
      id: image.Id,
      tags: image.RepoTags.slice(0, mostNames),
      digests: image.RepoDigests.slice(0, mostNames),
      sizeBytes: image.Size,
      serviceIds: [...new Set(serviceIds)].slice(0, mostNames),
      containers: asking.slice(0, mostNames).map((container) => ({
        container: containerName(container),
        name: container.Image,
      })),
    };
  });
}
