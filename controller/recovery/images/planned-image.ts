// What a plan says of images: which each machine needs, and where it gets them from. Pure.
import * as format from "../../cli/format.ts";
import { loadedName, parseReference, shortName } from "../../../shared/image-reference.ts";
import { placesFor, type PlacedMachine } from "../placement.ts";
import type { OldService } from "../swarm-view.ts";
import { sourceFor, type ImageSource } from "./image-sources.ts";

/** As the plan has them. */
type Machine = PlacedMachine & { facts: { architecture: string } };
interface Finding {
  severity: "error" | "warning" | "note";
  code: string;
  text: string;
}

export interface ImageNeed {
  machine: string;
  /** As services name it. */
  reference: string;
  services: string[];
}

/** What an engine said of it: it has it (`given`: by the name that stands for its digest), its registry gives it, or neither and why. */
export interface ImageAnswer {
  state: "present" | "pullable" | "given" | "refused";
  why: string;
}

export interface PlannedImage extends ImageNeed {
  /** `unknown`: nobody asked; it is pulled, or loaded. */
  how: "present" | "pull" | "given" | "load" | "missing" | "unknown";
  source: ImageSource | null;
  why: string;
}

export interface ImagesView {
  machines: readonly Machine[];
  /** Those that are let go. */
  services: readonly OldService[];
  renamed: ReadonlyMap<string, string>;
}

/** An image for each machine on which a service that is let go may start; one that may start nowhere needs it nowhere. */
export function imageNeeds(view: ImagesView): ImageNeed[] {
  const needs = new Map<string, ImageNeed>();
  for (const service of view.services) {
    if (service.image === "") continue;
    for (const machine of placesFor(service, view)) {
      const key = `${machine} ${service.image}`;
      const need = needs.get(key) ?? { machine, reference: service.image, services: [] };
      needs.set(key, need);
      need.services.push(service.name);
    }
  }
  return [...needs.values()].sort((a, b) => (a.machine < b.machine ? -1 : a.machine > b.machine ? 1 : 0));
}

export function answerKey({ machine, reference }: Pick<ImageNeed, "machine" | "reference">): string {
  return `${machine} ${reference}`;
}

/** `answers` by answerKey; null before anybody was asked. */
export function planImages(
  needs: readonly ImageNeed[],
  machines: readonly Machine[],
  sources: readonly ImageSource[],
  answers: ReadonlyMap<string, ImageAnswer> | null,
): PlannedImage[] {
  return needs.map((need) => {
    const architecture = machines.find(({ name }) => name === need.machine)?.facts.architecture ?? "";
    const source = sourceFor(sources, need.reference, architecture);
    const answer = answers?.get(answerKey(need)) ?? null;
    if (answer === null) return { ...need, source, how: "unknown", why: "" };
    return { ...need, source, how: wayTo(answer, source), why: answer.why };
  });
}

function wayTo({ state }: ImageAnswer, source: ImageSource | null): PlannedImage["how"] {
  if (state === "pullable") return "pull";
  if (state !== "refused") return state;
  return source === null ? "missing" : "load";
}

/** What an operator does on a machine to which nothing else brings an image: a load gives it no digest, a name does. */
export function howToLoad(reference: string): string {
  const named = parseReference(reference);
  if (named === null || named.digest === null) return "docker load it there";
  return `docker load it there and docker tag it ${loadedName(named)}`;
}

/** `allowMissing`: what can be had nowhere stops nothing. */
export function examineImages(images: readonly PlannedImage[], allowMissing: boolean): Finding[] {
  const findings: Finding[] = [];
  for (const [reference, all] of byReference(images)) {
    const on = (how: PlannedImage["how"]): string => names(all.filter((one) => one.how === how));
    const of = `${shortened(reference)} (${[...new Set(all.flatMap(({ services }) => services))].join(", ")})`;
    const missing = all.filter(({ how }) => how === "missing");
    if (missing.length > 0) {
      const why = `${names(missing)} can't pull ${of}, and no run has it: ${missing[0]?.why ?? ""}`;
      const cure = `${howToLoad(reference)}, give registries in the inventory, or --allow-missing-images`;
      findings.push({
        severity: allowMissing ? "warning" : "error",
        code: "image-missing",
        text: allowMissing ? why : `${why}; ${cure}`,
      });
    }
    const [loaded] = all.filter(({ how }) => how === "load");
    if (loaded !== undefined) {
      const size = format.bytes(loaded.source?.sizeBytes ?? 0);
      const text = `${on("load")} can't pull ${of}: it is loaded from run ${loaded.source?.run.id ?? ""}, ${size}`;
      findings.push({ severity: "note", code: "image-load", text });
    }
    const named = parseReference(reference);
    if (on("load") + on("given") !== "" && named !== null && named.digest !== null) {
      const becomes = `${reference} becomes ${loadedName(named)}: a loaded image has no registry's digest`;
      findings.push({ severity: "note", code: "image-renamed", text: becomes });
    }
    if (on("pull") !== "") {
      findings.push({ severity: "note", code: "image-pull", text: `${on("pull")} must pull ${of}` });
    }
  }
  return findings;
}

export function byReference(images: readonly PlannedImage[]): Map<string, PlannedImage[]> {
  const found = new Map<string, PlannedImage[]>();
  for (const image of images) found.set(image.reference, [...(found.get(image.reference) ?? []), image]);
  return found;
}

/** Bytes that a machine's images take. */
export function loadedBytes(images: readonly PlannedImage[], machine: string): number {
  return images.reduce(
    (sum, one) => sum + (one.machine === machine && one.how === "load" ? (one.source?.sizeBytes ?? 0) : 0),
    0,
  );
}

function names(images: readonly PlannedImage[]): string {
  return images.map(({ machine }) => machine).join(", ");
}

function shortened(reference: string): string {
  const named = parseReference(reference);
  return named === null ? reference : shortName(named);
}
