import { expect } from "chai";
import { namesToAsk, planImage, splitName } from "../../../controller/images/returning-image.ts";

const digest = `sha256:${"ab".repeat(32)}`;
const byDigest = `r.example.org:5000/shop:1@${digest}`;
const given = "r.example.org:5000/shop:1-skep-abababababab";
const image = { id: "sha256:me", names: ["shop:1", byDigest, "shop", "sha256:me"] };

describe("the plan of an image that returns", () => {
  it("gives it the names that it had, one of its own for a digest, and none for an id", () => {
    const { isPresent, names, conflicts } = planImage(image, new Map(), "fail");
    expect({ isPresent, conflicts }).to.deep.equal({ isPresent: false, conflicts: [] });
    expect(names).to.deep.equal([
      { name: "shop:1", standsFor: null, action: "give", now: null },
      { name: given, standsFor: byDigest, action: "give", now: null },
      { name: "shop:latest", standsFor: null, action: "give", now: null },
    ]);
    expect(namesToAsk(image)).to.include.members(["sha256:me", byDigest, "shop:1", given, "shop:latest"]);
  });

  it("needs no name for a digest that the engine knows, and keeps what is so", () => {
    const present = new Map([
      ["sha256:me", "sha256:me"],
      [byDigest, "sha256:me"],
      ["shop:1", "sha256:me"],
    ]);
    const { isPresent, names } = planImage({ id: image.id, names: ["shop:1", byDigest] }, present, "fail");
    expect(isPresent).to.equal(true);
    expect(names).to.deep.equal([{ name: "shop:1", standsFor: null, action: "keep", now: "sha256:me" }]);
  });

  it("takes a name from another image only where that is said", () => {
    const present = new Map([["shop:1", "sha256:other"]]);
    const of = (existing: "fail" | "skip" | "update") =>
      planImage({ id: image.id, names: ["shop:1"] }, present, existing);
    expect(of("fail").conflicts).to.deep.equal(["shop:1"]);
    expect(of("skip")).to.deep.include({ conflicts: [] }).and.nested.include({ "names[0].action": "leave" });
    expect(of("update")).to.deep.include({ conflicts: [] }).and.nested.include({ "names[0].action": "move" });
  });

  it("splits a name at its tag, not at a registry's port", () => {
    expect(splitName(given)).to.deep.equal({
      repository: "r.example.org:5000/shop",
      tag: "1-skep-abababababab",
    });
  });
});
