import { expect } from "chai";
import fc from "fast-check";
import { createHash } from "node:crypto";
import { mkdirSync, rmSync, symlinkSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { backUp, makePlace, readBack, type Place, type Tree } from "./snapshots.ts";
import { walk } from "./walk.ts";

type Content = { kind: "noise" | "text" | "zeros"; seed: number; bytes: number }[];
type Node =
  { kind: "file"; content: Content } | { kind: "link"; to: string } | { kind: "folder"; nodes: [string, Node][] };

// A few seeds and lengths on both sides of every edge, so that trees share content.
const content: fc.Arbitrary<Content> = fc.array(
  fc.record({
    kind: fc.constantFrom("noise" as const, "text" as const, "zeros" as const),
    seed: fc.integer({ min: 0, max: 3 }),
    bytes: fc.oneof(
      { weight: 4, arbitrary: fc.integer({ min: 0, max: 5000 }) },
      fc.constantFrom(65_536, 524_287, 524_288, 524_289, 1_500_000, 4_194_304, 4_194_305),
    ),
  }),
  { maxLength: 3 },
);
const name = fc.oneof(
  fc.constantFrom("a", "a-b", "a.b", "A", "ä", "z z", "-", "..."),
  fc.stringMatching(/^[a-d]{1,3}$/),
);
const { tree } = fc.letrec<{ tree: [string, Node][]; node: Node }>((tie) => ({
  tree: fc.uniqueArray(fc.tuple(name, tie("node")), { maxLength: 6, selector: ([key]) => key }),
  node: fc.oneof(
    { depthSize: "small" },
    fc.record({ kind: fc.constant("file" as const), content }),
    fc.record({ kind: fc.constant("link" as const), to: fc.constantFrom("nowhere", "/", "a/../b") }),
    fc.record({ kind: fc.constant("folder" as const), nodes: tie("tree") }),
  ),
}));

function makeContent(parts: Content): Buffer {
  return Buffer.concat(
    parts.map(({ kind, seed, bytes }) => {
      if (kind === "zeros") return Buffer.alloc(bytes);
      if (kind === "text") return Buffer.alloc(bytes, `line ${seed}\n`);
      return createHash("shake256", { outputLength: Math.max(1, bytes) })
        .update(String(seed))
        .digest()
        .subarray(0, bytes);
    }),
  );
}

function makeTree(root: string, nodes: readonly [string, Node][]): void {
  mkdirSync(root, { recursive: true });
  for (const [key, node] of nodes) {
    const path = join(root, key);
    if (node.kind === "folder") makeTree(path, node.nodes);
    else if (node.kind === "link") symlinkSync(node.to, path);
    else writeFileSync(path, makeContent(node.content));
  }
  utimesSync(root, 1e9, 1e9);
}

async function expectedTree(place: Place): Promise<Tree> {
  const { readFileSync } = await import("node:fs");
  const expected: Tree = new Map();
  for await (const { metadata, file } of walk(place.source)) {
    const { path, ...rest } = metadata;
    const bytes = file === null ? undefined : readFileSync(file.path);
    const content = bytes === undefined ? {} : { content: bytes, sizeBytes: bytes.length };
    expected.set(Buffer.from(path ?? "").toString("latin1"), { ...rest, ...content });
  }
  return expected;
}

describe("snapshots of any tree", () => {
  it("restore(backup(tree)) = tree, also after the tree became another one, with and without the cache", async () => {
    const place = await makePlace();
    try {
      await fc.assert(
        fc.asyncProperty(fc.array(tree, { minLength: 1, maxLength: 2 }), fc.boolean(), async (trees, loseCache) => {
          for (const nodes of trees) {
            rmSync(place.source, { recursive: true });
            makeTree(place.source, nodes);
            const result = await backUp(place);
            const expected = await expectedTree(place);
            const found = await readBack(place, result);
            expect([...found.keys()]).to.deep.equal([...expected.keys()]);
            for (const [path, entry] of expected) {
              const { content: wanted, ...metadata } = entry;
              const { content: had, ...foundMetadata } = found.get(path) ?? {};
              expect(foundMetadata, path).to.deep.equal(metadata);
              expect(wanted === undefined ? had === undefined : had?.equals(wanted), path).to.be.true;
            }
            if (loseCache) rmSync(place.cachePath);
          }
        }),
        { numRuns: 15 },
      );
    } finally {
      await place.remove();
    }
  }).timeout(120_000);
});
