// The images that a recovery can load: those of the run, and of older runs where that run's attempt failed.
import type { ImageFacts, Part, Run, StoredObject } from "../../../shared/repository/run.ts";
import { namesImage, parseReference } from "../../../shared/image-reference.ts";

export interface ImageSource {
  run: Pick<Run, "id" | "startedAt">;
  part: Part & { image: ImageFacts; manifest: StoredObject; refs: StoredObject };
  sizeBytes: number;
}

/** `older`: newest first. */
export function imageSources(run: Run, older: readonly Run[]): ImageSource[] {
  const found = new Map<string, ImageSource>();
  for (const { id, startedAt, parts } of [run, ...older]) {
    for (const part of parts) {
      const { kind, image, manifest, refs, totals } = part;
      if (kind !== "image" || image === undefined || manifest === undefined || refs === undefined) continue;
      if (found.has(image.id)) continue;
      const sizeBytes = totals?.sourceBytes ?? 0;
      found.set(image.id, { run: { id, startedAt }, part: { ...part, image, manifest, refs }, sizeBytes });
    }
  }
  return [...found.values()];
}

/** As engines name architectures, and as images do. */
const architectures: Readonly<Record<string, string>> = { x86_64: "amd64", aarch64: "arm64", armv7l: "arm" };

/** The stored image that a service calls so, for a machine of this architecture (the engine's word); null where there is none. */
export function sourceFor(
  sources: readonly ImageSource[],
  reference: string,
  architecture: string,
): ImageSource | null {
  const wanted = architectures[architecture] ?? architecture;
  const named = parseReference(reference);
  const fits = ({ part: { image } }: ImageSource): boolean => {
    if (image.architecture !== wanted) return false;
    // The run's own word for it counts before what its tags say: a tag may have gone to another image.
    return image.names.includes(reference) || image.id === reference;
  };
  const alike = ({ part: { image } }: ImageSource): boolean =>
    image.architecture === wanted && named !== null && namesImage(named, { tags: image.names, digests: image.digests });
  return sources.find(fits) ?? sources.find(alike) ?? null;
}
