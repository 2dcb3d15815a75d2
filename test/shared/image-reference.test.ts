import { expect } from "chai";
import fc from "fast-check";
import {
  loadedName,
  namesImage,
  parseReference,
  registryOf,
  shortName,
  type ImageReference,
} from "../../shared/image-reference.ts";

const digest = `sha256:${"0123456789abcdef".repeat(4)}`;

function parsed(text: string): ImageReference {
  return parseReference(text) ?? expect.fail(`${text} names no image`);
}

describe("the name of an image", () => {
  it("is the same with and without Docker's own registry and folder, and means latest where it says no tag", () => {
    for (const text of [
      "nginx",
      "nginx:latest",
      "library/nginx",
      "docker.io/library/nginx",
      "index.docker.io/library/nginx:latest",
    ]) {
      expect(parsed(text), text).to.deep.equal({ repository: "nginx", tag: "latest", digest: null });
    }
  });

  it("has a digest, and then needs no tag", () => {
    expect(parsed(`app@${digest}`)).to.deep.equal({ repository: "app", tag: null, digest });
    expect(parsed(`host:5000/a/b:1.2@${digest}`)).to.deep.equal({ repository: "host:5000/a/b", tag: "1.2", digest });
  });

  it("is none where it is an id, or nothing", () => {
    expect(parseReference("")).to.equal(null);
    expect(parseReference(digest)).to.equal(null);
    expect(parseReference(digest.slice("sha256:".length))).to.equal(null);
  });

  it("says which registry's credentials it needs", () => {
    const registries = ["nginx", "grafana/grafana:9", "localhost/x", "registry.example.org/x/y", "host:5000/z"].map(
      (text) => registryOf(parsed(text)),
    );
    expect(registries).to.deep.equal(["docker.io", "docker.io", "localhost", "registry.example.org", "host:5000"]);
  });

  it("fits what an engine has by the digest where there is one, else by the tag", () => {
    const other = digest.replace("0", "1");
    const has = { tags: ["app:1"], digests: [`app@${digest}`] };
    expect(namesImage(parsed("docker.io/library/app:1"), has)).to.be.true;
    expect(namesImage(parsed(`app:2@${digest}`), has)).to.be.true;
    expect(namesImage(parsed(`app:1@${other}`), has)).to.be.false;
    expect(namesImage(parsed("app:2"), has)).to.be.false;
    expect(namesImage(parsed(`mirror.example.org/app:1@${digest}`), has)).to.be.false;
  });

  it("has another one for a loaded image, which is a name too and keeps two versions of one tag apart", () => {
    const hex = fc.stringMatching(/^[0-9a-f]{64}$/);
    const tag = fc.option(fc.stringMatching(/^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$/), { nil: null });
    fc.assert(
      fc.property(tag, hex, hex, (name, one, two) => {
        const of = (content: string): string =>
          loadedName({ repository: "host:5000/app", tag: name, digest: `sha256:${content}` });
        const again = parsed(of(one));
        expect(again).to.include({ repository: "host:5000/app", digest: null });
        expect(again.tag?.length).to.be.at.most(128);
        expect(of(one) === of(two)).to.equal(one.slice(0, 12) === two.slice(0, 12));
      }),
    );
    expect(shortName(parsed(`app:1@${digest}`))).to.equal("app:1");
    expect(shortName(parsed(`app@${digest}`))).to.equal("app@sha256:0123456789ab");
  });
});
