import { expect } from "chai";
import { imageSources, sourceFor } from "../../../../controller/recovery/images/image-sources.ts";
import {
  answerKey,
  examineImages,
  imageNeeds,
  loadedBytes,
  planImages,
  type ImageAnswer,
} from "../../../../controller/recovery/images/planned-image.ts";
import type { PlannedMachine } from "../../../../controller/recovery/recovery-plan.ts";
import type { OldService } from "../../../../controller/recovery/swarm-view.ts";
import type { Part, Run } from "../../../../shared/repository/run.ts";

const digest = `sha256:${"d".repeat(64)}`;
const pinned = `host:5000/app:1@${digest}`;

function machine(name: string, zone: string, architecture = "x86_64"): PlannedMachine {
  const dress = { labels: { zone } };
  const replaces = [{ id: `old-${name}` }];
  return {
    name,
    role: "worker",
    replaces,
    dress,
    facts: { hostname: name, architecture },
  } as unknown as PlannedMachine;
}

function service(name: string, image: string, constraints: string[] = []): OldService {
  return { name, image, constraints } as unknown as OldService;
}

function part(letter: string, names: string[], more: Partial<NonNullable<Part["image"]>> = {}): Part {
  const stored = { key: "k", sizeBytes: 1, digest: "0".repeat(64), versionId: null };
  const image = { id: `sha256:${letter.repeat(64)}`, names, digests: [], architecture: "amd64", os: "linux", ...more };
  return { kind: "image", image, manifest: stored, refs: stored, totals: { sourceBytes: 7 } } as unknown as Part;
}

const run = (id: string, ...parts: Part[]): Run =>
  ({ id, startedAt: "2026-11-26T03:00:00.000Z", parts }) as unknown as Run;
const machines = [machine("m1", "a"), machine("m2", "b")];

describe("the images of a recovery", () => {
  const needsOf = (...services: OldService[]): string[] =>
    imageNeeds({ machines, services, renamed: new Map() }).map(
      (need) => `${need.machine} ${need.reference} ${need.services.join(" ")}`,
    );

  it("are needed on each machine where a service may start, once", () => {
    expect(
      needsOf(service("web", "web:1"), service("twin", "web:1"), service("db", "db:1", ["node.labels.zone==b"])),
    ).to.deep.equal(["m1 web:1 web twin", "m2 web:1 web twin", "m2 db:1 db"]);
    expect(
      needsOf(service("pinned", "x:1", ["node.id==old-m2"]), service("nowhere", "y:1", ["node.labels.zone==c"])),
    ).to.deep.equal(["m2 x:1 pinned"]);
  });

  it("come from the run, or an older one where it lacks them, for the machine's architecture", () => {
    const sources = imageSources(run("new", part("a", ["web:1"])), [
      run("old", part("a", ["web:1"]), part("b", ["db:1"]), part("c", ["web:1"], { architecture: "arm64" })),
    ]);
    const found = (reference: string, architecture: string): string => {
      const source = sourceFor(sources, reference, architecture);
      return source === null ? "none" : `${source.run.id} ${source.part.image.id.slice(7, 8)}`;
    };
    expect(found("web:1", "x86_64")).to.equal("new a");
    expect(found("docker.io/library/web:1", "amd64")).to.equal("new a");
    expect(found("db:1", "x86_64")).to.equal("old b");
    expect(found("web:1", "aarch64")).to.equal("old c");
    expect(found("db:1", "aarch64")).to.equal("none");
    expect(found("web:2", "x86_64")).to.equal("none");
  });

  it("are never another image of the same tag than the digest says", () => {
    const other = part("a", ["host:5000/app:1"], { digests: [`host:5000/app@sha256:${"e".repeat(64)}`] });
    expect(sourceFor(imageSources(run("r", other), []), pinned, "x86_64")).to.equal(null);
    const same = part("a", ["host:5000/app:1"], { digests: [`host:5000/app@${digest}`] });
    expect(sourceFor(imageSources(run("r", same), []), pinned, "x86_64")).to.not.equal(null);
  });

  it("are pulled where a registry gives them, else loaded, else refused before anything is touched", () => {
    const needs = imageNeeds({
      machines,
      services: [service("app", pinned), service("gone", "gone:1")],
      renamed: new Map(),
    });
    const refused: ImageAnswer = { state: "refused", why: "no route" };
    const answers = new Map(needs.map((need) => [answerKey(need), refused]));
    answers.set(answerKey({ machine: "m2", reference: pinned }), { state: "pullable", why: "" });
    answers.set(answerKey({ machine: "m2", reference: "gone:1" }), { state: "present", why: "" });
    const sources = imageSources(run("r", part("a", [pinned])), []);
    const planned = planImages(needs, machines, sources, answers);
    expect(
      planned.map((one) => `${one.machine} ${one.reference === pinned ? "app" : "gone"} ${one.how}`),
    ).to.deep.equal(["m1 app load", "m1 gone missing", "m2 app pull", "m2 gone present"]);
    expect(loadedBytes(planned, "m1")).to.equal(7);
    const said = (allowed: boolean): string[] =>
      examineImages(planned, allowed).map(({ severity, code }) => `${severity} ${code}`);
    expect(said(false)).to.have.members([
      "error image-missing",
      "note image-load",
      "note image-renamed",
      "note image-pull",
    ]);
    expect(said(true)).to.include("warning image-missing");
    const renamed = examineImages(planned, false).find(({ code }) => code === "image-renamed");
    expect(renamed?.text).to.contain("becomes host:5000/app:1-skep-dddddddddddd");
  });

  it("count as there under the name that stands for a digest, which the plan tells who has to load one", () => {
    const needs = imageNeeds({
      machines: [machine("m1", "a")],
      services: [service("app", pinned)],
      renamed: new Map(),
    });
    const key = answerKey({ machine: "m1", reference: pinned });
    const of = (answer: ImageAnswer) => planImages(needs, [machine("m1", "a")], [], new Map([[key, answer]]));
    const missing = of({ state: "refused", why: "no route" });
    expect(examineImages(missing, false)[0]?.text).to.contain("docker tag it host:5000/app:1-skep-dddddddddddd");
    const given = of({ state: "given", why: "no route" });
    expect(given.map(({ how }) => how)).to.deep.equal(["given"]);
    expect(examineImages(given, false).map(({ code }) => code)).to.deep.equal(["image-renamed"]);
  });
});
