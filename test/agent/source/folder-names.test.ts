import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect } from "chai";
import fc from "fast-check";
import { folderNames } from "../../../agent/source/folder-names.ts";
import { LinkedFiles } from "../../../agent/source/linked-files.ts";

describe("what a walk keeps of a tree of any size", () => {
  it("is a folder's names in the order of their bytes, also where they are sorted on disk", () => {
    const root = mkdtempSync(join(tmpdir(), "skep-names-"));
    try {
      const names = Array.from({ length: 2500 }, (_, number) => Buffer.from(`${(number * 7919) % 2500}-ä`));
      names.push(Buffer.from([0xff, 0x01]), Buffer.from("\u{1f41d}"), Buffer.from("\uffee"));
      for (const name of names) writeFileSync(Buffer.concat([Buffer.from(`${root}/`), name]), "");
      const sorted = names.toSorted((a, b) => a.compare(b)).map((name) => name.toString("hex"));
      for (const maxHeld of [100_000, 700, 2503]) {
        const found = [...folderNames(Buffer.from(`${root}/`), maxHeld)];
        expect(found.map((name) => name.toString("hex"))).to.deep.equal(sorted);
      }
    } finally {
      rmSync(root, { recursive: true });
    }
  });

  it("is the first name of each linked file until its last, in memory or on disk", () => {
    const inode = fc.bigInt({ min: 0n, max: (1n << 64n) - 1n });
    fc.assert(
      fc.property(fc.uniqueArray(inode, { maxLength: 12 }), fc.integer({ min: 0, max: 12 }), (inodes, maxHeld) => {
        const linked = new LinkedFiles(maxHeld);
        for (const name of ["first", "second", "third"]) {
          for (const number of inodes) {
            const first = linked.firstName(number, 3n, Buffer.from(name));
            expect(first?.toString() ?? null).to.equal(name === "first" ? null : "first");
          }
        }
        // All names were seen: an inode that comes again is another file.
        for (const number of inodes) expect(linked.firstName(number, 2n, Buffer.from("new"))).to.equal(null);
        linked.close();
      }),
      { numRuns: 50 },
    );
  });
});
