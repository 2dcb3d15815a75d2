// What Skep asks of an engine about images. The door to the engine is docker.ts.
import type { Readable } from "node:stream";
import { z } from "zod";
import type { EngineRequests } from "../shared/engine-requests.ts";
import { SkepError } from "../shared/errors.ts";
import { loadImage } from "../shared/image-load.ts";
import { inspectedImageSchema, listedImageSchema, type InspectedImage, type ListedImage } from "./docker-objects.ts";

/** All methods reject as those of Docker do. */
export interface DockerImages {
  /** All that have a name or are used; not what lies between. */
  images(signal?: AbortSignal): Promise<ListedImage[]>;
  /** By id or name; null where there is none. */
  image(name: string, signal?: AbortSignal): Promise<InspectedImage | null>;
  /** Its content, as `docker save` gives it. An engine that fails on the way may end it with words of its own. */
  saveImage(id: string, signal: AbortSignal): Promise<Readable>;
  /** Takes what saveImage gave. What the engine calls what it loaded: names, or ids. */
  loadImage(content: Readable, signal: AbortSignal): Promise<string[]>;
  /** True where the registry that `name` names gives it to somebody without credentials. Asked at most so long. */
  isPullable(name: string, timeoutMs: number, signal: AbortSignal): Promise<boolean>;
}

/** The ways through the door. */
export interface ImageDoor extends Pick<EngineRequests, "get" | "stream"> {
  nullWhereMissing: <T>(answer: Promise<T>) => Promise<T | null>;
}

export function imageCalls({ get, stream, nullWhereMissing }: ImageDoor): DockerImages {
  const at = encodeURIComponent;
  return {
    images: (signal) => get(z.array(listedImageSchema), "/images/json", signal),
    image: (name, signal) => nullWhereMissing(get(inspectedImageSchema, `/images/${at(name)}/json`, signal)),
    saveImage: (id, signal) => stream({ method: "GET", path: `/images/${at(id)}/get`, signal }),
    loadImage: (content, signal) => loadImage(stream, content, { notLoaded, signal }),
    isPullable: async (name, timeoutMs, signal) => {
      const limited = AbortSignal.any([signal, AbortSignal.timeout(timeoutMs)]);
      try {
        await get(z.looseObject({}), `/distribution/${at(name)}/json`, limited);
        return true;
      } catch {
        signal.throwIfAborted();
        return false;
      }
    },
  };
}

function notLoaded(why: string, cause?: unknown): SkepError {
  return new SkepError({
    code: "SKEP_DOCKER_FAILED",
    message: `docker did not load the image: ${why}`,
    permanent: false,
    hint: "is there room in the engine's data folder?",
    cause,
  });
}
