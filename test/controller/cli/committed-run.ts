// A run over volumes that were really backed up, so that commands have something to look into.
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { encodeIdentityFile } from "../../../shared/repository/identity-file.ts";
import { appendRun } from "../../../shared/repository/run-chain.ts";
import type { ImageFacts } from "../../../shared/repository/run.ts";
import type { SnapshotResult } from "../../../shared/repository/snapshot.ts";
import { writerId, type Place } from "../../shared/repository/snapshots.ts";
import { runCli, type CliResult } from "./run-cli.ts";
import { samplePart, sampleRun } from "./sample-run.ts";

export const hostname = "host1";

export async function commitRun(
  { store, made }: Place,
  id: string,
  volumes: Record<string, SnapshotResult>,
  { epoch = 1, controllerKey = made.controllerKey }: { epoch?: number; controllerKey?: typeof made.controllerKey } = {},
): Promise<void> {
  const parts = Object.entries(volumes).map(([name, { manifest, refs, totals }]) =>
    samplePart({
      kind: "volume",
      name: `${hostname}/${name}`,
      hostname,
      nodeId: writerId,
      epoch,
      manifest,
      refs,
      totals,
      volume: { name, driver: "local", options: {}, labels: {}, scope: "local" },
    }),
  );
  await appendRun(store, controllerKey, 1, sampleRun(id, { status: "done", parts, notCovered: [], warnings: [] }));
}

/** A run over one image, whose snapshot is of a folder with what `docker save` gave. */
export async function commitImage(
  { store, made }: Place,
  id: string,
  image: ImageFacts,
  { manifest, refs, totals }: SnapshotResult,
): Promise<void> {
  const of = { kind: "image", name: image.names[0] ?? image.id, hostname, nodeId: writerId, epoch: 1 } as const;
  const parts = [samplePart({ ...of, manifest, refs, totals, image })];
  await appendRun(store, made.controllerKey, 1, sampleRun(id, { status: "done", parts, notCovered: [], warnings: [] }));
}

/** Runs the CLI as the operator does who has the store and the identity, and nothing else. */
export function operatorOf(place: Place): (...argv: string[]) => Promise<CliResult> {
  const identity = join(place.path, "identity-anna.txt");
  writeFileSync(identity, encodeIdentityFile(place.made.identityFile), { mode: 0o600 });
  return (...argv) =>
    runCli([...argv, "--store", `file://${place.storePath}`, "--identity", identity], { cwd: place.path });
}
