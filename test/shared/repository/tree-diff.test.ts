import { expect } from "chai";
import { chmodSync, linkSync, mkdirSync, rmSync, symlinkSync, utimesSync, writeFileSync } from "node:fs";
import { randomBytes } from "node:crypto";
import { join } from "node:path";
import fc from "fast-check";
import { diffTrees } from "../../../shared/repository/open/tree-diff.ts";
import type { SnapshotResult } from "../../../shared/repository/snapshot.ts";
import { backUp, makePlace, openBack, type Place } from "./snapshots.ts";

describe("the difference between two snapshots", () => {
  let place: Place;
  beforeEach(async () => {
    place = await makePlace();
  });
  afterEach(() => place.remove());
  const at = (name: string): string => join(place.source, name);

  async function differences(
    one: SnapshotResult,
    other: SnapshotResult,
    path = "",
  ): Promise<[string, string, string[]][]> {
    const before = await openBack(place, one);
    const after = await openBack(place, other);
    try {
      const found = await Array.fromAsync(diffTrees(before, after, Buffer.from(path)));
      return found.map(({ change, path: where, what }) => [change, where.toString("utf8"), [...what]]);
    } finally {
      before.close();
      after.close();
    }
  }

  it("names what came, what went, and what of an entry changed", async () => {
    mkdirSync(at("kept"));
    for (const name of ["gone", "mode", "owner", "touched", "grown", "same-size"]) writeFileSync(at(name), "old text");
    symlinkSync("here", at("link"));
    const one = await backUp(place);
    rmSync(at("gone"));
    writeFileSync(at("new"), "");
    chmodSync(at("mode"), 0o600);
    utimesSync(at("touched"), 1, 1);
    writeFileSync(at("grown"), "old text, and more");
    writeFileSync(at("same-size"), "new text");
    rmSync(at("link"));
    symlinkSync("there", at("link"));
    linkSync(at("mode"), at("mode-again"));
    utimesSync(place.source, 1, 1);
    const found = await differences(one, await backUp(place));
    const withoutTimes = found.map(([change, path, what]) => [change, path, what.filter((word) => word !== "mtime")]);
    expect(withoutTimes).to.deep.equal([
      ["changed", "", []],
      ["removed", "gone", []],
      ["changed", "grown", ["size", "content"]],
      ["changed", "link", ["link target"]],
      ["changed", "mode", ["mode"]],
      ["added", "mode-again", []],
      ["added", "new", []],
      ["changed", "same-size", ["content"]],
      ["changed", "touched", []],
    ]);
    expect(found.find(([, path]) => path === "touched")?.[2]).to.deep.equal(["mtime"]);
  });

  it("is none for content that was merely read again and lies in other chunks", async () => {
    const large = randomBytes(3_000_000);
    writeFileSync(at("large"), large);
    writeFileSync(at("small"), "small");
    const one = await backUp(place);
    // Without its cache the writer reads all again, and packs the small file with another beside it.
    rmSync(place.cachePath);
    writeFileSync(at("a-new-neighbour"), "shifts what shares a chunk");
    utimesSync(place.source, 1, 1);
    const found = await differences(one, await backUp(place, { writerId: "node1" }));
    expect(found.map(([change, path]) => `${change} ${path}`)).to.deep.equal(["changed ", "added a-new-neighbour"]);
    large[2_999_999] = (large[2_999_999] ?? 0) ^ 1;
    writeFileSync(at("large"), large);
    const later = await differences(one, await backUp(place), "large");
    expect(later.map(([change, , what]) => [change, what.includes("content")])).to.deep.equal([["changed", true]]);
  });

  it("is that of the two lists of names, whatever they are", async function () {
    this.timeout(60_000);
    const names = fc.uniqueArray(
      fc.stringMatching(/^[a-c.]{1,3}$/).filter((name) => !/^\.+$/.test(name)),
      { maxLength: 12 },
    );
    await fc.assert(
      fc.asyncProperty(names, names, async (before, after) => {
        const take = async (list: string[]): Promise<SnapshotResult> => {
          rmSync(place.source, { recursive: true });
          mkdirSync(place.source);
          for (const name of list) mkdirSync(at(name));
          for (const name of ["", ...list]) utimesSync(at(name), 1, 1);
          return await backUp(place);
        };
        const found = await differences(await take(before), await take(after));
        const expected = [
          ...before.filter((name) => !after.includes(name)).map((name) => `removed ${name}`),
          ...after.filter((name) => !before.includes(name)).map((name) => `added ${name}`),
        ];
        expect(found.map(([change, path]) => `${change} ${path}`)).to.have.members(expected);
      }),
      { numRuns: 8 },
    );
  });
});
