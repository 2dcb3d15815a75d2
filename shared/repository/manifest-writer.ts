// Writes a manifest: its entries as lines, through the crew's first worker into chunks like any content, and at the
// end its root. The inverse is open/snapshot-reader.ts.
import { zstdCompressSync } from "node:zlib";
import type { Store } from "../store/store.ts";
import { encryptAge } from "./age.ts";
import { digest, Digester } from "./blake3.ts";
import { toManifestExtents } from "./extent-records.ts";
import { layout, newObjectId } from "./layout.ts";
import { entryLines } from "./manifest-lines.ts";
import type { ManifestEntry, ManifestRoot } from "./manifest.ts";
import type { PackCrew } from "./pack-crew.ts";
import type { StoredObject } from "./run.ts";
import type { SnapshotTally } from "./snapshot-tally.ts";

const linesPerTaskBytes = 1024 * 1024;

export class ManifestWriter {
  readonly #crew: PackCrew;
  readonly #tally: SnapshotTally;
  #lines: string[] = [];
  #lineBytes = 0;
  readonly #digest = new Digester();

  constructor(crew: PackCrew, tally: SnapshotTally) {
    this.#crew = crew;
    this.#tally = tally;
  }

  /** In the order of the manifest. `extents`: records of a file's content; null for what has none. */
  add(entry: ManifestEntry, extents: Uint8Array | null): void {
    for (const line of entryLines(entry, extents)) {
      this.#lines.push(line);
      this.#lineBytes += line.length;
      if (this.#lineBytes >= linesPerTaskBytes) this.#send();
    }
  }

  /** After the last entry: extent records of the lines. Their chunks may still wait in an open pack. */
  async end(): Promise<Uint8Array> {
    this.#send();
    const { lines, newBytes } = await this.#crew.run({ kind: "end-lines" }, true);
    this.#tally.totals.newBytes += newBytes;
    return lines ?? new Uint8Array(0);
  }

  /** When all chunks are stored: `lineExtents` as end() gave them. */
  async putRoot(
    store: Store,
    recipient: string,
    facts: Pick<ManifestRoot, "repositoryId" | "runId" | "writerId" | "volume" | "createdAt">,
    lineExtents: Uint8Array,
  ): Promise<StoredObject> {
    const root: ManifestRoot = {
      format: 1,
      ...facts,
      entries: this.#tally.entries,
      extents: toManifestExtents(lineExtents),
      linesDigest: this.#digest.hex(),
    };
    const bytes = await encryptAge(zstdCompressSync(Buffer.from(JSON.stringify(root), "utf8")), [recipient]);
    const key = layout.manifest(facts.runId, newObjectId());
    const { versionId } = await store.put(key, bytes, { signal: this.#crew.signal });
    this.#tally.totals.storedBytes += bytes.length;
    return { key, sizeBytes: bytes.length, digest: digest(bytes), versionId };
  }

  #send(): void {
    if (this.#lines.length === 0) return;
    const bytes = Buffer.from(this.#lines.join(""), "utf8");
    this.#lines = [];
    this.#lineBytes = 0;
    this.#digest.update(bytes);
    const sent = this.#crew.run({ kind: "lines", bytes }, true).then((result) => {
      this.#tally.totals.newBytes += result.newBytes;
    });
    this.#crew.follow(sent);
  }
}
