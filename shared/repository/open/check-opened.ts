// What a check with the identity adds: packs open, every chunk in them is what its name says and where refs say; archives
// and manifests open and belong to their run. So a pack that was written wrongly, or to other recipients, shows as well.
import { zstdDecompressSync } from "node:zlib";
import { SkepError } from "../../errors.ts";
import type { Store } from "../../store/store.ts";
import { layout } from "../layout.ts";
import { manifestRootSchema } from "../manifest.ts";
import { decodeChunkTable } from "../pack-format.ts";
import type { Part, Run } from "../run.ts";
import { getChecked } from "../stored-object.ts";
import type { Opened } from "../upkeep/check-content.ts";
import type { LedgerPack, NeededChunk } from "../upkeep/pack-ledger.ts";
import { decryptAge } from "./age.ts";
import { readArchive } from "./archive-reader.ts";
import { maxManifestRootBytes } from "./file-keys.ts";
import type { Operator } from "./operator.ts";
import { openChunkFrame } from "./sealed-window.ts";

/** A root names some thousand extents. */
const maxPlainRootBytes = 256 * 1024 * 1024;

export function openWith(operator: Operator, store: Store, signal: AbortSignal): Opened {
  return {
    pack: (found, bytes, chunks) => checkPack(operator, store, found, bytes, chunks),
    part: async (part, run) => {
      await checkManifest(operator, store, part, run, signal);
      await checkArchive(operator, store, part, signal);
    },
  };
}

async function checkPack(
  operator: Operator,
  store: Store,
  { pack, writerId, epoch }: LedgerPack,
  bytes: Uint8Array,
  needed: Iterable<NeededChunk>,
): Promise<void> {
  const place = `${layout.pack(pack)} at ${store.address}`;
  const plain = await decryptAge(bytes, [await operator.epochIdentity(epoch)], place);
  const { chunkName } = operator.writerKeys(writerId);
  const there = new Map<number, { name: string; frameBytes: number }>();
  let start = 0;
  for (const { name, frameBytes, plainBytes } of decodeChunkTable(plain, place)) {
    const chunk = { name: Buffer.from(name).toString("hex"), start, frameBytes, plainBytes };
    openChunkFrame(plain.subarray(start, start + frameBytes), chunk, chunkName, place);
    there.set(start, chunk);
    start += frameBytes;
  }
  for (const { start: at, frameBytes, nameStart } of needed) {
    const chunk = there.get(at);
    if (chunk?.frameBytes === frameBytes && chunk.name.startsWith(nameStart)) continue;
    throw new SkepError({
      code: "SKEP_CHUNK_DAMAGED",
      message: `${place}: no chunk ${nameStart}… stands at byte ${at}, where refs say so`,
      permanent: true,
      hint: "the agent that wrote it lied or was broken; the next run writes it anew once its cache is removed",
    });
  }
}

async function checkManifest(
  operator: Operator,
  store: Store,
  { manifest, epoch, nodeId, volume }: Part,
  run: Run,
  signal: AbortSignal,
): Promise<void> {
  if (manifest === undefined || epoch === undefined) return;
  const place = `${manifest.key} at ${store.address}`;
  const invalid = (why: string, cause?: unknown): SkepError =>
    new SkepError({
      code: "SKEP_MANIFEST_INVALID",
      message: `${place}: ${why}`,
      permanent: true,
      hint: "the agent that wrote it lied or was broken: restore this volume from another run",
      cause,
    });
  const file = await getChecked(store, manifest, maxManifestRootBytes, signal);
  const compressed = await decryptAge(file, [await operator.epochIdentity(epoch)], place);
  let json: unknown;
  try {
    json = JSON.parse(zstdDecompressSync(compressed, { maxOutputLength: maxPlainRootBytes }).toString("utf8"));
  } catch (error) {
    throw invalid("it does not decompress to JSON", error);
  }
  const root = manifestRootSchema.safeParse(json);
  if (!root.success) throw invalid("it has another shape");
  const { repositoryId, runId, writerId, volume: name } = root.data;
  if (repositoryId !== run.repositoryId || runId !== run.id || writerId !== nodeId || name !== volume?.name) {
    throw invalid(`it is of volume ${name} of ${writerId} in run ${runId}`);
  }
}

async function checkArchive(
  operator: Operator,
  store: Store,
  { archive, epoch }: Part,
  signal: AbortSignal,
): Promise<void> {
  if (archive === undefined || epoch === undefined) return;
  const identity = await operator.epochIdentity(epoch);
  for await (const file of readArchive({ store, archive, identity, signal })) {
    for await (const piece of file.content) if (piece.length === 0) break;
  }
}
