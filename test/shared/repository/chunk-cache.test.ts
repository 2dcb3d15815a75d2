import { expect } from "chai";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ChunkCache } from "../../../shared/repository/chunk-cache.ts";
import type { PackRef } from "../../../shared/repository/refs.ts";

describe("the chunk cache", () => {
  let folder: string;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), "skep-cache-"));
  });
  afterEach(() => {
    rmSync(folder, { recursive: true });
  });

  it("keeps packs that came into another index object when the one before goes", () => {
    const cache = ChunkCache.open(join(folder, "chunks.sqlite"), {
      repositoryId: "0".repeat(32),
      writerId: "node1",
      incarnation: 1,
    });
    try {
      const chunk = "ab".repeat(32);
      const pack: PackRef = {
        pack: "cd".repeat(16),
        sizeBytes: 1000,
        headerBytes: 100,
        epoch: 1,
        chunks: [[chunk, 0, 200, 400]],
      };
      const [small, merged] = ["1".repeat(32), "2".repeat(32)];
      cache.addIndex(small, [pack]);
      cache.addIndex(merged, [pack]);
      cache.forgetIndex(small);
      expect(cache.indexObjects()).to.deep.equal([merged]);
      expect(cache.hasChunk(Buffer.from(chunk, "hex"))).to.equal(true);
      expect(cache.packs().map(({ pack: name }) => name)).to.deep.equal([pack.pack]);
      cache.forgetIndex(merged);
      expect(cache.hasChunk(Buffer.from(chunk, "hex"))).to.equal(false);
    } finally {
      cache.close();
    }
  });
});
