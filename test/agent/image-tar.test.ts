import { expect } from "chai";
import { buffer } from "node:stream/consumers";
import fc from "fast-check";
import { pack } from "tar-stream";
import { pathsThere } from "../../agent/image-layers.ts";
import { indexImageTar } from "../../agent/image-tar.ts";

async function tarOf(
  entries: readonly { header: { name: string; type?: "symlink"; linkname?: string }; content: Uint8Array }[],
): Promise<Buffer> {
  const tar = pack();
  const whole = buffer(tar);
  for (const { header, content } of entries) tar.entry({ ...header, size: content.length }, Buffer.from(content));
  tar.finalize();
  return await whole;
}

const index = (tar: Buffer): ReturnType<typeof indexImageTar> =>
  indexImageTar((from, to) => Promise.resolve(tar.subarray(from, to)), tar.length);

describe("the tar of an image", () => {
  const name = fc
    .stringMatching(/^[a-z0-9/]{0,120}[a-z0-9]$/)
    .filter((text) => !text.startsWith("/") && !text.includes("//"));

  it("is known by where its files lie, without their content", async () => {
    const files = fc.uniqueArray(fc.record({ name, content: fc.uint8Array({ maxLength: 2000 }) }), {
      selector: (file) => file.name,
      maxLength: 6,
    });
    await fc.assert(
      fc.asyncProperty(files, async (all) => {
        const tar = await tarOf(all.map(({ name: of, content }) => ({ header: { name: of }, content })));
        const found = await index(tar);
        // A longer name than a header holds is written otherwise, and such a tar is taken whole.
        if (found === null) {
          expect(all.some((file) => file.name.length > 100)).to.equal(true);
          return;
        }
        expect(found.map((file) => file.name)).to.deep.equal(all.map((file) => file.name));
        for (const [at, { contentAt, sizeBytes, startsAt, endsAt }] of found.entries()) {
          expect([...tar.subarray(contentAt, contentAt + sizeBytes)]).to.deep.equal([...(all[at]?.content ?? [])]);
          expect(contentAt - startsAt).to.equal(512);
          expect(endsAt).to.equal(found[at + 1]?.startsAt ?? tar.length - 1024);
        }
      }),
      { numRuns: 100 },
    );
  });

  it("is taken whole where it has links, is cut off or damaged, or is none", async () => {
    const content = Buffer.from("layer");
    const link = {
      header: { name: "b/layer.tar", type: "symlink", linkname: "../a/layer.tar" } as const,
      content: Buffer.alloc(0),
    };
    const plain = { header: { name: "a/layer.tar" }, content };
    expect(await index(await tarOf([plain, link]))).to.equal(null);
    const tar = await tarOf([plain]);
    expect(await index(tar)).to.have.length(1);
    expect(await index(tar.subarray(0, 1024))).to.equal(null);
    expect(await index(tar.subarray(0, 700))).to.equal(null);
    const damaged = Buffer.from(tar);
    damaged.write("9", 0);
    expect(await index(damaged)).to.equal(null);
    expect(await index(Buffer.alloc(2048, 1))).to.equal(null);
    expect(await index(Buffer.alloc(0))).to.equal(null);
  });
});

describe("the layers of an image that an engine has", () => {
  it("are those from the lowest on that one of its images has too", () => {
    const paths = ["a", "b", "c"];
    const there = (...layers: string[][]): string[] => [...pathsThere(paths, ["1", "2", "3"], layers)];
    expect(there()).to.deep.equal([]);
    expect(there(["2", "3"])).to.deep.equal([]);
    expect(there(["1", "9"], ["1", "2", "8"], ["1"])).to.deep.equal(["a", "b"]);
    expect(there(["1", "2", "3", "4"])).to.deep.equal(["a", "b", "c"]);
  });

  it("are needed where a layer above is in the same file, and where the tar and its configuration do not fit", () => {
    expect([...pathsThere(["a", "b", "a"], ["1", "2", "1"], [["1", "2"]])]).to.deep.equal(["b"]);
    expect([...pathsThere(["a", "b"], ["1"], [["1"]])]).to.deep.equal([]);
  });
});
