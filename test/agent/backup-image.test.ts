import { expect } from "chai";
import { askedDigests } from "../../agent/backup-image.ts";

const digest = (repository: string): string => `${repository}@sha256:${"a".repeat(64)}`;

describe("what a registry is asked for instead of taking an image", () => {
  it("is the digest of the repository that names it, and of no other", () => {
    const digests = [digest("app"), digest("registry.example/app")];
    expect(askedDigests(["docker.io/library/app:1", "app:2"], digests)).to.deep.equal([[digest("app")]]);
    expect(askedDigests(["other:1"], digests)).to.deep.equal([[]]);
  });

  it("is one digest for each repository that names it", () => {
    const digests = [digest("app"), digest("registry.example:5000/app")];
    expect(askedDigests(["app:1", "registry.example:5000/app:1", "third/app"], digests)).to.deep.equal([
      [digest("app")],
      [digest("registry.example:5000/app")],
      [],
    ]);
  });

  it("is nothing by an id, and nothing at a registry on the node itself", () => {
    expect(askedDigests([`sha256:${"b".repeat(64)}`], [digest("app")])).to.deep.equal([[]]);
    for (const host of ["localhost", "localhost:5000", "127.0.0.1:5000", "[::1]:5000"]) {
      expect(askedDigests([`${host}/app:1`], [digest(`${host}/app`)])).to.deep.equal([[]]);
    }
    expect(askedDigests(["localhost.example/app"], [digest("localhost.example/app")])).to.deep.equal([
      [digest("localhost.example/app")],
    ]);
  });
});
