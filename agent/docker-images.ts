// What Skep asks of an engine about images. The door to the engine is docker.ts.
import { createInterface } from "node:readline";
import type { Readable } from "node:stream";
import { z } from "zod";
import { SkepError } from "../shared/errors.ts";
import { readLoadAnswer } from "../shared/image-load.ts";
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
export interface ImageDoor {
  get: <T>(schema: z.ZodType<T>, path: string, signal?: AbortSignal) => Promise<T>;
  stream: (request: {
    method: "GET" | "POST";
    path: string;
    content?: Readable;
    signal: AbortSignal;
  }) => Promise<Readable>;
  nullWhereMissing: <T>(answer: Promise<T>) => Promise<T | null>;
}

export function imageCalls({ get, stream, nullWhereMissing }: ImageDoor): DockerImages {
  const at = encodeURIComponent;
  return {
    images: (signal) => get(z.array(listedImageSchema), "/images/json", signal),
    image: (name, signal) => nullWhereMissing(get(inspectedImageSchema, `/images/${at(name)}/json`, signal)),
    saveImage: (id, signal) => stream({ method: "GET", path: `/images/${at(id)}/get`, signal }),
    loadImage: async (content, signal) => {
      try {
        const answer = await stream({ method: "POST", path: "/images/load", content, signal });
        const said = await readLoadAnswer(createInterface({ input: answer }));
        if ("why" in said) throw notLoaded(said.why);
        return said.names;
      } catch (thrown) {
        signal.throwIfAborted();
        // An engine whose content ends half-way tells that it does: not why.
        const first: unknown = content.errored ?? thrown;
        throw first instanceof SkepError ? first : notLoaded(String(first), first);
      }
    },
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
