import { expect } from "chai";
import { planImages, type ImageHolder } from "../../../controller/images/image-plan.ts";

const id = (letter: string): string => `sha256:${letter.repeat(64)}`;

type FoundImage = ImageHolder["images"][number];

function image(letter: string, more: Partial<FoundImage> = {}): FoundImage {
  return { id: id(letter), tags: [], digests: [], sizeBytes: 1, serviceIds: [], containers: [], ...more };
}

function holder(hostname: string, ...images: FoundImage[]): ImageHolder {
  return { nodeId: `id-of-${hostname}`, hostname, images };
}

describe("the plan of a run's images", () => {
  const service = (name: string, named: string) => ({ id: name, name, image: named });
  const taken = (plan: ReturnType<typeof planImages>): string[] =>
    plan.jobs.map(({ hostname, imageId, names }) => `${hostname} ${imageId.slice(7, 8)} ${names.join(" ")}`);

  it("takes each image that a service names once, from the first node that has it", () => {
    const web = image("a", { tags: ["web:1"] });
    const plan = planImages(
      [holder("node2", web, image("b", { tags: ["unused:1"] })), holder("node1", web)],
      [service("one", "web:1"), service("two", "docker.io/library/web:1")],
      "all",
    );
    expect(taken(plan)).to.deep.equal(["node1 a web:1 docker.io/library/web:1"]);
    expect(plan.notCovered).to.deep.equal([]);
  });

  it("takes the image of each architecture, and one that still runs under a tag which went to another", () => {
    const digest = `web@sha256:${"d".repeat(64)}`;
    const plan = planImages(
      [
        holder("amd", image("a", { digests: [digest] }), image("c", { serviceIds: ["old"] })),
        holder("arm", image("b", { digests: [digest] }), image("e", { tags: ["old:1"] })),
      ],
      [service("web", digest), service("old", "old:1")],
      "all",
    );
    expect(taken(plan)).to.have.members([`amd a ${digest}`, "amd c old:1", `arm b ${digest}`, "arm e old:1"]);
  });

  it("takes what runs before what has its tag since, whichever node has that", () => {
    const plan = planImages(
      [holder("node1", image("b", { tags: ["web:1"] })), holder("node2", image("a", { serviceIds: ["web"] }))],
      [service("web", "web:1")],
      "all",
    );
    expect(taken(plan)).to.deep.equal(["node2 a web:1", "node1 b web:1"]);
  });

  it("takes those of containers that ask for it", () => {
    const containers = [{ container: "vpn", name: "vpn:2" }];
    const plan = planImages([holder("node1", image("a", { tags: ["vpn:2"], containers }))], [], "unpullable");
    expect(taken(plan)).to.deep.equal(["node1 a vpn:2"]);
  });

  it("lists what a service names and no node has, with who names it", () => {
    const plan = planImages([holder("node1")], [service("one", "gone:1"), service("two", "gone:1")], "all");
    expect(plan).to.deep.equal({
      jobs: [],
      notCovered: [
        { kind: "image", name: "gone:1", reason: "absent", message: "no node has it, and one, two names it" },
      ],
    });
  });

  it("takes none where the policy says none", () => {
    const plan = planImages([holder("node1", image("a", { tags: ["web:1"] }))], [service("one", "web:1")], "none");
    expect(plan).to.deep.equal({ jobs: [], notCovered: [] });
  });
});
