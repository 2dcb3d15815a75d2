import { expect } from "chai";
import { zstdCompressSync } from "node:zlib";
import type { SkepError } from "../../../shared/errors.ts";
import { openChunkFrame } from "../../../shared/repository/open/sealed-window.ts";
import { fuzzDecoders } from "./fuzzed-decoders.ts";

// test/soak/decoder-fuzz.test.ts does it for a minute, with inputs that nobody saw before.
describe("decoders", () => {
  it("read what is right, and refuse anything else with a SkepError, soon and within bounds", async () => {
    await fuzzDecoders(4, 1);
  }).timeout(120_000);

  it("decompress no more than a chunk may hold", () => {
    const bomb = zstdCompressSync(Buffer.alloc(64 * 1024 * 1024));
    const chunk = { name: "ab".repeat(32), start: 0, frameBytes: bomb.length, plainBytes: 4 * 1024 * 1024 };
    let code = "";
    try {
      openChunkFrame(bomb, chunk, Buffer.alloc(32), "x");
    } catch (error) {
      code = (error as SkepError).code;
    }
    expect(code).to.equal("SKEP_CHUNK_DAMAGED");
  });
});
