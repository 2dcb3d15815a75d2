// The runs of a repository, as a chain: each run object is signed by the controller, sealed by the catalogue key,
// and names its own number and the digest of the run object before it. What is missing or replaced shows.
import { z } from "zod";
import { SkepError } from "../errors.ts";
import type { ObjectKey, Store } from "../store/store.ts";
import { digest } from "./blake3.ts";
import type { Catalogue } from "./catalogue.ts";
import { catalogueOfController } from "./catalogue.ts";
import type { ControllerKey } from "./controller-key.ts";
import { layout, numberOfKey } from "./layout.ts";
import { readRepositoryObject } from "./repository-reader.ts";
import { runSchema, type Run } from "./run.ts";
import { open, seal } from "./sealed.ts";
import { publicKeyOf, signedSchema, signPayload, verifyPayload } from "./signature.ts";

/** 64 MiB, what a store takes; a run of 200,000 parts needs some 20 MiB compressed. */
const maxRunBytes = 64 * 1024 * 1024;
const maxPlainRunBytes = 512 * 1024 * 1024;

export interface ReadRun {
  key: ObjectKey;
  run: Run;
  /** BLAKE3-256 of the object's bytes. */
  digest: string;
  /** `broken`: the run before it, which it names, is missing or another one. */
  chain: "first" | "intact" | "broken";
}

export type NewRun = Omit<Run, "format" | "repositoryId" | "incarnation" | "sequence" | "previousDigest">;

/**
 * Signs, seals and writes the run as the next of the chain. `incarnation` is the writer's own: where the repository
 * has another, or another controller key, it throws SKEP_REPOSITORY_FENCED and writes nothing. A run that is the newest
 * already is not written again.
 */
export async function appendRun(
  store: Store,
  key: ControllerKey,
  incarnation: number,
  run: NewRun,
  signal?: AbortSignal,
): Promise<Run> {
  const catalogue = catalogueOfController(store, key);
  const publicKey = publicKeyOf(key.signingKey);
  for (;;) {
    const repository = await readRepositoryObject(store, key.rootPublicKey, { ...(signal && { signal }) });
    if (repository.incarnation !== incarnation || repository.controllerPublicKey !== publicKey) {
      throw new SkepError({
        code: "SKEP_REPOSITORY_FENCED",
        message: `the repository at ${store.address} is at incarnation ${repository.incarnation}${
          repository.controllerPublicKey === publicKey ? "" : " with another controller key"
        }; this controller is of incarnation ${incarnation} and may not write to it`,
        permanent: true,
        hint: "a recovery or a clone took the repository over: stop this controller, or give it the new kit",
      });
    }
    const sequences = await listSequences(store, signal);
    const previous = await newestRun(catalogue, sequences, signal);
    // Written before, by whoever died before he could say so.
    if (previous?.run.id === run.id) return previous.run;
    const sequence = (sequences.at(-1) ?? 0) + 1;
    const complete: Run = runSchema.parse({
      ...run,
      format: 1,
      repositoryId: key.repositoryId,
      incarnation,
      sequence,
      previousDigest: previous?.digest ?? null,
    });
    const signed = signPayload("skep/v1 run", JSON.stringify(complete), key.signingKey);
    const sealed = seal(
      Buffer.from(JSON.stringify(signed), "utf8"),
      { type: "run", repositoryId: key.repositoryId, epoch: 0, writerId: "" },
      catalogue.catalogueKey,
    );
    const stored = await store.putIfAbsent(layout.run(sequence), sealed, { ...(signal && { signal }) });
    if (stored !== null) return complete;
  }
}

export interface ReadRunsOptions {
  signal?: AbortSignal;
  /** Told of each object under runs/ that does not open or is not signed; without it these throw. */
  onFault?: (fault: SkepError, key: ObjectKey) => void;
}

/** Newest first. Each is opened, its signature checked, and its link to the run before it. */
export async function* readRuns(catalogue: Catalogue, options: ReadRunsOptions = {}): AsyncGenerator<ReadRun> {
  const { signal, onFault } = options;
  const sequences = await listSequences(catalogue.store, signal);
  let newer: OpenedRun | null = null;
  for (const sequence of sequences.reverse()) {
    let opened: OpenedRun | null;
    try {
      opened = await readSequence(catalogue, sequence, signal);
    } catch (error) {
      if (onFault === undefined || !isFaultOfObject(error)) throw error;
      onFault(error, layout.run(sequence));
      continue;
    }
    if (opened === null) continue;
    if (newer !== null) yield link(newer, opened);
    newer = opened;
  }
  if (newer !== null) yield link(newer, null);
}

/** By run id, or the newest; null where there is none. */
export async function readRun(
  catalogue: Catalogue,
  id: string,
  options: ReadRunsOptions = {},
): Promise<ReadRun | null> {
  for await (const found of readRuns(catalogue, options)) {
    if (id === "latest" || found.run.id === id) return found;
  }
  return null;
}

interface OpenedRun {
  key: ObjectKey;
  run: Run;
  digest: string;
}

function link(newer: OpenedRun, older: OpenedRun | null): ReadRun {
  const { previousDigest } = newer.run;
  const chain = previousDigest === null ? "first" : previousDigest === older?.digest ? "intact" : "broken";
  return { ...newer, chain };
}

async function listSequences(store: Store, signal?: AbortSignal): Promise<number[]> {
  const sequences: number[] = [];
  for await (const { key } of store.list(layout.runsPrefix, signal)) {
    const sequence = numberOfKey(key);
    if (sequence !== null && key === layout.run(sequence)) sequences.push(sequence);
  }
  return sequences.sort((a, b) => a - b);
}

/** The newest that opens: what somebody else put there has no part in the chain. */
async function newestRun(
  catalogue: Catalogue,
  sequences: readonly number[],
  signal?: AbortSignal,
): Promise<OpenedRun | null> {
  for (const sequence of sequences.toReversed()) {
    try {
      const opened = await readSequence(catalogue, sequence, signal);
      if (opened !== null) return opened;
    } catch (error) {
      if (!isFaultOfObject(error)) throw error;
    }
  }
  return null;
}

async function readSequence(catalogue: Catalogue, sequence: number, signal?: AbortSignal): Promise<OpenedRun | null> {
  const key = layout.run(sequence);
  const place = `${key} at ${catalogue.store.address}`;
  const sealed = await catalogue.store.get(key, maxRunBytes, signal);
  if (sealed === null) return null;
  const expected = { type: "run", repositoryId: catalogue.repositoryId, writerId: "" } as const;
  const plain = open(sealed, expected, catalogue.catalogueKey, place, maxPlainRunBytes);
  const invalid = (why: string): SkepError =>
    new SkepError({
      code: "SKEP_RUN_INVALID",
      message: `${place} is not a run of this repository: ${why}`,
      permanent: true,
      hint: "it was written by a newer Skep, or not by this repository's controller",
    });
  const signed = signedSchema.safeParse(JSON.parse(Buffer.from(plain).toString("utf8")));
  if (!signed.success) throw invalid("it is not signed");
  const run = runSchema.safeParse(JSON.parse(verifyByAny(signed.data, catalogue.controllerPublicKeys, place)));
  if (!run.success) throw invalid(z.prettifyError(run.error));
  if (run.data.repositoryId !== catalogue.repositoryId) throw invalid(`it belongs to ${run.data.repositoryId}`);
  if (run.data.sequence !== sequence) throw invalid(`it is run ${run.data.sequence} of the chain`);
  return { key, run: run.data, digest: digest(sealed) };
}

function verifyByAny(signed: z.infer<typeof signedSchema>, publicKeys: readonly string[], place: string): string {
  let fault: unknown = new TypeError("a catalogue needs a controller key");
  for (const publicKey of publicKeys) {
    try {
      return verifyPayload("skep/v1 run", signed, publicKey, place);
    } catch (error) {
      fault = error;
    }
  }
  throw fault;
}

function isFaultOfObject(error: unknown): error is SkepError {
  return (
    error instanceof SkepError &&
    ["SKEP_SEALED_INVALID", "SKEP_SIGNATURE_INVALID", "SKEP_RUN_INVALID"].includes(error.code)
  );
}
