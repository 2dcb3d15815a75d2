import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { expect } from "chai";
import { storeLocation } from "../../../shared/store/location.ts";

const top = join(import.meta.dirname, "../../..");

describe("docs/STORES.md", () => {
  it("names every code that a store throws, and no other", async () => {
    const folder = join(top, "shared/store");
    const sources = await Promise.all((await readdir(folder)).map((name) => readFile(join(folder, name), "utf8")));
    const thrown = sources.flatMap((source) => source.match(/(?<=")SKEP_[A-Z_]+(?=")/g) ?? []);
    const page = await readFile(join(top, "docs/STORES.md"), "utf8");
    const listed = page.match(/(?<=^\| `)SKEP_[A-Z_]+/gm);
    expect([...new Set(listed)].sort()).to.deep.equal([...new Set(thrown)].sort());
  });

  it("names every field of a location, and no other", async () => {
    const page = await readFile(join(top, "docs/STORES.md"), "utf8");
    const card = page.slice(page.indexOf("## The address card"), page.indexOf("## What a store must do"));
    const listed = card.match(/(?<=^\| `)[a-zA-Z]+/gm);
    expect(listed?.sort()).to.deep.equal(Object.keys(storeLocation.shape).sort());
  });
});
