import { expect } from "chai";
import { keptVersions, type VersionsPage } from "../../../shared/store/kept-versions.ts";

async function kept(...pages: [versions: string, marks?: string][]): Promise<string> {
  const parsed = pages.map(([versions, marks = ""]): VersionsPage => ({
    versions: versions.split(" ").flatMap((text) => {
      const [key = "", versionId] = text.split("@");
      return versionId === undefined ? [] : [{ key, versionId }];
    }),
    marks: marks.split(" ").flatMap((key) => (key === "" ? [] : [{ key }])),
  }));
  async function* all(): AsyncGenerator<VersionsPage> {
    for (const page of parsed) yield await Promise.resolve(page);
  }
  const found = await Array.fromAsync(keptVersions(all()));
  return found.map(({ key, versionId }) => `${key}@${versionId}`).join(" ");
}

describe("the versions of an S3 bucket", () => {
  it("are none where it keeps none", async () => {
    expect(await kept(["a@null b@null"], ["c@null"])).to.equal("");
  });

  it("begin with what was put before it kept them, where something lies over that", async () => {
    expect(await kept(["a@2 a@null b@null c@1"])).to.equal("a@2 a@null c@1");
    expect(await kept(["a@3 a@2"], ["a@null b@null"])).to.equal("a@3 a@2 a@null");
  });

  it("count what was put while it kept none for a time", async () => {
    expect(await kept(["a@null a@1 b@null"])).to.equal("a@null a@1");
    expect(await kept(["a@null"], ["a@1"])).to.equal("a@null a@1");
  });

  it("count what a deletion mark hides", async () => {
    expect(await kept(["a@null b@null", "b"])).to.equal("b@null");
    expect(await kept(["a@null", "b"], ["b@null c@null"])).to.equal("b@null");
  });
});
